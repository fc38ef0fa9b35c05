"""Axes: round numbers on logarithmic ones, batch sizes, shares in %, and no axis with fewer than two labels."""

import math
import warnings
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

DIGITS: tuple[tuple[float, ...], ...] = (
    (1,),
    (1, 2, 5),
    (1, 1.5, 2, 3, 5, 7),
    (1, 1.2, 1.4, 1.6, 1.8, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 7, 8, 9),
)
ENOUGH = 3  # labels, where there is room for a choice
LEAST_RANGE = 3.0  # of a logarithmic axis: its upper end over its lower one
ROOM = 0.03  # beyond 0 and 100 %, for markers there
EIGENVALUE = "λ1, top Hessian eigenvalue"


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


def log_axis(axes: Axes, along: str = "y", label: str = "") -> None:
    """A logarithmic axis with round numbers, wide enough for two of them."""
    # The scale comes first: a range that spans factors reaches below zero on a linear axis.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # no positive value: below
        getattr(axes, f"set_{along}scale")("log")
    limits = getattr(axes, f"set_{along}lim")
    low, high = getattr(axes, f"get_{along}lim")()
    if low <= 0 or not math.isfinite(low):  # nothing to show on a logarithmic axis
        low, high = 0.7, 1.4
    if high / low < LEAST_RANGE:
        low, high = low / 1.3, high * 1.3
        limits(low, high)
    _number(axes.yaxis if along == "y" else axes.xaxis, round_ticks(low, high))
    if label:
        getattr(axes, f"set_{along}label")(label)


def _number(axis: Axis, ticks: Sequence[float]) -> None:
    """Plain numbers at these places alone."""
    axis.set_minor_locator(NullLocator())
    axis.set_major_locator(FixedLocator(list(ticks)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def batch_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """The batch sizes along x."""
    axes.set_xscale("log", base=2)
    alone = [sizes[0] / 2, sizes[0], 2 * sizes[0]]  # one label is no scale
    ticks = sizes if len(sizes) > 1 else alone
    room = max(1.35, (ticks[-1] / ticks[0]) ** 0.1)  # for the outermost markers
    _number(axes.xaxis, ticks)
    axes.set_xlim(ticks[0] / room, ticks[-1] * room)
    axes.set_xlabel("batch size")
    figure = axes.get_figure(root=True)
    assert figure
    letters = (
        axes.get_position().width
        * figure.bbox.width
        / (0.6 * matplotlib.rcParams["font.size"] * figure.dpi / 72)
    )
    if sum(len(str(tick)) + 1 for tick in ticks) > letters:
        axes.tick_params(axis="x", labelrotation=60)


def percent_axis(axes: Axes, label: str = "", least: float = 0.0) -> None:
    """In %; it ends at `least` and 100 %, where intervals of few seeds reach beyond."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}"))
    axes.set_ylabel(f"{label} (%)" * bool(label))
    low, high = axes.get_ylim()
    if high - low < 0.04:
        middle = (low + high) / 2
        axes.set_ylim(middle - 0.02, middle + 0.02)
    elif low < least - ROOM or high > 1 + ROOM:
        axes.set_ylim(max(low, least - ROOM), min(high, 1 + ROOM))


def label_axes(figure: Figure) -> None:
    """Gives every panel labels of its own, also where panels share an axis, so that each can stand alone."""
    for axes in figure.axes:
        if not axes.get_visible():
            continue
        if axes.yaxis.get_ticks_position() != "right":
            axes.tick_params(axis="y", labelleft=True)
        if axes.xaxis.get_ticks_position() != "top":
            axes.tick_params(axis="x", labelbottom=True)
        for along, axis in (("x", axes.xaxis), ("y", axes.yaxis)):
            if axis.get_scale() == "log" and not isinstance(axis.get_major_locator(), FixedLocator):
                log_axis(axes, along)
