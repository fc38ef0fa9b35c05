"""The paper's figures, redrawn from a study's trials, and those that go beyond the paper.

Every figure is drawn once, in colours for white paper, and saved as PNG and SVG. The page shows the
SVG itself, with each colour replaced by a CSS variable, so that it follows light and dark mode, and
with a title at each point, so that its value shows on hover.
"""

import html
import io
import math
import re
import textwrap
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter, NullLocator
from scipy import stats

from tfsgd.evidence import BASE_MOMENTUM, paper_regimes
from tfsgd.results import DATASET_NAMES, MODEL_NAMES, Study, attack_column, curves

WIDTH = 7.2  # inches: at half of it, a column of a paper, the text is 6 to 7 points
INK, GRID, PAPER = "#1f2328", "#dde1e6", "#ffffff"
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


# What is drawn


def draw(study: Study) -> tuple[list[Drawing], list[str]]:
    """All figures that the records can draw, and in words those that they cannot, and why."""
    drawings: list[Drawing] = []
    missing: list[str] = []
    with matplotlib.rc_context(STYLE):
        for maker in (regimes_figures, momentum_figures, epsilon_figures, curvature_figures, *BEYOND):
            for result in maker(study):
                if isinstance(result, str):
                    missing.append(result)
                else:
                    result.lay_out()
                    drawings.append(result)
    return drawings, missing


Made = Iterator[Drawing | str]


@dataclass(frozen=True)
class Line:
    """One curve against the batch size: a regime at one momentum."""

    label: str
    colour: str
    marker: str
    rows: pd.DataFrame


def regimes_figures(study: Study) -> Made:
    """Figs. 1-6 (FGSM) and 15-22 (PGD): the regimes, LR and LR/BS at momentum 0, Benchmark at 0.9."""
    lines = _regime_lines(study)
    for attack, numbers in (("fgsm", "Figs. 1-6"), ("pgd", "Figs. 15-22")):
        if not lines:
            yield f"{numbers} (the regimes): they need LR or LR/BS at momentum 0, or Benchmark at 0.9"
            continue
        yield from _against_batch_size(study, lines, attack, numbers, "regimes", "the regimes")
    if lines and study.paper_epsilon not in {epsilon for _, epsilon in study.attacks}:
        title = f"The regimes, {_place(study)}: natural accuracy and λ1"
        yield _accuracy_and_curvature(study, lines, "", 0.0, "regimes-natural", title)


def momentum_figures(study: Study) -> Made:
    """Figs. 7-10 (LR), 11-14 (LR/BS) and 15-22 (PGD): one regime at several momenta."""
    for kind, numbers in (("LR", "Figs. 7-10"), ("LR/BS", "Figs. 11-14")):
        lines = _momentum_lines(study, kind)
        if len(lines) < 2:
            found = ", ".join(line.label for line in lines) or "none"
            yield f"{numbers} and 15-22 (momenta of {kind}): they need two momenta, found {found}"
            continue
        stem = f"momentum-{kind.lower().replace('/', '')}"
        for attack, of_attack in (("fgsm", numbers), ("pgd", "Figs. 15-22")):
            yield from _against_batch_size(study, lines, attack, of_attack, stem, f"momenta of {kind}")


def _regime_lines(study: Study) -> list[Line]:
    labels = paper_regimes(study.trials)
    kinds = {label: kind for kind, label in labels.items()}
    rows = curves(study.trials)
    others = iter(OTHERS * 8)
    lines = []
    for i, label in enumerate(
        sorted(rows["regime"].unique(), key=lambda name: _rank(kinds.get(name, "other")))
    ):
        kind = kinds.get(label)
        of_regime = rows[rows["regime"] == label]
        momentum = BASE_MOMENTUM[kind] if kind else float(of_regime["momentum"].min())
        here = of_regime[of_regime["momentum"] == momentum]
        colour = MAIN[kind] if kind else next(others)
        if len(here):
            lines.append(Line(f"{label} (momentum {momentum:g})", colour, MARKERS[i % len(MARKERS)], here))
    return lines


