"""Curves against the batch size: means, seeds, intervals and bad trials."""

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any, NamedTuple

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import style
from tfsgd.reporting.figures.style import MAIN, MARKERS, CellValue, Drawing, Marks, handle, legend
from tfsgd.reporting.paper import BAD, BASE_MOMENTUM, attack_name
from tfsgd.reporting.statistics import student_interval
from tfsgd.reporting.table.cells import Cell
from tfsgd.reporting.table.columns import Metric, attack_column
from tfsgd.reporting.table.regime_labels import LabelledRegime
from tfsgd.reporting.table.studies import Study

TITLE = 16  # characters of a line above a panel
CLOUD = 70  # small points on one curve: seven batch sizes under ten seeds
NEEDED = ["batch_size", "seed", "status", "undertrained"]  # of a trial, beside the value that is drawn

Point = tuple[float, float, str]  # x, y, what it says on hover


@dataclass(frozen=True)
class Curve:
    """The trials of one curve against the batch size: a regime at one momentum."""

    label: str
    colour: str
    marker: str
    rows: pd.DataFrame

    @property
    def two_lines(self) -> str:
        """The label, its momentum below; a long one takes more lines, and an optimizer's arguments are left out."""
        label, bracket, rest = self.label.partition(" (")
        short = textwrap.fill(label.partition(", with ")[0], TITLE, break_on_hyphens=False)
        return short + bracket.replace(" ", "\n") + rest.replace(" (", "\n(")

    def cells(self) -> Iterator[tuple[int, pd.DataFrame]]:
        """Each batch size with its completed trials."""
        for _, cell in self.rows[self.rows["status"] == "completed"].groupby("batch_size"):
            yield int(cell["batch_size"].iloc[0]), cell


def sizes_of(curves: Sequence[Curve]) -> list[int]:
    """The batch sizes that any of the curves has, in order."""
    return sorted({int(b) for curve in curves for b in curve.rows["batch_size"]})


def regime_curves(study: Study) -> list[Curve]:
    """A curve for every regime, at the momentum of the paper's figures; the paper's regimes come first.

    A regime that was not trained at that momentum, or is not the paper's, is shown at its smallest one.
    """
    curves = []
    for (regime, kind, colour), marker in zip(in_colour(study), cycle(MARKERS), strict=False):
        here = study.by_regime[study.by_regime["regime"] == regime.name]
        momenta = sorted(here["momentum"].unique())
        if momenta:
            base = BASE_MOMENTUM.get(kind)
            momentum = base if base in momenta else momenta[0]
            label = f"{regime.name} (momentum {momentum:g})"
            curves.append(Curve(label, colour, marker, here[here["momentum"] == momentum]))
    return curves


def in_colour(study: Study) -> list[tuple[LabelledRegime, str, str]]:
    """The regimes with the one of the paper that they stand for, or "", and their colours."""
    ours = [(regime, kind, MAIN[kind]) for kind, regime in study.paper_regimes.items()]
    others = [regime for regime in study.regimes if regime not in study.paper_regimes.values()]
    return ours + [(regime, "", colour) for regime, colour in zip(others, cycle(style.OTHERS), strict=False)]


def momentum_curves(study: Study, kind: str) -> list[Curve]:
    """A curve for every momentum of one of the paper's regimes."""
    regime, ramp = study.paper_regimes.get(kind), style.RAMPS[kind]
    rows = study.by_regime[study.by_regime["regime"] == (regime.name if regime else None)]
    momenta = sorted(rows["momentum"].unique())
    colours = [ramp[round(i * (len(ramp) - 1) / max(len(momenta) - 1, 1))] for i in range(len(momenta))]
    return [
        Curve(f"momentum {m:g}", colour, marker, rows[rows["momentum"] == m])
        for m, colour, marker in zip(momenta, colours, cycle(MARKERS), strict=False)
    ]


def momentum_stem(kind: str) -> str:
    """Of the names of figures of one regime's momenta."""
    return f"momentum-{kind.lower().replace('/', '')}"


# Drawing

# Each with the number of its panel, in the order in which they are drawn.
Shown = Sequence[tuple[int, Metric]]


class Row(NamedTuple):
    """A row of panels: the curves in each of them, what they show, and the panels' titles."""

    curves: Sequence[Curve]
    shown: Shown
    titles: Sequence[str] = ()


def batch_figure(
    head: tuple[str, str, str, float],
    lines: Sequence[Curve],
    rows: Sequence[Row],
    labels: Sequence[str],
    **shared: Any,
) -> Drawing:
    """Rows of panels against the batch size.

    Args:
        head: name, title, caption and height of the figure.
        lines: of the legend, and whose marks are drawn.
        rows: of panels.
        labels: of the panels' y axes, from left to right.
        shared: which axes are, as of matplotlib's `subplots`.
    """
    drawing, series = Drawing(*head), [one for _, one in rows[0].shown]
    grid, marks = drawing.panels(len(rows), len(labels), **shared), marks_of(lines, series)
    for panels, row in zip(grid, rows, strict=True):
        draw(drawing, panels, row, marks)
    for panels, row in zip(grid, rows, strict=True):  # a range that is set takes no more points in
        scale(panels, row, labels)
    for axes in grid[:-1].ravel() if shared else ():
        axes.set_xlabel("")
    curve_legend(drawing, lines, series)
    return drawing


