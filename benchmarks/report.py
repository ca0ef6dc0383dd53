"""Tables in Markdown, numbers as people read them, and the files that a benchmark leaves.

What is in a table is each benchmark's own.
"""

from __future__ import annotations

import json
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    assert all(len(line) == len(head) for line in lines), "a row is longer or shorter than the head"
    return "\n".join(f"| {' | '.join(cell.replace('|', '/') for cell in line)} |" for line in lines)


def number(value: float | None) -> str:
    """Three digits that count: 0.234, 14.1, 6,230; nothing for None."""
    if value is None:
        return ""
    if value == 0:
        return "0"
    for below, digits in ((1, 3), (10, 2), (100, 1)):
        if abs(value) < below:
            return f"{value:.{digits}f}"
    return f"{value:,.0f}"


def machine() -> str:
    """The machine in a line, without its name."""
    import os

    import numpy as np

    return (
        f"{os.cpu_count()} CPUs {platform.machine()}, {platform.system()}, Python {platform.python_version()}, "
        f"NumPy {np.__version__}"
    )


def save(path: Path, markdown: str, data: dict[str, Any]) -> None:
    """Write path.md and path.json, and print the Markdown."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".md").write_text(markdown + "\n", encoding="utf-8")
    path.with_suffix(".json").write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")
    print(markdown)
    print(f"\nThese are {path.with_suffix('.md')} and {path.with_suffix('.json')}\n")
