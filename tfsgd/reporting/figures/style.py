"""How a figure is drawn and saved: style, colours, markers, and the words beside it."""

import io
import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import matplotlib
from matplotlib.figure import Figure

from tfsgd.reporting.figures import axes, svg

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
CLOUD = 70  # small points on one curve: seven batch sizes under ten seeds

STYLE: Any = dict(matplotlib.rcParamsDefault) | {  # nothing of a user's matplotlibrc, such as text.usetex
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


@dataclass(frozen=True)
class CellValue:
    """The value of a cell in a figure, in words.

    Attributes:
        interval: its ends; `None`: there is none, and `without` says why.
    """

    curve: str
    batch_size: object
    what: str
    mean: str
    interval: tuple[str, str] | None = None
    seeds: str = ""
    without: str = ""

    @property
    def row(self) -> dict[str, str]:
        """Heading -> text, of the table under the figure."""
        interval = " to ".join(self.interval) if self.interval else self.without
        keys = ("curve", "batch size", "what", "mean", "95 % interval", "seeds")
        texts = (self.curve, str(self.batch_size), self.what, self.mean, interval, self.seeds)
        return dict(zip(keys, texts, strict=True))


@dataclass
class Drawing:
    """A figure with what the page says beside it.

    Attributes:
        dark: each colour of the figure that changes in dark mode -> the colour that it has there.
        hover: the id of an artist in the SVG -> what its markers say, or what it says as a whole.
        values: rows of the table under the figure.
        cells: those of them that are values of cells.
    """

    name: str
    title: str
    caption: str
    height: float  # inches
    figure: Figure = field(init=False)
    first: bool = False  # shown before the claims
    extra: bool = False  # shown folded
    dark: Mapping[str, str] = field(default_factory=lambda: DARK)
    hover: dict[str, list[str]] = field(default_factory=dict)
    values: list[dict[str, str]] = field(default_factory=list)
    cells: list[CellValue] = field(default_factory=list)
    parts: list[svg.View] = field(default_factory=list)  # once it is laid out

    def __post_init__(self) -> None:
        self.figure = Figure(figsize=(WIDTH, self.height), layout="constrained")

    def add(self, value: CellValue) -> None:
        """Puts the value of a cell into the table under the figure."""
        self.cells.append(value)
        self.values.append(value.row)

    def tooltip(self, *texts: str) -> str:
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
        axes.label_axes(self.figure)
        for panel in self.figure.axes:
            for line in panel.lines:
                line.set_in_layout(False)
        self.figure.suptitle(textwrap.fill(self.title, 86), fontsize=11, gid=f"{self.name}-title")
        engine = self.figure.get_layout_engine()
        if engine is not None:
            engine.execute(self.figure)
        self.parts = svg.views_of(self.figure)
        self.figure.set_layout_engine(None)  # STYLE has none: nothing is laid out anew at each save

    def svg(self) -> str:
        """The figure on white paper. Equal records give equal text."""
        buffer = io.StringIO()
        with matplotlib.rc_context({**STYLE, "svg.hashsalt": self.name}):
            self.figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
        return buffer.getvalue()

    def inlined(self, text: str) -> str:
        """Its SVG as it stands in the page."""
        return svg.inline(text, self.name, self.title, self.hover, self.parts, self.dark)


FigureResult = Iterator[Drawing | str]  # a figure, or in words the one that cannot be drawn, and why
Drawn = tuple[list[Drawing], list[str]]  # the same, all of them


def drawn(results: FigureResult, done: Callable[[Drawing], None]) -> Drawn:
    """Draws all figures, and calls `done` with each when it is laid out, so that it can be saved and let go of."""
    drawings: list[Drawing] = []
    undrawn: list[str] = []
    with matplotlib.rc_context(STYLE):
        for result in results:
            if isinstance(result, str):
                undrawn.append(result)
            else:
                result.lay_out()
                done(result)
                drawings.append(result)
    return drawings, undrawn


def in_words(value: float, number: bool = False) -> str:
    return f"{value:.3g}" if number else f"{100 * value:.1f} %"


def sequence(count: int) -> list[tuple[str, str]]:
    """Colours for ordered things, in light and in dark mode; each has a contrast of 3 to its background."""
    scale = matplotlib.colormaps["plasma"]
    shares = [i / max(count - 1, 1) for i in range(count)]
    to_hex = matplotlib.colors.to_hex
    return [(to_hex(scale(0.62 * share)), to_hex(scale(0.4 + 0.6 * share))) for share in shares]


def file_name(label: str) -> str:
    """A label as a part of a file's name; different labels give different names."""
    return quote(label, safe="")


def style_variables(drawings: Sequence[Drawing]) -> dict[str, dict[str, str]]:
    """The CSS variables of the SVGs in the page, for `light` and for `dark` mode."""
    dark = dict(DARK)
    for drawing in drawings:
        dark |= drawing.dark
    return {
        "light": {f"--c{c[1:]}": c for c in dark},
        "dark": {f"--c{c[1:]}": other for c, other in dark.items()},
    }
