"""Ticks: round numbers on logarithmic axes, whole epochs, and no axis with fewer than two labels."""

import math
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, MaxNLocator, NullLocator

DIGITS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9),
)
ENOUGH = 3  # labels, where there is room for a choice
SHORTEST = 1.6  # times its lower end is the upper one


def round_ticks(low: float, high: float) -> list[float]:
    """Round numbers from `low` to `high`, both above zero: as few kinds of them as give three labels.

    5, 10, 20, 50 between 4 and 60; powers of ten alone where the range spans a factor of a hundred.
    """
    powers = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    found: list[float] = []
    for digits in DIGITS:
        ticks = [float(f"{d}e{p}") for p in powers for d in digits]
        found = [tick for tick in ticks if low <= tick <= high]
        if len(found) >= ENOUGH:
            break
    return found


def log_labels(axis: Axis, low: float, high: float) -> None:
    """Labels a logarithmic axis with round numbers."""
    axis.set_minor_locator(NullLocator())
    axis.set_major_locator(FixedLocator(round_ticks(low, high)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def label_axes(figure: Figure) -> None:
    """Gives every panel labels of its own, also where panels share an axis, so that each can stand alone."""
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        if axes.yaxis.get_ticks_position() != "right":
            axes.tick_params(axis="y", labelleft=True)
        if axes.xaxis.get_ticks_position() != "top":
            axes.tick_params(axis="x", labelbottom=True)
        if any(other.get_xlabel() == "epoch" for other in _sharing_x(axes)):
            _whole_epochs(axes)
        for axis, limit in ((axes.xaxis, axes.set_xlim), (axes.yaxis, axes.set_ylim)):
            if axis.get_scale() == "log" and not isinstance(axis.get_major_locator(), FixedLocator):
                low, high = _long_enough(*sorted(axis.get_view_interval()))
                limit(low, high)
                log_labels(axis, low, high)


def _whole_epochs(axes: Axes) -> None:
    low, high = axes.get_xlim()
    if high - low < 1:  # a single epoch
        axes.set_xlim(-0.1, high + 0.1)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=5, integer=True))


def _long_enough(low: float, high: float) -> tuple[float, float]:
    """The range of a logarithmic axis, wide enough for two round numbers."""
    half = math.sqrt(max(1.0, SHORTEST * low / high))
    return low / half, high * half


def _sharing_x(axes: Axes) -> Sequence[Axes]:
    return axes.get_shared_x_axes().get_siblings(axes)
