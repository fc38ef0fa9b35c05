"""Matrices of coloured cells with a number in each."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from tfsgd.reporting.figures.style import Drawing

INKS = ("#000001", "#fffffe")  # of numbers on light and on dark cells, also in dark mode


@dataclass(frozen=True)
class HeatCell:
    """A cell: where it is, its colour, the number in it and how that looks, and what it says on hover."""

    column: str
    row: str
    colour: Any
    number: str
    said: str
    look: dict[str, Any] = field(default_factory=dict)


def heatmap(
    drawing: Drawing,
    cells: Iterable[HeatCell],
    columns: Sequence[str],
    rows: Sequence[str],
    size: str = "small",
) -> Axes:
    """Draws cells, and names in this size at the columns and rows."""
    axes: Axes = drawing.panels(1, 1)[0, 0]
    for cell in cells:
        x, y = columns.index(cell.column), rows.index(cell.row)
        gid = drawing.tooltip(cell.said)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=cell.colour, edgecolor="none", gid=gid))
        axes.text(x, y, cell.number, ha="center", va="center", **{"fontsize": "x-small"} | cell.look)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(False)
    axes.tick_params(length=0, labelsize=size)
    axes.spines[:].set_visible(False)
    return axes