def _rank(kind: str) -> int:
    return list(MAIN).index(kind) if kind in MAIN else len(MAIN)


def _momentum_lines(study: Study, kind: str) -> list[Line]:
    label = paper_regimes(study.trials).get(kind)
    rows = curves(study.trials)
    rows = rows[rows["regime"] == label]
    momenta = sorted(rows["momentum"].unique())
    ramp = RAMPS[kind]
    return [
        Line(
            f"momentum {m:g}",
            ramp[round(i * (len(ramp) - 1) / max(len(momenta) - 1, 1))],
            MARKERS[i % len(MARKERS)],
            rows[rows["momentum"] == m],
        )
        for i, m in enumerate(momenta)
    ]


# Against the batch size


def _against_batch_size(
    study: Study, lines: Sequence[Line], attack: str, numbers: str, stem: str, what: str
) -> Made:
    epsilons = [e for name, e in study.attacks if name == attack]
    paper = study.paper_epsilon
    if paper in epsilons:
        title = f"As {numbers}, {_place(study)}: {what}, {attack.upper()} at ε = {paper:g}"
        yield _accuracy_and_curvature(study, lines, attack, paper, f"{stem}-{attack}", title)
    else:
        yield f"{numbers} ({what}, {attack.upper()}): no trial was attacked at the paper's ε = {paper}"
    rest = [e for e in epsilons if e != paper]
    if rest:
        title = f"{what[0].upper() + what[1:]}, {_place(study)}: {attack.upper()} at other ε"
        yield _small_epsilons(study, lines, attack, rest, f"{stem}-{attack}-other-epsilon", title)


def _place(study: Study) -> str:
    dataset, model = (
        DATASET_NAMES.get(study.dataset, study.dataset),
        MODEL_NAMES.get(study.model, study.model),
    )
    return f"on {dataset} with {model}"


def _accuracy_and_curvature(
    study: Study, lines: Sequence[Line], attack: str, epsilon: float, name: str, title: str
) -> Drawing:
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    drawing = Drawing(name, title, _BATCH_CAPTION, figure)
    left, right = figure.subplots(1, 2)
    for i, line in enumerate(lines):
        shift = 2 ** (0.07 * (i - (len(lines) - 1) / 2))
        _curve(drawing, left, line, "test_accuracy", "natural accuracy", shift)
        _curve(drawing, left, line, attack_column(attack, epsilon), _at(attack, epsilon), shift, True)
        _curve(drawing, right, line, "eigenvalue", "λ1", shift)
    _batch_axis(left, lines)
    _batch_axis(right, lines)
    _percent_axis(left, "accuracy")
    _eigenvalue_axis(right)
    _legend(figure, lines, attack)
    return drawing


def _small_epsilons(
    study: Study, lines: Sequence[Line], attack: str, epsilons: Sequence[float], name: str, title: str
) -> Drawing:
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    drawing = Drawing(name, title, _BATCH_CAPTION, figure, extra=True)
    panels = figure.subplots(1, len(epsilons), sharey=True, squeeze=False)[0]
    for axes, epsilon in zip(panels, epsilons, strict=True):
        for i, line in enumerate(lines):
            shift = 2 ** (0.07 * (i - (len(lines) - 1) / 2))
            _curve(drawing, axes, line, "test_accuracy", "natural accuracy", shift)
            _curve(drawing, axes, line, attack_column(attack, epsilon), _at(attack, epsilon), shift, True)
        axes.set_title(f"ε = {epsilon:g}")
        _batch_axis(axes, lines, crowded=len(epsilons) > 1)
    _percent_axis(panels[0], "accuracy")
    _legend(figure, lines, attack)
    return drawing