def draw(drawing: Drawing, panels: Sequence[Axes], row: Row, marks: Marks) -> None:
    """Draws each curve's series, each into its panel.

    The curves are shifted a little against each other, so that they do not hide each other.
    """
    for i, curve in enumerate(row.curves):
        shift = 2 ** (0.07 * (i - (len(row.curves) - 1) / 2))
        for panel, series in row.shown:
            if series.column in curve.rows:
                _draw_curve(drawing, panels[panel], curve, series, shift, marks)


def scale(panels: Sequence[Axes], row: Row, labels: Sequence[str]) -> None:
    """The curves' batch sizes along x, y as the first series of each panel has it, once all are drawn, and the titles."""
    for i, (axes, label) in enumerate(zip(panels, labels, strict=True)):
        ax.batch_axis(axes, sizes_of(row.curves))
        scale_axis(axes, next(series for panel, series in row.shown if panel == i), label)
    for axes, title in zip(panels, row.titles, strict=False):
        axes.set_title(title)


def scale_axis(axes: Axes, metric: Metric, label: str = "") -> None:
    """A y axis as the values have it: logarithmic, in %, or plain."""
    if metric.is_log:
        ax.log_axis(axes, label=label)
    elif metric.is_share:
        ax.percent_axis(axes, label, metric.least)
    else:
        axes.set_ylabel(label)


def marks_of(curves: Sequence[Curve], shown: Sequence[Metric] = ()) -> Marks:
    """The marks of curves, whose cells have one marker each."""
    rows = pd.concat([curve.rows for curve in curves])
    return Marks.of(rows, [series.attack for series in shown], Cell._fields)


class _Mean(NamedTuple):
    """The mean of a cell over its seeds and its 95 % interval (Student's t); of the logarithm for λ1."""

    x: float
    mean: float
    low: float
    high: float
    hollow: bool  # its marker
    ringed: bool  # a trial of it fails a check
    is_partial: bool  # trials of it diverged or collapsed
    value: CellValue


def _mean_of(cell: pd.DataFrame, curve: Curve, series: Metric, trained: int) -> _Mean:
    numbers = np.log(cell["value"].to_numpy()) if series.is_log else cell["value"].to_numpy()
    seeds, mean = len(numbers), numbers.mean()
    ends = (mean, *(student_interval(numbers) if seeds > 1 else (mean, mean)))
    mean, low, high = (math.exp(end) if series.is_log else float(end) for end in ends)
    if series.is_share:
        low, high = max(low, series.least), min(high, 1.0)
    undertrained, hollow, ringed = (bool(cell[name].any()) for name in ("undertrained", "hollow", "ringed"))
    value = CellValue(
        curve.label,
        int(cell["batch_size"].iloc[0]),
        series.what,
        series.words(mean),
        (series.words(low), series.words(high)) if seeds > 1 else None,
        f"{seeds}" if seeds == trained else f"{seeds} of {trained}",
        ", under-trained" * undertrained + ", fails a check" * ringed,
    )
    return _Mean(float(cell["x"].iloc[0]), mean, low, high, hollow, ringed, seeds < trained, value)


def _draw_curve(
    drawing: Drawing, axes: Axes, curve: Curve, series: Metric, shift: float, marks: Marks
) -> None:
    """One curve: means, seeds, intervals and bad trials. `shift` multiplies the batch size."""
    rows = curve.rows[NEEDED].assign(
        x=curve.rows["batch_size"] * shift,
        value=curve.rows[series.column].astype(float),
        ringed=marks.ringed(curve.rows, series.attack),
        hollow=marks.undertrained(curve.rows),
    )
    completed, nothing = rows["status"] == "completed", (rows["value"] <= 0) & series.is_log
    good = rows[completed & rows["value"].notna() & ~nothing]
    trained = rows.groupby("batch_size").size()
    means = [_mean_of(cell, curve, series, int(trained[size])) for size, cell in good.groupby("batch_size")]
    x, mean, low, high = np.array([m[:4] for m in means]).reshape(-1, 4).T
    dashes, width = style.DASHES if series.attack else "-", 0.6 * matplotlib.rcParams["lines.linewidth"]
    axes.errorbar(x, mean, (mean - low, high - mean), color=curve.colour, ls=dashes, elinewidth=width)
    markers(drawing, axes, curve, [*_seed_points(curve, good, series)], ".", 0.54, alpha=0.65)
    for hollow in (False, True):
        points = [(m.x, m.mean, m.value.words) for m in means if m.hollow == hollow]
        face = style.PAPER if hollow else curve.colour
        markers(drawing, axes, curve, points, curve.marker, markerfacecolor=face)
    ring(axes, [(m.x, m.mean) for m in means if m.ringed])
    for m in means:
        drawing.add(m.value)
        if m.is_partial:
            axes.annotate(
                m.value.seeds, (m.x, m.mean), (0, 8), textcoords="offset points",
                color=curve.colour, fontsize="x-small", ha="center", zorder=6,
            )  # fmt: skip
    _bad_trials(drawing, axes, curve, rows[~completed | nothing], series)


