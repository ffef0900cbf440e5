"""`istvt stream --stats`: the device is waited for between stages only where times are shown."""

import cv2
import numpy as np
import pytest

from istvt.commands.stream import stream
from istvt.errors import ExitCode
from istvt.runtime.hub import Hub


@pytest.mark.parametrize("stats", [True, False])
def test_times_are_those_of_the_stages_where_they_are_shown(
    tiny_bundle, tmp_path, monkeypatch, capsys, stats
):
    picture = tmp_path / "black.png"
    cv2.imwrite(str(picture), np.zeros((120, 160, 3), np.uint8))
    asked = []

    class Asked(Hub):
        def __init__(self, *arguments, times_encoder, **named):
            asked.append(times_encoder)
            super().__init__(*arguments, times_encoder=times_encoder, **named)

    monkeypatch.setattr("istvt.runtime.hub.Hub", Asked)
    code = stream(source=str(picture), model=tiny_bundle.folder, backend="onnxruntime", stats=stats)
    assert code == ExitCode.INCOMPLETE
    assert asked == [stats]
    assert ("p50 ms" in capsys.readouterr().out) == stats
