"""Pictures of training: the figure and the look of its axes.

What is drawn is said where it is measured.
"""

from __future__ import annotations

import os
from typing import Any

from minidl.common.extras import install

BLUE = "#2a6fbb"
PALE_BLUE = "#b9cfe6"
ORANGE = "#d9741a"
GREY = "#e6e6e6"


def new_figure(who: str, width: float, height: float) -> Any:
    """A matplotlib ``Figure`` without a window or global state; ImportError without matplotlib."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise ImportError(f"{who} draws with matplotlib: {install('plot')}") from error
    return Figure(figsize=(width, height), layout="constrained")


def finish_axes(axes: Any, title: str, xlabel: str) -> None:
    """Name what is drawn and take away what says nothing."""
    axes.set_title(title[:1].upper() + title[1:], loc="left", fontweight="bold")
    axes.set_xlabel(xlabel)
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color=GREY)
    if len(axes.lines) > 1:
        axes.legend(frameon=False)


def save_figure(figure: Any, path: str | os.PathLike[str] | None) -> Any:
    """Write the figure to a file, if one is given, in the format of its suffix; return it."""
    if path is not None:
        figure.savefig(path, dpi=150)
    return figure
