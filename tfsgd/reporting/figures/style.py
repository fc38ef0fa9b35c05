"""How a figure is drawn and saved: style, colours, markers, the legend, and the words beside it."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args
from urllib.parse import quote

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfsgd.plan.yaml_io import read_yaml
from tfsgd.reporting.figures import axes, svg
from tfsgd.reporting.paper import BAD, COMMON, attack_name

INK, GRID, PAPER = "#1f2328", "#dde1e6", "#ffffff"
DPI = 300  # of PNG
PDF_FONTS = 42  # TrueType, which a journal accepts
SCREEN, FONT = 7.2, 12.0  # inches and points, where nothing else is asked for
WIDTHS = {"column": 3.3, "text": 6.9}  # inches, of a page with two columns

Format = Literal["png", "svg", "pdf"]
FORMATS: tuple[Format, ...] = get_args(Format)

_COLOURS = read_yaml(Path(__file__).with_name("colours.yaml"))
MAIN: Mapping[str, str] = _COLOURS["main"]
RAMPS: Mapping[str, Sequence[str]] = _COLOURS["ramps"]
OTHERS: Sequence[str] = _COLOURS["others"]
DARK: Mapping[str, str] = _COLOURS["dark"]
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
DASHES = (0, (4, 2))
# Nothing of a user's matplotlibrc, such as text.usetex.
_OURS: Any = matplotlib.rc_params_from_file(
    Path(__file__).with_name("report.mplstyle"), use_default_template=False
)
PLAIN: Any = dict(matplotlib.rcParamsDefault) | _OURS


@dataclass(frozen=True)
class Look:
    """How large figures are, and which files they have.

    Attributes:
        width: inches, as they are printed.
        font: points, of titles and labels as they are printed; numbers at the axes are a little smaller.
        formats: of the files.
    """

    width: float = SCREEN
    font: float = FONT
    formats: tuple[Format, ...] = FORMATS

    @property
    def is_narrow(self) -> bool:
        """Panels that stand side by side elsewhere stand below each other."""
        return self.width < 0.7 * SCREEN

    @property
    def height(self) -> float:
        """What heights on the screen are multiplied by."""
        return (self.width / SCREEN + self.font / FONT) / 2

    @property
    def style(self) -> Any:
        """matplotlib's settings."""
        scale = self.font / FONT
        return PLAIN | {
            "font.size": self.font,
            "axes.titlesize": self.font,
            "legend.fontsize": 0.92 * self.font,
            "xtick.labelsize": 0.88 * self.font,
            "ytick.labelsize": 0.88 * self.font,
            "lines.linewidth": 1.8 * scale,
            "lines.markersize": 6.5 * scale,
            "axes.linewidth": 0.8 * scale,
            "grid.linewidth": 0.8 * scale,
        }


_LOOK: ContextVar[Look] = ContextVar("look", default=Look())  # noqa: B039  # it is frozen


class CellValue(NamedTuple):
    """The value of a cell in a figure, in words; `interval` has its ends, `None` of one seed, and `notes` follow the mean."""

    curve: str
    batch_size: object
    what: str
    mean: str
    interval: tuple[str, str] | None = None
    seeds: str = ""
    notes: str = ""

    @property
    def row(self) -> dict[str, str]:
        """Heading -> text, of the table under the figure."""
        interval = " to ".join(self.interval or ())
        keys = ("curve", "batch size", "what", "mean", "95 % interval", "seeds")
        texts = (self.curve, str(self.batch_size), self.what, self.mean + self.notes, interval, self.seeds)
        return dict(zip(keys, texts, strict=True))

    @property
    def words(self) -> str:
        """For its marker, on hover."""
        interval = f" [{', '.join(self.interval)}]" if self.interval else ""
        seeds = f"{self.seeds} {'seed' if self.seeds == '1' else 'seeds'}{self.notes}"
        return f"{self.curve}, batch size {self.batch_size}: {self.what} {self.mean}{interval}, {seeds}"


