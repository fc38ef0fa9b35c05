"""Matrices of coloured tiles with a number in each."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from tfsgd.reporting.figures.style import Drawing

INKS = ("#000001", "#fffffe")  # of numbers on light and on dark tiles, also in dark mode


@dataclass(frozen=True)
class Tile:
    """One of them.

    Attributes:
        column, row: its place, from the left and from the top.
        number: in it; empty: none.
        says: on hover.
    """

    column: int
    row: int
    colour: Any
    is_dark: bool
    number: str
    says: str
    bold: bool = False


def tile(drawing: Drawing, axes: Axes, t: Tile) -> None:
    """Draws one."""
    corner = (t.column - 0.5, t.row - 0.5)
    axes.add_patch(Rectangle(corner, 1, 1, facecolor=t.colour, edgecolor="none", gid=drawing.says(t.says)))
    style: dict[str, Any] = {"color": INKS[t.is_dark], "weight": "bold" if t.bold else "normal"}
    axes.text(t.column, t.row, t.number, ha="center", va="center", fontsize=8, **style)


def label_tiles(axes: Axes, columns: Sequence[str], rows: Sequence[str], size: float = 9.5) -> None:
    """Names at the tiles' columns and rows."""
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(np.arange(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(rows)), rows)
    axes.grid(False)
    axes.tick_params(length=0, labelsize=size)
    for spine in axes.spines.values():
        spine.set_visible(False)
