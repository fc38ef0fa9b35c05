"""Figures with a panel a regime and a colour a batch size."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.lines import Line2D

from tfsgd.reporting.figures.curves import Curve, sizes_of
from tfsgd.reporting.figures.legend import handle, legend
from tfsgd.reporting.figures.style import DARK, MARKERS, Drawing, sequence


@dataclass(frozen=True)
class BatchSizePalette:
    """A colour and a marker for each batch size."""

    colours: Mapping[int, str]
    markers: Mapping[int, str]

    def legend(self, drawing: Drawing, with_markers: bool = False, more: Sequence[Line2D] = ()) -> None:
        """The colours, and what else there is."""
        handles = [
            handle(f"{b}", color=colour, marker=self.markers[b] if with_markers else "")
            for b, colour in self.colours.items()
        ]
        legend(drawing.figure, [*handles, *more], min(len(handles) + len(more), 4), "batch size")


def by_palette(
    head: tuple[str, str, str, float], lines: Sequence[Curve], rows: int = 1, **shared: Any
) -> tuple[Drawing, Any, BatchSizePalette]:
    """An empty figure, its axes `(rows, regimes)` below the regimes' names, and the colours of the batch sizes.

    Args:
        head: name, title, caption and height of the figure.
        lines: a regime each.
        rows: of panels.
        shared: which axes are, as of matplotlib's `subplots`.
    """
    sizes = sizes_of(lines)
    pairs = sequence(len(sizes))
    drawing = Drawing(*head, dark={**DARK, **dict(pairs)})
    grid = drawing.panels(rows, len(lines), **shared)
    for axes, line in zip(grid[0], lines, strict=True):
        axes.set_title(line.two_lines)
    markers = {b: MARKERS[i % len(MARKERS)] for i, b in enumerate(sizes)}
    return (
        drawing,
        grid,
        BatchSizePalette({b: light for b, (light, _) in zip(sizes, pairs, strict=True)}, markers),
    )
