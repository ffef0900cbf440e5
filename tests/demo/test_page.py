import re

import cv2
import numpy as np

from istvt.demo.page import Figure, Section, write_page


def test_the_page_needs_no_other_file_and_escapes_what_it_shows(tmp_path):
    picture = tmp_path / "p.png"
    cv2.imwrite(str(picture), np.zeros((4, 4, 3), np.uint8))
    sections = [
        Section(
            title="One & <two>",
            text="text",
            figures=(Figure(picture, "caption <b>"),),
            table=(("clip", "verdict"), ("held-out", "fake")),
            output="a < b",
        )
    ]
    page = tmp_path / "index.html"
    write_page(page, title="t", warning="a toy", sections=sections)
    html = page.read_text()
    assert "One &amp; &lt;two&gt;" in html
    assert "a &lt; b" in html
    assert "class='fake'" in html
    assert "a toy" in html
    assert not re.findall(r"(?:src|href)='(?!data:)", html)