def _at(attack: str, epsilon: float) -> str:
    return f"{attack.upper()} accuracy at ε = {epsilon:g}"


_BATCH_CAPTION = (
    "Lines: mean over the seeds. Small points: single seeds. Bars: 95 % interval of the mean (Student's t "
    "over seeds; for λ1 on its logarithm). Solid: natural accuracy and λ1; dashed: adversarial accuracy. "
    "Hollow markers: under-trained cells. Crosses: diverged or collapsed trials, not in the mean, for λ1 at the "
    "bottom whatever its value. Curves are set apart a little sideways."
)


def _curve(
    drawing: Drawing, axes: Axes, line: Line, column: str, what: str, shift: float, dashed: bool = False
) -> None:
    """One curve: means, seeds, intervals and bad trials. `shift` multiplies the batch size."""
    if column not in line.rows:
        return
    log = column == "eigenvalue"
    rows = line.rows.assign(value=line.rows[column])
    good = rows[(rows["status"] == "completed") & rows["value"].notna() & ((rows["value"] > 0) | (not log))]
    style = (0, (4, 2)) if dashed else "-"
    means = [_Mean.of(cell, log) for _, cell in good.groupby("batch_size")]
    several = [mean for mean in means if mean.seeds > 1]
    axes.plot(
        [m.batch_size * shift for m in means], [m.mean for m in means], color=line.colour, linestyle=style
    )
    axes.vlines(
        [m.batch_size * shift for m in several],
        [m.low for m in several],
        [m.high for m in several],
        color=line.colour,
        linewidth=1.1,
    )
    _markers(drawing, axes, line, _seed_points(line, good, what, log, shift), ".", markersize=3.5, alpha=0.65)
    for hollow in (False, True):
        points = [
            (m.batch_size * shift, m.mean, f"{line.label}, batch size {m.batch_size}: {what} {m.words(log)}")
            for m in means
            if m.undertrained == hollow
        ]
        face = PAPER if hollow else line.colour
        _markers(drawing, axes, line, points, line.marker, markerfacecolor=face)
    drawing.values += [_value_row(line.label, mean, what, log) for mean in means]
    _bad_trials(drawing, axes, line, rows, what, shift, log)


Point = tuple[float, float, str]  # x, y, what it says on hover


def _markers(
    drawing: Drawing, axes: Axes, line: Line, points: Sequence[Point], marker: str, **style: Any
) -> None:
    """Markers without a line: one artist for all, for speed."""
    if points:
        x, y, texts = zip(*points, strict=True)
        axes.plot(x, y, marker, color=line.colour, gid=drawing.says(*texts), **style)


def _seed_points(line: Line, rows: pd.DataFrame, what: str, log: bool, shift: float) -> list[Point]:
    several = rows.groupby("batch_size")["seed"].transform("size") > 1
    return [
        (
            row["batch_size"] * shift,
            row["value"],
            f"{line.label}, batch size {row['batch_size']}, seed {row['seed']}: {what} "
            + _words(row["value"], log),
        )
        for row in rows[several].to_dict("records")
    ]


def _bad_trials(
    drawing: Drawing, axes: Axes, line: Line, rows: pd.DataFrame, what: str, shift: float, log: bool
) -> None:
    """A cross at its value, or at the bottom: λ1 of a network that has learnt nothing only stretches its axis."""
    bad = rows[(rows["status"] != "completed") | ((rows["value"] <= 0) & log)]
    for row in bad.to_dict("records"):
        value = float(row["value"])
        shown = value >= 0 and not log
        text = f"{line.label}, batch size {row['batch_size']}, seed {row['seed']}: {row['status']}"
        axes.plot(
            row["batch_size"] * shift,
            value if shown else 0.0,
            "x",
            color=line.colour,
            transform=axes.transData if shown else axes.get_xaxis_transform(),
            gid=drawing.says(
                f"{text}, {what} {_words(value, log) if math.isfinite(value) else 'has no value'}"
            ),
            clip_on=False,
            markeredgewidth=2,
        )
        drawing.values.append(
            {
                "curve": line.label,
                "batch size": str(row["batch_size"]),
                "what": what,
                "mean": f"{row['status']}, not in the mean",
                "95 % interval": "",
                "seeds": f"seed {row['seed']}",
            }
        )