def markers(
    drawing: Drawing,
    axes: Axes,
    curve: Curve,
    points: Sequence[Point],
    marker: str,
    size: float = 1.0,
    **look: Any,
) -> None:
    """Markers without a line: one artist for all, for speed. Small points that would be a cloud are left out.

    Args:
        size: as a share of the usual one.
    """
    if points and not (marker == "." and len(points) > CLOUD):
        x, y, texts = zip(*points, strict=True)
        width = size * matplotlib.rcParams["lines.markersize"]
        axes.plot(x, y, marker, color=curve.colour, markersize=width, gid=drawing.tooltip(*texts), **look)


def ring(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Around points whose trials fail a check."""
    if points:
        x, y = zip(*points, strict=True)
        width = 1.7 * matplotlib.rcParams["lines.markersize"]
        axes.plot(x, y, "o", color=style.INK, markerfacecolor="none", markersize=width, markeredgewidth=0.9)


def _seed_points(curve: Curve, rows: pd.DataFrame, series: Metric) -> Iterator[Point]:
    several = rows.groupby("batch_size")["seed"].transform("size") > 1
    for row in rows[several].to_dict("records"):
        who = f"{curve.label}, batch size {row['batch_size']}, seed {row['seed']}"
        yield row["x"], row["value"], f"{who}: {series.what} {series.words(row['value'])}"


def _bad_trials(drawing: Drawing, axes: Axes, curve: Curve, rows: pd.DataFrame, series: Metric) -> None:
    """A cross at the bottom: what a network has that has learnt nothing only stretches an axis."""
    where: dict[str, Any] = {"transform": axes.get_xaxis_transform(), "clip_on": False, "markeredgewidth": 2}
    for row in rows.to_dict("records"):
        size, seed, status = row["batch_size"], f"seed {row['seed']}", row["status"]
        said = series.words(row["value"]) if math.isfinite(row["value"]) else "has no value"
        gid = drawing.tooltip(f"{curve.label}, batch size {size}, {seed}: {status}, {series.what} {said}")
        axes.plot(row["x"], 0.0, "x", color=curve.colour, gid=gid, **where)
        drawing.add(CellValue(curve.label, size, series.what, status, None, seed, ", not in the mean"))


# Legend and caption


def curve_legend(
    drawing: Drawing,
    curves: Sequence[Curve],
    shown: Sequence[Metric],
    more: Sequence[Line2D] = (),
    columns: int = 3,
) -> None:
    """Below the figure: the curves, what is solid and dashed where both are there, what else, and the marks."""
    once = {curve.label: curve for curve in curves}.values()
    handles = [handle(curve.label, color=curve.colour, marker=curve.marker) for curve in once]
    for attack in [series.attack for series in shown if series.attack][:1]:
        handles += [handle("natural"), handle(attack_name(attack), linestyle=style.DASHES)]
    legend(drawing.figure, [*handles, *more, *marks_of(curves, shown).handles()], columns)


def batch_caption(curves: Sequence[Curve], shown: Sequence[Metric]) -> str:
    """How to read curves against the batch size: what of it these have."""
    rows = pd.concat([curve.rows for curve in curves])
    said = []
    if rows.groupby([*Cell._fields]).size().max() > 1:
        logs = " and ".join(series.what for series in shown if series.is_log)
        logarithm = f", of {logs} on the logarithm" if logs else ""
        said.append(f"Lines: mean over the seeds, dots: seeds, bars: 95 % interval (Student's t{logarithm}).")
    if any(series.attack for series in shown):
        said.append("Dashed: adversarial accuracy.")
    if rows["status"].isin(BAD).any():
        said.append(
            "Crosses at the bottom: diverged or collapsed, not in the mean; numbers: of how many networks it is."
        )
    return " ".join(filter(None, (*said, marks_of(curves, shown).caption)))


def most_informative_epsilon(
    curves: Sequence[Curve], attack: str, epsilons: Sequence[float], paper: float
) -> float:
    """The epsilon at which the curves' cells differ most: the largest standard deviation of their mean accuracies.

    Where others are no better than the paper's, it is the paper's.
    """
    rows = pd.concat([curve.rows for curve in curves])
    cells = rows[rows["status"] == "completed"].groupby([*Cell._fields])
    spread = {e: float(cells[attack_column(attack, e)].mean().std()) for e in epsilons}
    known = {epsilon: value for epsilon, value in spread.items() if value > 0}
    return max(known, key=lambda epsilon: (known[epsilon], epsilon == paper), default=paper)
