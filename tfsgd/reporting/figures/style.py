"""How a figure is drawn, saved and put into the page: style, colours, markers, axes."""

import io
import math
import re
import textwrap
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from tfsgd.reporting.figures.svg_minify import SVG, slim
from tfsgd.reporting.figures.svg_views import Part, parts_of
from tfsgd.reporting.figures.ticks import label_axes, log_labels

INK, GRID, PAPER = "#1f2328", "#dde1e6", "#ffffff"
DPI = 300  # of PNG
PDF_FONTS = 42  # TrueType, which a journal accepts
WIDTH = 7.2  # inches: at half of it, a column of a paper, the text is 6 to 7 points


MAIN = {"LR": "#56b4e9", "LR/BS": "#8e44ad", "Benchmark": "#d62728"}  # the paper's colours
RAMPS = {
    "LR": ("#7cc4ef", "#3fa2dc", "#1e78b4", "#0a4a73"),
    "LR/BS": ("#c39bd3", "#a569bd", "#8e44ad", "#5b2c6f"),
}
OTHERS = ("#e69f00", "#009e73", "#7f7f7f", "#8c564b")
DARK: Mapping[str, str] = {
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
DASHES = (0, (4, 2))
ROOM = 0.03  # beyond 0 and 100 %, for markers there
CLOUD = 70  # small points on one curve: seven batch sizes under ten seeds

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
        dark: each colour of the figure that changes in dark mode -> the colour that it has there.
        hover: the id of an artist in the SVG -> what its markers say, or what it says as a whole.
        values: rows of the table under the figure.
    """

    name: str
    title: str
    caption: str
    figure: Figure
    first: bool = False  # shown before the claims
    extra: bool = False  # shown folded
    dark: Mapping[str, str] = field(default_factory=lambda: DARK)
    hover: dict[str, list[str]] = field(default_factory=dict)
    values: list[dict[str, str]] = field(default_factory=list)
    parts: list[Part] = field(default_factory=list)  # once it is laid out

    def says(self, *texts: str) -> str:
        """A new id for an artist whose markers say these texts on hover, in order."""
        key = f"{self.name}-p{len(self.hover)}"
        self.hover[key] = list(texts)
        return key

    def png(self) -> bytes:
        buffer = io.BytesIO()
        with matplotlib.rc_context(STYLE):
            self.figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
        return buffer.getvalue()

    def pdf(self) -> bytes:
        """Equal records give equal bytes."""
        buffer = io.BytesIO()
        nothing = dict.fromkeys(("CreationDate", "Creator", "Producer"))
        with matplotlib.rc_context({**STYLE, "pdf.fonttype": PDF_FONTS}):
            self.figure.savefig(buffer, format="pdf", metadata=nothing)
        return buffer.getvalue()

    def lay_out(self) -> None:
        """Finds the places of axes and labels, once; the data need not be looked at for that."""
        label_axes(self.figure)
        for axes in self.figure.axes:
            for line in axes.lines:
                line.set_in_layout(False)
        self.figure.suptitle(textwrap.fill(self.title, 86), fontsize=11, gid=f"{self.name}-title")
        engine = self.figure.get_layout_engine()
        if engine is not None:
            engine.execute(self.figure)
        self.parts = parts_of(self.figure)
        self.figure.set_layout_engine(None)  # STYLE has none: nothing is laid out anew at each save

    def svg(self) -> str:
        """The figure on white paper. Equal records give equal text."""
        buffer = io.StringIO()
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()


# In the page


COLOURED = ("style", "fill", "stroke")  # attributes of an SVG that hold colours

ET.register_namespace("", SVG[1:-1])
ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")


def inline(drawing: Drawing, svg: str) -> str:
    """An SVG for the page: colours as CSS variables, values on hover, a name for screen readers."""
    root = ET.fromstring(svg)
    for metadata in root.findall(f"{SVG}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for attribute in COLOURED:
            if attribute in element.attrib:
                element.set(attribute, _with_variables(element.attrib[attribute], drawing.dark))
    slim(root)
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g")}
    for key, texts in drawing.hover.items():
        if key in groups:  # an artist without a visible part is not in the SVG
            _give_titles(groups[key], texts)
    root.set("role", "img")
    root.set("aria-label", drawing.title)
    root.set("class", "whole")
    return _wrapped(root, drawing)


def _wrapped(root: ET.Element, drawing: Drawing) -> str:
    """The SVG, and beside it views of its parts, which the page shows instead where it is narrow."""
    key = drawing.name.replace("%", "_x") + "-all"
    everything = ET.Element(f"{SVG}g", {"id": key})
    for element in list(root):
        if element.tag == f"{SVG}g":
            root.remove(element)
            everything.append(element)
    root.append(everything)
    views = "".join(
        f'<svg viewBox="{part.view_box}" style="width:{part.pixels:.0f}px"><use href="#{key}"/></svg>'
        for part in drawing.parts
    )
    return f'{ET.tostring(root, encoding="unicode")}<div class="parts" aria-hidden="true">{views}</div>'


def _with_variables(style: str, dark: Mapping[str, str]) -> str:
    return re.sub(r"#[0-9a-f]{6}\b", lambda m: f"var(--c{m[0][1:]})" if m[0] in dark else m[0], style)


def _give_titles(group: ET.Element, texts: Sequence[str]) -> None:
    """A title for each marker of a group of the SVG, or one for the group if it has no markers."""
    markers = list(group.iter(f"{SVG}use"))
    if not markers:
        title = ET.Element(f"{SVG}title")
        title.text = texts[0]
        group.insert(0, title)
    for marker, text in zip(markers, texts, strict=False):
        marker.set("class", "point")
        ET.SubElement(marker, f"{SVG}title").text = text


def style_variables(drawings: Sequence[Drawing]) -> dict[str, dict[str, str]]:
    """The CSS variables of `inline`, for `light` and for `dark` mode."""
    dark = dict(DARK)
    for drawing in drawings:
        dark |= drawing.dark
    return {
        "light": {f"--c{c[1:]}": c for c in dark},
        "dark": {f"--c{c[1:]}": other for c, other in dark.items()},
    }


# Lines and markers


Made = Iterator["Drawing | str"]  # a figure, or in words the one that cannot be drawn, and why
Drawn = tuple[list[Drawing], list[str]]  # the same, all of them


def drawn(made: Made, done: Callable[[Drawing], None]) -> Drawn:
    """Draws all figures, and calls `done` with each when it is laid out, so that it can be saved and let go of."""
    drawings: list[Drawing] = []
    undrawn: list[str] = []
    with matplotlib.rc_context(STYLE):
        for result in made:
            if isinstance(result, str):
                undrawn.append(result)
            else:
                result.lay_out()
                done(result)
                drawings.append(result)
    return drawings, undrawn


@dataclass(frozen=True)
class Line:
    """One curve against the batch size: a regime at one momentum."""

    label: str
    colour: str
    marker: str
    rows: pd.DataFrame

    @property
    def two_lines(self) -> str:
        """The label, its momentum below."""
        return self.label.replace(" (", "\n(")


def batch_sizes_of(lines: Sequence[Line]) -> list[int]:
    """Those that any of the lines has, in order."""
    return sorted({int(b) for line in lines for b in line.rows["batch_size"]})


Point = tuple[float, float, str]  # x, y, what it says on hover


def markers(
    drawing: Drawing, axes: Axes, line: Line, points: Sequence[Point], marker: str, **style: Any
) -> None:
    """Markers without a line: one artist for all, for speed. Small points that would be a cloud are left out."""
    if points and not (marker == "." and len(points) > CLOUD):
        x, y, texts = zip(*points, strict=True)
        axes.plot(x, y, marker, color=line.colour, gid=drawing.says(*texts), **style)


def in_words(value: float, number: bool = False) -> str:
    return f"{value:.3g}" if number else f"{100 * value:.1f} %"


def batch_axis(axes: Axes, lines: Sequence[Line], crowded: bool = False) -> None:
    sizes = batch_sizes_of(lines)
    axes.set_xscale("log", base=2)
    alone = [sizes[0] / 2, sizes[0], 2 * sizes[0]]  # one label is no scale
    ticks = sizes if len(sizes) > 1 else alone
    room = max(1.35, (ticks[-1] / ticks[0]) ** 0.1)  # for the outermost markers
    axes.xaxis.set_major_locator(FixedLocator(ticks))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{x:g}"))
    axes.set_xlim(ticks[0] / room, ticks[-1] * room)
    axes.set_xlabel("batch size")
    if len(ticks) > (3 if crowded else 6):
        axes.tick_params(axis="x", labelrotation=45 if not crowded else 60)


def percent_axis(axes: Axes, label: str, share: bool = True) -> None:
    """In %; of a share it ends at 0 and 100 %, where intervals of few seeds reach beyond."""
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}"))
    axes.set_ylabel(f"{label} (%)")
    low, high = axes.get_ylim()
    if high - low < 0.04:
        middle = (low + high) / 2
        axes.set_ylim(middle - 0.02, middle + 0.02)
    elif share and (low < -ROOM or high > 1 + ROOM):
        axes.set_ylim(max(low, -ROOM), min(high, 1 + ROOM))


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
    log_labels(axis, *(axes.get_ylim if along == "y" else axes.get_xlim)())


def log_axis(axes: Axes, along: str = "y") -> None:
    """Logarithmic, with decimal labels, at least two of them."""
    (axes.set_yscale if along == "y" else axes.set_xscale)("log")
    low, high = (axes.get_ylim if along == "y" else axes.get_xlim)()
    if high / low < 5:
        low, high = low / 1.6, high * 1.6
        (axes.set_ylim if along == "y" else axes.set_xlim)(low, high)
    axis = axes.yaxis if along == "y" else axes.xaxis
    axis.set_minor_locator(NullLocator())
    axis.set_major_locator(FixedLocator(log_ticks(low, high)))
    axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:g}"))


def log_ticks(low: float, high: float) -> list[float]:
    """1, 2 and 5 times powers of ten in a range, or powers alone where these are many."""
    digits = (1, 2, 5) if high / low < 200 else (1,)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [d * 10.0**p for p in powers for d in digits if low <= d * 10.0**p <= high]


def handles_of(lines: Sequence[Line]) -> list[Line2D]:
    """What the key shows of lines."""
    return [Line2D([], [], color=line.colour, marker=line.marker, label=line.label) for line in lines]


def figure_key(figure: Figure, handles: Sequence[Line2D], columns: int, title: str | None = None) -> None:
    """The key below a figure, in fewer columns where so many are wider than the figure."""
    for count in range(columns, 0, -1):
        key = figure.legend(
            handles=list(handles),
            loc="outside lower center",
            ncols=count,
            title=title,
            handlelength=2.4,
            columnspacing=1.2,
        )
        if count == 1 or key.get_window_extent().width <= figure.bbox.width:
            return
        key.remove()


def sequence(count: int) -> list[tuple[str, str]]:
    """Colours for ordered things, in light and in dark mode; each has a contrast of 3 to its background."""
    scale = matplotlib.colormaps["plasma"]
    shares = [i / max(count - 1, 1) for i in range(count)]
    to_hex = matplotlib.colors.to_hex
    return [(to_hex(scale(0.62 * share)), to_hex(scale(0.4 + 0.6 * share))) for share in shares]


def file_name(label: str) -> str:
    """A label as a part of a file's name; different labels give different names."""
    return quote(label, safe="")


def set_apart(lines: Sequence[Line]) -> Iterator[tuple[Line, float]]:
    """Lines with what their batch sizes are multiplied by, so that they do not hide each other."""
    for i, line in enumerate(lines):
        yield line, 2 ** (0.07 * (i - (len(lines) - 1) / 2))


@dataclass(frozen=True)
class Sizes:
    """The batch sizes of some lines, each with a colour and a marker."""

    colours: Mapping[int, str]
    dark: Mapping[str, str]  # for the drawing

    @classmethod
    def of(cls, lines: Sequence[Line]) -> "Sizes":
        sizes = batch_sizes_of(lines)
        pairs = sequence(len(sizes))
        return cls({b: light for b, (light, _) in zip(sizes, pairs, strict=True)}, {**DARK, **dict(pairs)})

    def marker(self, size: int) -> str:
        return MARKERS[list(self.colours).index(size) % len(MARKERS)]

    def key(self, figure: Figure, with_markers: bool, more: Sequence[Line2D] = ()) -> None:
        """The legend of the colours, and of what else there is, below the figure."""
        handles = [
            Line2D([], [], color=colour, marker=self.marker(b) if with_markers else "", label=f"{b}")
            for b, colour in self.colours.items()
        ]
        figure_key(figure, [*handles, *more], min(len(handles) + len(more), 4), "batch size")