@dataclass(frozen=True)
class _Mean:
    """Mean and 95 % interval of a cell over its seeds (Student's t); of the logarithm for λ1."""

    batch_size: int
    mean: float
    low: float
    high: float
    seeds: int
    undertrained: bool

    @classmethod
    def of(cls, cell: pd.DataFrame, log: bool) -> "_Mean":
        values = cell["value"].to_numpy(dtype=float)
        numbers = np.log(values) if log else values
        mean, half, count = float(numbers.mean()), 0.0, len(numbers)
        if count > 1:
            half = float(stats.t.ppf(0.975, count - 1)) * float(numbers.std(ddof=1)) / math.sqrt(count)
        ends = [mean, mean - half, mean + half]
        mean, low, high = [math.exp(end) for end in ends] if log else ends
        size = int(cell["batch_size"].iloc[0])
        return cls(size, mean, low, high, count, bool(cell["undertrained"].any()))

    def words(self, log: bool) -> str:
        interval = f" [{_words(self.low, log)}, {_words(self.high, log)}]" if self.seeds > 1 else ""
        seeds = f"{self.seeds} {'seed' if self.seeds == 1 else 'seeds'}"
        return f"{_words(self.mean, log)}{interval}, {seeds}{', under-trained' if self.undertrained else ''}"


def _value_row(label: str, mean: _Mean, what: str, log: bool) -> dict[str, str]:
    interval = f"{_words(mean.low, log)} to {_words(mean.high, log)}" if mean.seeds > 1 else "one seed"
    return {
        "curve": label,
        "batch size": str(mean.batch_size),
        "what": what,
        "mean": _words(mean.mean, log) + (", under-trained" if mean.undertrained else ""),
        "95 % interval": interval,
        "seeds": str(mean.seeds),
    }


def _words(value: float, number: bool = False) -> str:
    return f"{value:.3g}" if number else f"{100 * value:.1f} %"


# Axes


def _batch_axis(axes: Axes, lines: Sequence[Line], crowded: bool = False) -> None:
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


def _percent_axis(axes: Axes, label: str) -> None:
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}"))
    axes.set_ylabel(f"{label} (%)")
    low, high = axes.get_ylim()
    if high - low < 0.04:
        middle = (low + high) / 2
        axes.set_ylim(middle - 0.02, middle + 0.02)


def _eigenvalue_axis(axes: Axes, along: str = "y") -> None:
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


def _legend(figure: Figure, lines: Sequence[Line], attack: str) -> None:
    handles = [Line2D([], [], color=line.colour, marker=line.marker, label=line.label) for line in lines]
    handles.append(Line2D([], [], color=INK, label="natural"))
    if attack:
        handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 2)), label=attack.upper()))
    _key(figure, [*handles, *_marks(pd.concat([line.rows for line in lines]))], 3)


def _marks(trials: pd.DataFrame) -> list[Line2D]:
    """What a hollow marker and a cross mean, where there are any."""
    found = []
    if trials.loc[trials["status"] == "completed", "undertrained"].any():
        found.append(("o", PAPER, "under-trained"))
    bad = [status for status in ("collapsed", "diverged") if (trials["status"] == status).any()]
    if bad:
        found.append(("x", INK, " or ".join(bad)))
    return [
        Line2D([], [], color=INK, marker=marker, markerfacecolor=face, linestyle="none", label=label)
        for marker, face, label in found
    ]


