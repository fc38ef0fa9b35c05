"""Axes: round numbers on logarithmic ones, batch sizes, shares in %, and no axis with fewer than two labels."""

import math
import warnings
from collections.abc import Sequence

import matplotlib
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FixedLocator, FuncFormatter, Locator, LogLocator, NullLocator

LEAST_RANGE = 3.0  # of a logarithmic axis: its upper end over its lower one
# Range at least -> first digits of its numbers: two of them at least are in it.
DIGITS = {1000: (1.0,), 10: (1.0, 2.0, 5.0), 0: (1.0, 2.0, 3.0, 5.0, 7.0)}
MOST_DECADES = 12
ROOM = 0.03  # beyond 0 and 100 %, for markers there
EIGENVALUE = "λ1, top Hessian eigenvalue"


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
        middle = math.sqrt(low * high)
        low, high = middle / math.sqrt(LEAST_RANGE), middle * math.sqrt(LEAST_RANGE)
        limits(low, high)
    digits = next(digits for least, digits in DIGITS.items() if high / low >= least)
    _number(axes.yaxis if along == "y" else axes.xaxis, LogLocator(subs=digits, numticks=MOST_DECADES))
    if label:
        getattr(axes, f"set_{along}label")(label)


def _number(axis: Axis, locator: Locator) -> None:
    """Plain numbers at these places alone."""
    axis.set_minor_locator(NullLocator())
    axis.set_major_locator(locator)
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def batch_axis(axes: Axes, sizes: Sequence[int]) -> None:
    """The batch sizes along x."""
    axes.set_xscale("log", base=2)
    alone = [sizes[0] / 2, sizes[0], 2 * sizes[0]]  # one label is no scale
    ticks = sizes if len(sizes) > 1 else alone
    room = max(1.35, (ticks[-1] / ticks[0]) ** 0.1)  # for the outermost markers
    _number(axes.xaxis, FixedLocator(list(ticks)))
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
            if axis.get_scale() == "log" and not isinstance(axis.get_minor_locator(), NullLocator):
                log_axis(axes, along)