@dataclass
class Drawing:
    """A figure with what the page says beside it.

    Attributes:
        name: of its files.
        title: over its caption; it is not in the figure.
        height: inches on the screen.
        extra: drawn only where it is asked for.
        section: of the page, see `registry`.
        look: how large it is.
        dark: each colour of the figure that changes in dark mode -> the colour that it has there.
        hover: the id of an artist in the SVG -> what its markers say, or what it says as a whole.
        values: rows of the table under the figure.
        cells: those of them that are values of cells.
    """

    name: str
    title: str
    caption: str
    height: float
    extra: bool = False
    section: str = ""
    look: Look = field(default_factory=_LOOK.get)
    figure: Figure = field(init=False)
    dark: Mapping[str, str] = field(default_factory=lambda: DARK)
    hover: dict[str, list[str]] = field(default_factory=dict)
    values: list[dict[str, str]] = field(default_factory=list)
    cells: list[CellValue] = field(default_factory=list)
    parts: list[svg.View] = field(default_factory=list)  # once it is laid out

    def __post_init__(self) -> None:
        size = (self.look.width, self.look.height * self.height)
        self.figure = Figure(figsize=size, layout="constrained")

    def panels(self, rows: int, columns: int, **shared: Any) -> Any:
        """Its axes, `(rows, columns)`; a single row stands in a column where the figure is narrow."""
        if rows > 1 or columns == 1 or not self.look.is_narrow:
            return self.figure.subplots(rows, columns, squeeze=False, **shared)
        self.figure.set_figheight(0.48 * columns * self.look.width + 0.11 * self.look.font)  # and the legend
        return self.figure.subplots(columns, 1, squeeze=False, **shared).reshape(1, columns)

    def add(self, value: CellValue) -> None:
        """Puts the value of a cell into the table under the figure."""
        self.cells.append(value)
        self.values.append(value.row)

    def tooltip(self, *texts: str) -> str:
        """A new id for an artist whose markers say these texts on hover, in order."""
        key = f"{self.name}-p{len(self.hover)}"
        self.hover[key] = list(texts)
        return key

    def lay_out(self) -> None:
        """Finds the places of axes and labels, once; the data need not be looked at for that."""
        axes.label_axes(self.figure)
        for panel in self.figure.axes:
            for line in panel.lines:
                line.set_in_layout(False)
        engine = self.figure.get_layout_engine()
        if engine is not None:
            engine.execute(self.figure)
        self.parts = svg.views_of(self.figure)
        self.figure.set_layout_engine(None)  # its style has none: nothing is laid out anew at each save

    def file(self, kind: Format) -> bytes:
        """The figure on white paper, its title in the metadata. Equal records give equal bytes."""
        buffer = io.BytesIO()
        nothing: dict[str, str | None] = {
            "png": dict.fromkeys(["Software"]),
            "svg": dict.fromkeys(["Date", "Creator"]),
            "pdf": dict.fromkeys(["CreationDate", "Creator", "Producer"]),
        }[kind]
        more: Any = {"svg.hashsalt": self.name, "pdf.fonttype": PDF_FONTS}
        with matplotlib.rc_context({**self.look.style, **more}):
            self.figure.savefig(buffer, format=kind, dpi=DPI, metadata={**nothing, "Title": self.title})
        return buffer.getvalue()

    def inlined(self, text: str) -> str:
        """Its SVG as it stands in the page."""
        return svg.inline(text, self.name, self.title, self.hover, self.parts, self.dark)


FigureResult = Iterator[Drawing | str]  # a figure, or in words the one that cannot be drawn, and why
Drawn = tuple[list[Drawing], list[str]]  # the same, all of them


def drawn(
    results: Callable[[], FigureResult], done: Callable[[Drawing], None], look: Look | None = None
) -> Drawn:
    """Draws all figures, and calls `done` with each when it is laid out, so that it can be saved and let go of."""
    look = look or Look()
    drawings: list[Drawing] = []
    undrawn: list[str] = []
    token = _LOOK.set(look)
    try:
        with matplotlib.rc_context(look.style):
            for result in results():
                if isinstance(result, str):
                    undrawn.append(result)
                else:
                    result.lay_out()
                    done(result)
                    drawings.append(result)
    finally:
        _LOOK.reset(token)
    return drawings, undrawn


