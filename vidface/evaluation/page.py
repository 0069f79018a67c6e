"""A result as one HTML file that loads nothing: its frame, and the pieces that reports are made of."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any, Final

CSS: Final = """
:root { color-scheme: light; }
body { margin: 0; background: #f5f7fa; color: #1f2933; font: 15px/1.5 "Helvetica Neue", Arial, "Liberation Sans",
  sans-serif; }
main { max-width: 860px; margin: 0 auto; padding: 32px 24px 64px; }
h1 { font-size: 26px; margin: 0; } h2 { font-size: 17px; margin: 0 0 10px; }
.sub { color: #616e7c; margin: 4px 0 22px; }
section { background: #fff; border: 1px solid #e4e7eb; border-radius: 10px; padding: 18px 22px; margin: 0 0 18px; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(122px, 1fr)); gap: 12px; margin: 0 0 18px; }
.card { background: #fff; border: 1px solid #e4e7eb; border-radius: 10px; padding: 12px 14px; }
.card b { display: block; font-size: 20px; white-space: nowrap; line-height: 1.25; font-variant-numeric: tabular-nums; }
.card span { color: #616e7c; font-size: 13px; }
.scroll { overflow-x: auto; } table { border-collapse: collapse; width: 100%; font-size: 13.5px; }
th { text-align: left; color: #616e7c; font-weight: 600; border-bottom: 1px solid #cbd2d9; padding: 4px 10px 4px 0; }
td { border-bottom: 1px solid #eef1f4; padding: 4px 10px 4px 0; font-variant-numeric: tabular-nums; }
.n { text-align: right; white-space: nowrap; } .bad { color: #b91c1c; } .good { color: #047857; }
.note { color: #616e7c; font-size: 13px; }
svg { width: 100%; height: auto; display: block; } details pre { overflow-x: auto; font-size: 12px; }
"""


def page(title: str, about: str, body: Sequence[str], *, wide: bool = False) -> str:
    """The whole file.

    Args:
        title: Of the page.
        about: A line below it.
        body: Its parts, HTML.
        wide: For tables of many columns.
    """
    wider = "main { max-width: 1120px; }" if wide else ""
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title><style>{CSS}{wider}</style></head><body><main>"
        f'<h1>{escape(title)}</h1><p class="sub">{escape(about)}</p>\n' + "\n".join(body) + "\n</main></body></html>\n"
    )


def machine_section(document: Mapping[str, Any]) -> str:
    """The machine and the options of a run."""
    rows = [
        (name.replace("_", " "), _described(value))
        for part in ("machine", "options")
        for name, value in document.get(part, {}).items()
        if value is not None
    ]
    return section("Machine and options", table(("", ""), rows))


def _described(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {each}" for key, each in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def embedded(name: str, document: Mapping[str, Any]) -> str:
    """JSON inside the page, in an element of this name."""
    # "<" would let a clip's name end the element.
    text = json.dumps(document, ensure_ascii=False, allow_nan=False).replace("<", "\\u003c")
    return f'<script type="application/json" id="{name}">{text}</script>'


def cards(figures: Iterable[tuple[str, str]]) -> str:
    """Figures in large print: (figure, what it is)."""
    inner = "".join(
        f'<div class="card"><b>{escape(figure)}</b><span>{escape(name)}</span></div>' for figure, name in figures
    )
    return f'<div class="cards">{inner}</div>'


def section(title: str, inner: str) -> str:
    """A part with a title; `inner` is HTML."""
    return f"<section><h2>{escape(title)}</h2>{inner}</section>"


def note(text: str) -> str:
    """A line in small print."""
    return f'<p class="note">{escape(text)}</p>'


def table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table; columns of figures stand at the right."""
    cells = [list(row) for row in rows]
    right = [bool(cells) and all(_is_figure(row[column]) for row in cells) for column in range(len(head))]
    classes = [' class="n"' if each else "" for each in right]
    titles = "".join(f"<th{c}>{escape(name)}</th>" for c, name in zip(classes, head, strict=True))
    lines = "".join(
        "<tr>" + "".join(f"<td{c}>{_cell(value)}</td>" for c, value in zip(classes, row, strict=True)) + "</tr>"
        for row in cells
    )
    return f'<div class="scroll"><table><tr>{titles}</tr>{lines}</table></div>'


def _is_figure(value: object) -> bool:
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return True
    return isinstance(value, str) and (not value or value[:1] in "+-0123456789")


def _cell(value: object) -> str:
    if value is None:
        return "-"
    text = escape(f"{value:g}" if isinstance(value, float) else str(value))
    return f'<span class="good">{text}</span>' if value == "holds" else text
