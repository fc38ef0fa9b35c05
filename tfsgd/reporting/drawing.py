"""How a figure is drawn, saved and put into the page: style, colours, markers, axes."""

import html
import io
import math
import re
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

INK, GRID, PAPER = "#1f2328", "#dde1e6", "#ffffff"
WIDTH = 7.2  # inches: at half of it, a column of a paper, the text is 6 to 7 points


MAIN = {"LR": "#56b4e9", "LR/BS": "#8e44ad", "Benchmark": "#d62728"}  # the paper's colours


RAMPS = {
    "LR": ("#7cc4ef", "#3fa2dc", "#1e78b4", "#0a4a73"),
    "LR/BS": ("#c39bd3", "#a569bd", "#8e44ad", "#5b2c6f"),
}


OTHERS = ("#e69f00", "#009e73", "#7f7f7f", "#8c564b")


DARK = {
    INK: "#e6e8eb",
    GRID: "#3a4048",
    PAPER: "#16191d",
    "#56b4e9": "#56b4e9",
    "#7cc4ef": "#3b7ea8",
    "#3fa2dc": "#56b4e9",
    "#1e78b4": "#9bd4f5",
    "#0a4a73": "#e3f4fd",
    "#c39bd3": "#8a57a3",
    "#a569bd": "#b57fcc",
    "#8e44ad": "#c994e0",
    "#5b2c6f": "#eedcf5",
    "#d62728": "#ff7070",
    "#e69f00": "#ffc04d",
    "#009e73": "#2bc79a",
    "#7f7f7f": "#a6a6a6",
    "#8c564b": "#c49a8f",
}


MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")


STYLE: Any = {
    "font.size": 12,
    "axes.titlesize": 12,
    "figure.titlesize": 12,
    "legend.fontsize": 11,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.grid": True,
    "grid.color": GRID,
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "lines.linewidth": 1.8,
    "lines.markersize": 6.5,
    "svg.fonttype": "none",
    "text.parse_math": False,
}