def sequence(count: int) -> list[tuple[str, str]]:
    """Colours for ordered things, in light and in dark mode; each has a contrast of 3 to its background."""
    scale = matplotlib.colormaps["plasma"]
    shares = [i / max(count - 1, 1) for i in range(count)]
    to_hex = matplotlib.colors.to_hex
    return [(to_hex(scale(0.62 * share)), to_hex(scale(0.4 + 0.6 * share))) for share in shares]


def file_name(label: str) -> str:
    """A label as a part of a file's name; different labels give different names."""
    return quote(label, safe="")


# The legend below a figure: curves, batch sizes, and what the marks mean


def handle(label: str, **style: Any) -> Line2D:
    """An item of the legend."""
    return Line2D([], [], **{"color": INK, "label": label, **style})


def legend(figure: Figure, handles: Sequence[Line2D], columns: int, title: str | None = None) -> None:
    """The legend below the figure, in fewer columns where so many are wider than the figure."""
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


# Marks


@dataclass(frozen=True)
class Marks:
    """What marks tell the shown networks apart: hollow, crosses, rings. What most of them carry is said instead.

    Attributes:
        hollow: under-trained ones are.
        rings: attacks; networks that fail a check of one have a ring.
        bad: what crosses stand for, in words; empty: there is none.
        said: what most carry, in sentences.
    """

    hollow: bool
    rings: frozenset[str]
    bad: str
    said: str

    @classmethod
    def of(cls, trials: pd.DataFrame, attacks: Sequence[str | None] = (), by: Sequence[str] = ()) -> Marks:
        """Of these networks, those together that have one marker: the same values of `by`."""
        completed = trials[trials["status"] == "completed"]

        def share(flags: pd.Series) -> float:
            keys = [completed[name] for name in by]
            marked = flags.groupby(keys).transform("any") if keys and len(flags) else flags
            return float(marked.mean()) if len(flags) else 0.0

        failing = {attack: fails(completed, attack) for attack in dict.fromkeys(attacks) if attack}
        rings = {attack: share(flags) for attack, flags in failing.items()}
        under = share(completed["undertrained"])
        checks = "fail a check of their {} accuracy (see the table of trials)"
        most = [(failing[a], checks.format(attack_name(a))) for a, of in rings.items() if of > COMMON]
        most += [(completed["undertrained"], "are under-trained")] * (under > COMMON)
        said = [f"{int(of.sum())} of {len(completed)} networks {what}." for of, what in most]
        return cls(
            hollow=0 < under <= COMMON,
            rings=frozenset(attack for attack, of in rings.items() if 0 < of <= COMMON),
            bad=" or ".join(status for status in sorted(BAD) if (trials["status"] == status).any()),
            said=" ".join(said),
        )

    def ringed(self, trials: pd.DataFrame, attack: str | None) -> pd.Series:
        """Those that have a ring."""
        return fails(trials, attack if attack in self.rings else None)

    def undertrained(self, trials: pd.DataFrame) -> pd.Series:
        """Those that are hollow."""
        return trials["undertrained"] & self.hollow

    @property
    def caption(self) -> str:
        """What hollow markers and rings mean, and what most networks carry."""
        hollow = "Hollow: under-trained." * self.hollow
        rings = "Rings: a network fails a check of its robustness (see the table of trials)."
        return " ".join(filter(None, (hollow, rings * bool(self.rings), self.said)))

    def handles(self) -> list[Line2D]:
        """What the legend says of them."""
        size = matplotlib.rcParams["lines.markersize"]
        found = [("o", PAPER, size, "under-trained")] * self.hollow
        found += [("x", INK, size, self.bad)] * bool(self.bad)
        found += [("o", "none", 1.7 * size, "fails a check")] * bool(self.rings)
        return [
            handle(label, marker=marker, markerfacecolor=face, markersize=width, linestyle="none")
            for marker, face, width, label in found
        ]


def fails(trials: pd.DataFrame, attack: str | None) -> pd.Series:
    """Trials that fail a check of this attack's accuracy; none where there is none."""
    failed = trials["failed_checks"]
    return failed.map(lambda of: bool(attack) and any(check.concerns(attack or "") for check in of)).astype(
        bool
    )
