"""A report as one self-contained HTML file: opens offline, fits a phone, prints; pictures are inline."""

import base64
import html
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from matplotlib.figure import Figure

from gsa_utils.files import whole_file
from gsa_utils.plots.style import as_file

_STYLE = """
:root { color-scheme: light dark }
body { font: 1rem/1.5 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem }
h1, h2 { line-height: 1.2 }
img { max-width: 100%; height: auto; background: white }
figure { margin: 1rem 0 }
figcaption { font-size: .9rem }
.verdict { font-weight: 600; border-left: .3rem solid #0072b2; padding-left: .8rem }
.scroll { overflow-x: auto }
table { border-collapse: collapse }
td, th { padding: .2rem .8rem .2rem 0; text-align: left }
th, td { border-bottom: 1px solid #8886; overflow-wrap: anywhere }
@media print { .gsa-side { display: none } body { margin: 0; max-width: none } figure, table { break-inside: avoid } }
"""


@dataclass(frozen=True)
class Section:
    """A heading, a verdict in bold, paragraphs, a table whose first row names the columns, figures with captions.

    `inspector` is a part of a page that `widgets.standalone.fragment` made; all else is text and can't become markup.
    """

    heading: str
    verdict: str = ""
    paragraphs: Sequence[str] = ()
    table: Sequence[Sequence[object]] = ()
    figures: Sequence[tuple[Figure, str]] = field(default=())
    inspector: str = ""


def write_report(path: Path, title: str, sections: Sequence[Section]) -> None:
    """Write it whole or not at all; file and class names may hold anything, nothing of them becomes markup."""
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style></head><body><h1>{_text(title)}</h1>",
        *(_section(section) for section in sections),
        "</body></html>\n",
    ]
    with whole_file(path) as file:
        file.write("\n".join(parts).encode())


def _section(section: Section) -> str:
    parts = [f"<h2>{_text(section.heading)}</h2>"]
    if section.verdict:
        parts.append(f'<p class="verdict">{_text(section.verdict)}</p>')
    parts += [f"<p>{_text(one)}</p>" for one in section.paragraphs]
    if section.table:
        rows = [
            "".join(f"<{tag}>{_text(cell)}</{tag}>" for cell in row)
            for tag, row in zip(["th"] + ["td"] * len(section.table), section.table, strict=False)
        ]
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        parts.append(f'<div class="scroll"><table>{body}</table></div>')
    for figure, caption in section.figures:
        picture = base64.b64encode(as_file(figure)).decode()
        said = _text(caption)
        parts.append(
            f'<figure><img src="data:image/png;base64,{picture}" alt="{said}"><figcaption>{said}</figcaption></figure>'
        )
    return "\n".join([*parts, section.inspector])


def _text(value: object) -> str:
    """Without the control characters with which a name could steer a terminal, and with nothing that is markup."""
    return html.escape("".join(c for c in str(value) if c.isprintable() or c == " "))