@dataclass
class Drawing:
    """A figure with what the page says beside it.

    Attributes:
        hover: the id of an artist in the SVG -> what its markers say, or what it says as a whole.
        values: rows of the table under the figure.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    extra: bool = False  # shown folded
    hover: dict[str, list[str]] = field(default_factory=dict)
    values: list[dict[str, str]] = field(default_factory=list)

    def says(self, *texts: str) -> str:
        """A new id for an artist whose markers say these texts on hover, in order."""
        key = f"{self.name}-p{len(self.hover)}"
        self.hover[key] = list(texts)
        return key

    def png(self) -> bytes:
        buffer = io.BytesIO()
        self.figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
        return buffer.getvalue()

    def lay_out(self) -> None:
        """Finds the places of axes and labels, once; the data need not be looked at for that."""
        for axes in self.figure.axes:
            for line in axes.lines:
                line.set_in_layout(False)
        self.figure.suptitle(textwrap.fill(self.title, 86), fontsize=11, gid=f"{self.name}-title")
        self.figure.draw_without_rendering()
        self.figure.set_layout_engine("none")

    def svg(self) -> str:
        """The figure on white paper. Equal records give equal text."""
        buffer = io.StringIO()
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()


def inline(drawing: Drawing, svg: str) -> str:
    """An SVG for the page: colours as CSS variables, values on hover, a name for screen readers."""
    body = re.sub(r"<metadata>.*?</metadata>", "", svg[svg.index("<svg") :], flags=re.DOTALL)
    body = re.sub(r"#[0-9a-f]{6}\b", lambda m: f"var(--c{m[0][1:]})" if m[0] in DARK else m[0], body)
    for key, texts in drawing.hover.items():
        body = _titled(body, f'<g id="{key}">', texts)
    label = html.escape(drawing.title)
    return body.replace("<svg ", f'<svg role="img" aria-label="{label}" ', 1)


def _titled(body: str, group: str, texts: Sequence[str]) -> str:
    """Puts a title into each marker of a group of the SVG, or into the group if it has none."""
    before, found, after = body.partition(group)
    titles = [f"<title>{html.escape(text)}</title>" for text in texts]
    if not found:
        return body
    if after.find("<use ") < 0 or after.find("<use ") > after.find("</g>"):
        return f"{before}{group}{titles[0]}{after}"
    done = ""
    for title in titles:
        head, tag, rest = after.partition("<use ")
        attributes, _, after = rest.partition("/>")
        done += f'{head}{tag}class="point" {attributes}>{title}</use>'
    return before + group + done + after


def style_variables() -> tuple[dict[str, str], dict[str, str]]:
    """The CSS variables of `inline`: for light, and for dark mode."""
    return {f"--c{c[1:]}": c for c in DARK}, {f"--c{c[1:]}": dark for c, dark in DARK.items()}


Made = Iterator["Drawing | str"]  # a figure, or in words the one that cannot be drawn, and why


@dataclass(frozen=True)
class Line:
    """One curve against the batch size: a regime at one momentum."""

    label: str
    colour: str
    marker: str
    rows: pd.DataFrame


Point = tuple[float, float, str]  # x, y, what it says on hover


def markers(
    drawing: Drawing, axes: Axes, line: Line, points: Sequence[Point], marker: str, **style: Any
) -> None:
    """Markers without a line: one artist for all, for speed."""
    if points:
        x, y, texts = zip(*points, strict=True)
        axes.plot(x, y, marker, color=line.colour, gid=drawing.says(*texts), **style)


def in_words(value: float, number: bool = False) -> str:
    return f"{value:.3g}" if number else f"{100 * value:.1f} %"


def batch_axis(axes: Axes, lines: Sequence[Line], crowded: bool = False) -> None:
    sizes = sorted({int(b) for line in lines for b in line.rows["batch_size"]})
    _batch_ticks(axes, sizes, crowded)


def _batch_ticks(axes: Axes, sizes: Sequence[int], crowded: bool = False) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_locator(FixedLocator([float(b) for b in sizes]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlim(sizes[0] / 1.35, sizes[-1] * 1.35)
    axes.set_xlabel("batch size")
    if len(sizes) > (3 if crowded else 6):
        axes.tick_params(axis="x", labelrotation=45 if not crowded else 60)


def percent_axis(axes: Axes, label: str) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}"))
    axes.set_ylabel(f"{label} (%)")
    low, high = axes.get_ylim()
    if high - low < 0.04:
        middle = (low + high) / 2
        axes.set_ylim(middle - 0.02, middle + 0.02)


def eigenvalue_axis(axes: Axes, along: str = "y") -> None:
    axis = axes.yaxis if along == "y" else axes.xaxis
    # The scale comes first: a range that spans factors reaches below zero on a linear axis.
    (axes.set_yscale if along == "y" else axes.set_xscale)("log", base=2)
    low, high = (axes.get_ylim if along == "y" else axes.get_xlim)()
    if low <= 0 or not math.isfinite(low):  # nothing to show on a logarithmic axis
        low, high = 0.7, 1.4
    if high / low < 3:
        (axes.set_ylim if along == "y" else axes.set_xlim)(low / 1.3, high * 1.3)
    (axes.set_ylabel if along == "y" else axes.set_xlabel)("λ1, top Hessian eigenvalue")
    axis.set_minor_locator(NullLocator())
    axis.set_major_locator(FixedLocator(_octaves(*(axes.get_ylim if along == "y" else axes.get_xlim)())))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:.0f}" if v >= 10 else f"{v:.3g}"))


def _octaves(low: float, high: float) -> list[float]:
    """Powers of two in a range; with half powers between them where these are few."""
    step = 0.5 if high / low < 12 else 1.0 if high / low < 300 else 3.0
    first = math.ceil(math.log2(low) / step)
    return [2 ** (step * i) for i in range(first, math.floor(math.log2(high) / step) + 1)]


def figure_key(figure: Figure, handles: Sequence[Line2D], columns: int, title: str | None = None) -> None:
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=columns,
        title=title,
        handlelength=2.4,
        columnspacing=1.2,
    )


def sequence(count: int) -> list[str]:
    """Colours for ordered things, in both modes far enough from the background."""
    light, dark = matplotlib.colormaps["viridis"], matplotlib.colormaps["plasma"]
    colours = []
    for i in range(count):
        share = i / max(count - 1, 1)
        colour = matplotlib.colors.to_hex(light(0.05 + 0.8 * share))
        DARK[colour] = matplotlib.colors.to_hex(dark(0.4 + 0.6 * share))
        colours.append(colour)
    return colours
