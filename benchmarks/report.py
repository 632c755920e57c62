"""One HTML page and one JSON file a report: sections of text, tables and figures, with nothing to fetch."""

import base64
import html
import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 66rem; margin: 2rem auto; padding: 0 1rem; color: #1b1f24; }
h1 { font-size: 1.7rem; } h2 { font-size: 1.25rem; margin-top: 2.2rem; border-bottom: 1px solid #d8dee4; }
table { border-collapse: collapse; margin: 1rem 0; } td, th { padding: .25rem .8rem; border-bottom: 1px solid #d8dee4; }
th { text-align: left; } td.number { text-align: right; font-variant-numeric: tabular-nums; }
figure { margin: 1rem 0; } figcaption { color: #57606a; font-size: .9rem; } img { max-width: 100%; }
.mosaic { display: grid; grid-template-columns: repeat(6, 1fr); gap: .4rem; }
.mosaic img { width: 100%; image-rendering: auto; }
code { background: #f2f4f7; padding: .1rem .3rem; }
"""


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it, as HTML."""

    title: str
    body: str


def paragraph(text: str) -> str:
    """Text as a paragraph."""
    return f"<p>{html.escape(text)}</p>"


def table(header: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """A table; numbers stand right."""
    head = "".join(f"<th>{html.escape(name)}</th>" for name in header)
    body = "".join(f"<tr>{''.join(_cell(value) for value in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def figure(plot: Figure, caption: str) -> str:
    """A plot as SVG inside the page, so that it stays sharp and can be searched."""
    stream = io.StringIO()
    plot.savefig(stream, format="svg", bbox_inches="tight", metadata={"Date": None})
    svg = stream.getvalue()
    return f"<figure>{svg[svg.index('<svg') :]}<figcaption>{html.escape(caption)}</figcaption></figure>"


def mosaic(images: Sequence[Path], caption: str) -> str:
    """Pictures side by side, inside the page."""
    tags = "".join(_image(path) for path in images)
    return f'<figure><div class="mosaic">{tags}</div><figcaption>{html.escape(caption)}</figcaption></figure>'


def write_report(folder: Path, title: str, sections: Sequence[Section], numbers: Mapping[str, Any]) -> Path:
    """Write report.html and report.json; returns the page."""
    parts = [f"<h2>{html.escape(section.title)}</h2>{section.body}" for section in sections]
    page = folder / "report.html"
    page.write_text(
        f'<!doctype html><html lang="en"><meta charset="utf-8"><title>{html.escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>{_STYLE}</style>'
        f"<h1>{html.escape(title)}</h1>{''.join(parts)}</html>"
    )
    (folder / "report.json").write_text(json.dumps(numbers, indent=1, sort_keys=True))
    return page


def _cell(value: Any) -> str:
    kind = ' class="number"' if isinstance(value, int | float) else ""
    text = f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if isinstance(value, float) else str(value)
    return f"<td{kind}>{html.escape(text)}</td>"


def _image(path: Path) -> str:
    data = base64.b64encode(path.read_bytes()).decode()
    kind = path.suffix.removeprefix(".")
    return (
        f'<img src="data:image/{kind};base64,{data}" alt="{html.escape(path.stem)}" title="{html.escape(path.stem)}">'
    )
