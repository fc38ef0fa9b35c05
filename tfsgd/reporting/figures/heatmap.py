"""Matrices of coloured cells with a number in each."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from tfsgd.reporting.figures.style import Drawing

INKS = ("#000001", "#fffffe")  # of numbers on light and on dark cells, also in dark mode


def heatmap_cell(
    drawing: Drawing, axes: Axes, at: tuple[int, int], colour: Any, number: str, tooltip: str, **style: Any
) -> None:
    """One cell; `at` is its column and row, `style` that of the number."""
    column, row = at
    axes.add_patch(
        Rectangle(
            (column - 0.5, row - 0.5), 1, 1, facecolor=colour, edgecolor="none", gid=drawing.tooltip(tooltip)
        )
    )
    axes.text(column, row, number, ha="center", va="center", **{"fontsize": "x-small"} | style)


def label_cells(axes: Axes, columns: Sequence[str], rows: Sequence[str], size: str = "small") -> None:
    """Names at the columns and rows."""
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(np.arange(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(np.arange(len(rows)), rows)
    axes.grid(False)
    axes.tick_params(length=0, labelsize=size)
    for spine in axes.spines.values():
        spine.set_visible(False)
