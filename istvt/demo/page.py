"""Write the demo's results as one HTML page with its pictures embedded."""

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path

from istvt.files import atomic_file

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; background: #fff; }
h1 { margin-bottom: 0; } h2 { margin-top: 2.5rem; border-bottom: 1px solid #ddd; }
img { max-width: 100%; } figure { margin: 1rem 0; } figcaption { color: #555; font-size: 0.9rem; }
pre { background: #f5f5f5; padding: 0.8rem; overflow-x: auto; font-size: 0.85rem; }
.toy { background: #fff3cd; border-left: 6px solid #e0a800; padding: 0.8rem 1rem; }
table { border-collapse: collapse; } td, th { padding: 0.25rem 0.8rem; text-align: left;
       border-bottom: 1px solid #e5e5e5; } td.number { text-align: right; }
.fake { color: #b2182b; font-weight: 600; } .real { color: #1a7a3a; font-weight: 600; }
.inconclusive, .no-face { color: #8a6100; font-weight: 600; }
"""


@dataclass(frozen=True)
class Figure:
    """A PNG with its caption."""

    picture: Path
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading, followed by optional text, table, figures and terminal output."""

    title: str
    text: str = ""
    figures: tuple[Figure, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    output: str = ""


def write_page(path: Path, *, title: str, warning: str, sections: Sequence[Section]) -> None:
    """Write the page, which needs no other file and no network."""
    body = "\n".join(_section(section) for section in sections)
    with atomic_file(path) as temporary:
        temporary.write_text(
            "<!doctype html>\n<html lang='en'><head><meta charset='utf-8'>"
            "<meta name='viewport' content='width=device-width'>"
            f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n"
            f"<body><h1>{escape(title)}</h1>\n<p class='toy'>{escape(warning)}</p>\n"
            f"{body}\n</body></html>\n",
            encoding="utf-8",
        )


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.title)}</h2>"]
    if section.text:
        parts.append(f"<p>{escape(section.text)}</p>")
    if section.table:
        parts.append(_table(section.table))
    parts += [_figure(figure) for figure in section.figures]
    if section.output:
        parts.append(f"<pre>{escape(section.output)}</pre>")
    return "\n".join(parts)


def _table(rows: tuple[tuple[str, ...], ...]) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in rows[0])
    body = "".join(
        "<tr>"
        + "".join(f"<td class='{escape(cell)}'>{escape(cell)}</td>" for cell in row)
        + "</tr>"
        for row in rows[1:]
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _figure(figure: Figure) -> str:
    data = base64.b64encode(figure.picture.read_bytes()).decode()
    caption = escape(figure.caption)
    return (
        f"<figure><img alt='{caption}' src='data:image/png;base64,{data}'>"
        f"<figcaption>{caption}</figcaption></figure>"
    )
