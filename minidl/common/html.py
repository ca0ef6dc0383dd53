"""HTML for notebooks: cards and tables, escaped.

What they show is said by the classes that show it.
"""

from __future__ import annotations

from collections.abc import Sequence

# Colours that stand on light and dark pages: the text's own, and one blue.
_CARD = (
    "display:inline-block;max-width:100%;overflow-x:auto;border-left:3px solid #3b82f6;padding:.25em .9em;"
    "margin:.2em 0;font-size:.95em;line-height:1.45"
)
_CELL = (
    "padding:.15em .8em .15em 0;border-bottom:1px solid rgba(128,128,128,.25);white-space:nowrap"
)


def escape(text: str) -> str:
    """The text as HTML shows it."""
    for sign, name in ("&", "amp"), ("<", "lt"), (">", "gt"), ('"', "quot"), ("'", "#x27"):
        text = text.replace(sign, f"&{name};")
    return text


def card(title: str, facts: str, body: str = "") -> str:
    """HTML for a notebook.

    A title and plain facts, which are escaped, over a body, which is HTML.
    """
    head = f"<b>{escape(title)}</b> <span style='opacity:.65'>{escape(facts)}</span>"
    return f"<div style='{_CARD}'>{head}{body}</div>"


def block(text: str) -> str:
    """HTML of a text as it stands, which is escaped."""
    return f"<pre style='margin:.4em 0;background:none;color:inherit'>{escape(text)}</pre>"


def table(head: Sequence[str], rows: Sequence[Sequence[str]], numbers: int = 1) -> str:
    """HTML of a table of texts, which are escaped.

    The last columns, as many as ``numbers``, are aligned right.
    """
    left = len(head) - numbers

    def row(cells: Sequence[str], kind: str, more: str = "") -> str:
        parts = []
        for i, cell in enumerate(cells):
            side = "left" if i < left else "right"
            style = f"text-align:{side};{_CELL}{more}"
            parts.append(f"<{kind} style='{style}'>{escape(cell)}</{kind}>")
        return f"<tr style='background:none'>{''.join(parts)}</tr>"

    lines = [
        row(head, "th", ";font-weight:normal;opacity:.65"),
        *(row(cells, "td") for cells in rows),
    ]
    style = "border-collapse:collapse;margin:.4em 0;font-size:inherit"
    return f"<table style='{style}'>{''.join(lines)}</table>"