def _key(figure: Figure, handles: Sequence[Line2D], columns: int, title: str | None = None) -> None:
    figure.legend(
        handles=list(handles),
        loc="outside lower center",
        ncols=columns,
        title=title,
        handlelength=2.4,
        columnspacing=1.2,
    )


# Beyond the paper


def _sequence(count: int) -> list[str]:
    """Colours for ordered things, in both modes far enough from the background."""
    light, dark = matplotlib.colormaps["viridis"], matplotlib.colormaps["plasma"]
    colours = []
    for i in range(count):
        share = i / max(count - 1, 1)
        colour = matplotlib.colors.to_hex(light(0.05 + 0.8 * share))
        DARK[colour] = matplotlib.colors.to_hex(dark(0.4 + 0.6 * share))
        colours.append(colour)
    return colours


def epsilon_figures(study: Study) -> Made:
    """Accuracy against epsilon, one curve a batch size."""
    lines = _regime_lines(study)
    attacks = sorted({name for name, _ in study.attacks})
    if not lines or not attacks:
        yield "Accuracy against ε: no trial was attacked"
        return
    for attack in attacks:
        yield _accuracy_against_epsilon(study, lines, attack)


def _accuracy_against_epsilon(study: Study, lines: Sequence[Line], attack: str) -> Drawing:
    epsilons = [e for name, e in study.attacks if name == attack]
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    title = f"Accuracy against ε under {attack.upper()}, {_place(study)}"
    caption = (
        "Mean over the seeds, one curve a batch size; ε = 0 is natural accuracy. The axis of ε is a square "
        "root, so that small ε can be told apart. The vertical line is the paper's ε."
    )
    drawing = Drawing(f"epsilon-{attack}", title, caption, figure)
    panels = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
    sizes = sorted({int(b) for line in lines for b in line.rows["batch_size"]})
    colours = dict(zip(sizes, _sequence(len(sizes)), strict=True))
    for axes, line in zip(panels, lines, strict=True):
        completed = line.rows[line.rows["status"] == "completed"]
        for _, cell in completed.groupby("batch_size"):
            size = int(cell["batch_size"].iloc[0])
            columns = {0.0: "test_accuracy"} | {e: attack_column(attack, e) for e in epsilons}
            means = {
                e: float(cell[column].mean()) for e, column in columns.items() if cell[column].notna().any()
            }
            axes.plot(list(means), list(means.values()), color=colours[size])
            curve = Line(line.label, colours[size], MARKERS[sizes.index(size) % len(MARKERS)], cell)
            says = f"{line.label}, batch size {size}, ε = "
            points = [(e, mean, f"{says}{e:g}: {_words(mean)}") for e, mean in means.items()]
            _markers(drawing, axes, curve, points, curve.marker, markersize=5)
            shared = {"curve": line.label, "batch size": str(size), "seeds": str(len(cell))}
            drawing.values += [shared | {"ε": f"{e:g}", "mean": _words(mean)} for e, mean in means.items()]
        axes.set_xlim(0, 1.08 * max(epsilons) or 1)
        axes.set_xscale("function", functions=(np.sqrt, np.square))
        axes.xaxis.set_major_locator(FixedLocator([0.0, *epsilons]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda e, _: f"{e:g}"))
        axes.tick_params(axis="x", labelrotation=60)
        if study.paper_epsilon in epsilons:
            axes.axvline(study.paper_epsilon, color=INK, linewidth=0.8, linestyle=":")
        axes.set_title(line.label.replace(" (", "\n("))
        axes.set_xlabel("ε")
    _percent_axis(panels[0], f"{attack.upper()} accuracy")
    handles = [
        Line2D([], [], color=colours[b], marker=MARKERS[i % len(MARKERS)], label=f"{b}")
        for i, b in enumerate(sizes)
    ]
    _key(figure, handles, min(len(sizes), 4), "batch size")
    return drawing


def curvature_figures(study: Study) -> Made:
    """λ1 against adversarial accuracy, one point a trial."""
    attacks = sorted({name for name, _ in study.attacks})
    if not attacks:
        yield "λ1 against adversarial accuracy: no trial was attacked"
    for attack in attacks:
        yield _accuracy_against_curvature(study, attack)


def _accuracy_against_curvature(study: Study, attack: str) -> Drawing:
    epsilons = [e for name, e in study.attacks if name == attack]
    columns = min(2, len(epsilons))
    rows = math.ceil(len(epsilons) / columns)
    figure = Figure(figsize=(WIDTH, 1.0 + 2.5 * rows), layout="constrained")
    caption = (
        "One point a trial, every regime and momentum; a trial of two regimes has the first one's colour. "
        "Hollow markers: under-trained. Crosses at the left edge: collapsed, whatever their λ1. If λ1 explained "
        "robustness, the points would fall from left to right within every colour."
    )
    title = f"λ1 against {attack.upper()} accuracy, {_place(study)}"
    drawing = Drawing(f"curvature-{attack}", title, caption, figure)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    kinds = {label: kind for kind, label in paper_regimes(study.trials).items()}
    labels = sorted(study.trials["regime"].unique(), key=lambda name: _rank(kinds.get(name, "other")))
    others = iter(OTHERS * 8)
    colours = {label: MAIN[kinds[label]] if label in kinds else next(others) for label in labels}
    momenta = sorted(study.trials["momentum"].unique())
    for axes, epsilon in zip(panels, epsilons, strict=False):
        column = attack_column(attack, epsilon)
        for row in study.trials[study.trials["eigenvalue"] > 0].dropna(subset=[column]).to_dict("records"):
            is_bad = row["status"] != "completed"
            marker = "x" if is_bad else MARKERS[momenta.index(row["momentum"]) % len(MARKERS)]
            face = PAPER if row["undertrained"] else colours[row["regime"]]
            text = (
                f"{row['regime']}, batch size {row['batch_size']}, momentum {row['momentum']:g}, seed "
                f"{row['seed']}: λ1 {row['eigenvalue']:.3g}, {_at(attack, epsilon)} {_words(row[column])}"
            )
            axes.plot(
                0.0 if is_bad else row["eigenvalue"], row[column], marker, color=colours[row["regime"]],
                markerfacecolor=face, markersize=5, gid=drawing.says(text), linestyle="none",
                transform=axes.get_yaxis_transform() if is_bad else axes.transData, clip_on=not is_bad,
            )  # fmt: skip
        axes.set_title(f"ε = {epsilon:g}" + (" (the paper's)" if epsilon == study.paper_epsilon else ""))
        _percent_axis(axes, "accuracy")
        _eigenvalue_axis(axes, "x")
        if axes not in panels[len(epsilons) - columns :]:
            axes.set_xlabel("")
    for axes in panels[len(epsilons) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=colours[label], marker="o", linestyle="none", label=label) for label in labels
    ]
    handles += [
        Line2D([], [], color=INK, marker=MARKERS[i % len(MARKERS)], linestyle="none", label=f"momentum {m:g}")
        for i, m in enumerate(momenta)
    ]
    _key(figure, [*handles, *_marks(study.trials)], 4)
    return drawing


def gap_figures(study: Study) -> Made:
    """The gap between train and test accuracy against the batch size."""
    lines = [
        Line(
            x.label, x.colour, x.marker, x.rows.assign(gap=x.rows["train_accuracy"] - x.rows["test_accuracy"])
        )
        for x in _regime_lines(study)
    ]
    if not lines:
        return
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    title = f"Train accuracy, and its gap to test accuracy, {_place(study)}"
    drawing = Drawing(
        "gap", title, _BATCH_CAPTION + " A large batch with a low train accuracy is under-trained.", figure
    )
    left, right = figure.subplots(1, 2)
    for i, line in enumerate(lines):
        shift = 2 ** (0.07 * (i - (len(lines) - 1) / 2))
        _curve(drawing, left, line, "train_accuracy", "train accuracy", shift)
        _curve(drawing, right, line, "gap", "train minus test accuracy", shift)
    for axes, label in ((left, "train accuracy"), (right, "train minus test")):
        _batch_axis(axes, lines)
        _percent_axis(axes, label)
    handles = [Line2D([], [], color=line.colour, marker=line.marker, label=line.label) for line in lines]
    _key(figure, handles, 3)
    yield drawing


def learning_figures(study: Study) -> Made:
    """Train loss and validation accuracy over the epochs."""
    panels = [("loss", "train loss", False), ("val_accuracy", "validation accuracy", True)]
    caption = (
        "One line a trial, coloured by batch size; a diverged trial ends early. The train loss is the "
        "running mean that training reports."
    )
    yield from _over_epochs(study, panels, "learning", "Learning curves", caption)


def eigenvalue_history_figures(study: Study) -> Made:
    """λ1 over the epochs, where it was recorded."""
    keys = {
        key
        for record in study.records
        for key, values in record.history.items()
        if key.endswith("eigenvalue") and sum(v is not None for v in values) > 1
    }
    if not keys:
        yield "λ1 over the epochs: it was not recorded (hessian.every_epochs is 0)"
    for key in sorted(keys):
        caption = "One line a trial, coloured by batch size."
        yield from _over_epochs(
            study, [(key, "λ1", False)], "eigenvalue-epochs", "λ1 over the epochs", caption
        )


def _over_epochs(
    study: Study, panels: Sequence[tuple[str, str, bool]], name: str, what: str, caption: str
) -> Made:
    histories = {record.config_hash: record.history for record in study.records}
    panels = [p for p in panels if any(p[0] in history for history in histories.values())]
    lines = _regime_lines(study)
    if not panels or not lines:
        yield f"{what}: the records hold no such history"
        return
    figure = Figure(figsize=(WIDTH, 1.2 + 2.4 * len(panels)), layout="constrained")
    drawing = Drawing(name, f"{what}, {_place(study)}", caption, figure)
    grid = figure.subplots(len(panels), len(lines), sharex=True, sharey="row", squeeze=False)
    sizes = sorted({int(b) for line in lines for b in line.rows["batch_size"]})
    colours = dict(zip(sizes, _sequence(len(sizes)), strict=True))
    for j, line in enumerate(lines):
        for i, (key, label, percent) in enumerate(panels):
            for row in line.rows.to_dict("records"):
                values = [math.nan if v is None else v for v in histories[row["config_hash"]].get(key, ())]
                epochs = [e for e, v in enumerate(values, 1) if math.isfinite(v)]
                gid = drawing.says(
                    f"{line.label}, batch size {row['batch_size']}, seed {row['seed']}: {row['status']}"
                )
                kept = [v for v in values if math.isfinite(v)]
                grid[i, j].plot(epochs, kept, color=colours[row["batch_size"]], linewidth=1, gid=gid)
            if j == 0:
                grid[i, 0].set_ylabel(f"{label} (%)" if percent else label)
            if percent:
                grid[i, j].yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}"))
            elif all(v > 0 for drawn in grid[i, j].lines for v in np.asarray(drawn.get_ydata(), dtype=float)):
                grid[i, j].set_yscale("log")
                grid[i, j].yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
                grid[i, j].yaxis.set_minor_formatter(NullFormatter())
        grid[0, j].set_title(line.label.replace(" (", "\n("))
        grid[-1, j].set_xlabel("epoch")
    _key(
        figure,
        [Line2D([], [], color=colours[b], label=f"{b}") for b in sizes],
        min(len(sizes), 4),
        "batch size",
    )
    yield drawing


BEYOND: tuple[Callable[[Study], Made], ...] = (gap_figures, learning_figures, eigenvalue_history_figures)
