"""Curves against the batch size: means, seeds, intervals and bad trials."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures.cell_mean import CellMean
from tfsgd.reporting.figures.legend import Marks, handle, legend
from tfsgd.reporting.figures.style import (
    DASHES,
    INK,
    MAIN,
    MARKERS,
    OTHERS,
    PAPER,
    RAMPS,
    CellValue,
    Drawing,
    in_words,
)
from tfsgd.reporting.paper import BAD, BASE_MOMENTUM, attack_name
from tfsgd.reporting.table.cell import Cell
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.regime_labels import LabelledRegime, paper_regimes
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

    @property
    def completed(self) -> pd.DataFrame:
        return self.rows[self.rows["status"] == "completed"]

    def cells(self) -> Iterator[tuple[int, pd.DataFrame]]:
        """Each batch size with its completed trials."""
        for _, cell in self.completed.groupby("batch_size"):
            yield int(cell["batch_size"].iloc[0]), cell


def sizes_of(curves: Sequence[Curve]) -> list[int]:
    """The batch sizes that any of the curves has, in order."""
    return sorted({int(b) for curve in curves for b in curve.rows["batch_size"]})


def regime_curves(study: Study) -> list[Curve]:
    """A curve for every regime, at the momentum of the paper's figures; the paper's regimes come first.

    A regime that was not trained at that momentum, or is not the paper's, is shown at its smallest one.
    """
    rows = study.by_regime
    curves = []
    for i, (regime, kind, colour) in enumerate(in_colour(study.regimes)):
        here = rows[rows["regime"] == regime.name]
        momenta = sorted(here["momentum"].unique())
        if momenta:
            base = BASE_MOMENTUM.get(kind)
            momentum = base if base in momenta else momenta[0]
            label = f"{regime.name} (momentum {momentum:g})"
            curves.append(Curve(label, colour, MARKERS[i % len(MARKERS)], here[here["momentum"] == momentum]))
    return curves


def in_colour(regimes: Sequence[LabelledRegime]) -> list[tuple[LabelledRegime, str, str]]:
    """The regimes with the one of the paper that they stand for, or "", and their colours."""
    kinds = {regime: kind for kind, regime in paper_regimes(regimes).items()}
    order = list(MAIN)
    ranked = sorted(regimes, key=lambda r: order.index(kinds[r]) if r in kinds else len(order))
    others = cycle(OTHERS)
    return [(r, kinds.get(r, ""), MAIN[kinds[r]] if r in kinds else next(others)) for r in ranked]


def momentum_curves(study: Study, kind: str) -> list[Curve]:
    """A curve for every momentum of one of the paper's regimes."""
    regime = paper_regimes(study.regimes).get(kind)
    if regime is None:
        return []
    rows = study.by_regime[study.by_regime["regime"] == regime.name]
    momenta = sorted(rows["momentum"].unique())
    ramp = RAMPS[kind]
    return [
        Curve(
            f"momentum {m:g}",
            ramp[round(i * (len(ramp) - 1) / max(len(momenta) - 1, 1))],
            MARKERS[i % len(MARKERS)],
            rows[rows["momentum"] == m],
        )
        for i, m in enumerate(momenta)
    ]


def momentum_stem(kind: str) -> str:
    """Of the names of figures of one regime's momenta."""
    return f"momentum-{kind.lower().replace('/', '')}"


def place(study: Study) -> str:
    return f"on {study.dataset_title} with {study.model_title}"


# What a curve shows


@dataclass(frozen=True)
class Series:
    """A column of the trials as a curve shows it.

    Attributes:
        what: it is, in words.
        dashed: how it is drawn.
        attack: the label of the attack whose accuracy it is: points whose trials fail a check of it get a ring.
        is_share: a fraction, shown in %; else a number.
        least: that a share can be.
        is_log: averaged on its logarithm.
    """

    column: str
    what: str
    dashed: bool = False
    attack: str = ""
    is_share: bool = True
    is_log: bool = False
    least: float = 0.0

    def words(self, value: float) -> str:
        return in_words(value, self.is_log or not self.is_share)


NATURAL = Series("test_accuracy", "natural accuracy")
LAMBDA = Series("eigenvalue", "λ1", is_share=False, is_log=True)
SMALLEST = Series("smallest_epsilon", "smallest ε", is_share=False, is_log=True)


def under(attack: str, epsilon: float) -> Series:
    """The accuracy under an attack."""
    what = f"{attack_name(attack)} accuracy at ε = {epsilon:g}"
    return Series(attack_column(attack, epsilon), what, dashed=True, attack=attack)


# Drawing


def dodge(curves: Sequence[Curve]) -> Iterator[tuple[Curve, float]]:
    """Curves with what their batch sizes are multiplied by, so that they do not hide each other."""
    for i, curve in enumerate(curves):
        yield curve, 2 ** (0.07 * (i - (len(curves) - 1) / 2))


def marks_of(curves: Sequence[Curve], shown: Sequence[Series] = ()) -> Marks:
    """The marks of curves, whose cells have one marker each."""
    rows = pd.concat([curve.rows for curve in curves])
    return Marks.of(rows, [series.attack for series in shown], Cell._fields)


def draw(
    drawing: Drawing,
    curves: Sequence[Curve],
    shown: Sequence[tuple[Axes, Series]],
    marks: Marks | None = None,
) -> None:
    """Draws each curve's series, each into its axes; the marks are those of the curves unless they are given."""
    marks = marks or marks_of(curves, [series for _, series in shown])
    for curve, shift in dodge(curves):
        for axes, series in shown:
            draw_curve(drawing, axes, curve, series, shift, marks)


def draw_curve(
    drawing: Drawing, axes: Axes, curve: Curve, series: Series, shift: float, marks: Marks
) -> None:
    """One curve: means, seeds, intervals and bad trials. `shift` multiplies the batch size."""
    if series.column not in curve.rows:
        return
    rows = curve.rows[NEEDED].assign(
        value=curve.rows[series.column].astype(float),
        ringed=marks.ringed(curve.rows, series.attack),
        hollow=marks.undertrained(curve.rows),
    )
    good = rows[
        (rows["status"] == "completed") & rows["value"].notna() & ((rows["value"] > 0) | (not series.is_log))
    ]
    style = DASHES if series.dashed else "-"
    trained = rows.groupby("batch_size").size()
    means = [CellMean.of(cell, series, int(trained[size])) for size, cell in good.groupby("batch_size")]
    several = [mean for mean in means if mean.seeds > 1]
    axes.plot(
        [m.batch_size * shift for m in means], [m.mean for m in means], color=curve.colour, linestyle=style
    )
    axes.vlines(
        [m.batch_size * shift for m in several],
        [m.low for m in several],
        [m.high for m in several],
        color=curve.colour,
        linewidth=0.6 * matplotlib.rcParams["lines.linewidth"],
    )
    markers(drawing, axes, curve, _seed_points(curve, good, series, shift), ".", 0.54, alpha=0.65)
    for hollow in (False, True):
        points = [
            (
                m.batch_size * shift,
                m.mean,
                f"{curve.label}, batch size {m.batch_size}: {series.what} {m.words}",
            )
            for m in means
            if m.hollow == hollow
        ]
        face = PAPER if hollow else curve.colour
        markers(drawing, axes, curve, points, curve.marker, markerfacecolor=face)
    ring(axes, [(m.batch_size * shift, m.mean) for m in means if m.ringed])
    for m in means:
        if m.seeds < m.trained:
            axes.annotate(
                f"{m.seeds} of {m.trained}", (m.batch_size * shift, m.mean), (0, 8), textcoords="offset points",
                color=curve.colour, fontsize="x-small", ha="center", zorder=6,
            )  # fmt: skip
    for mean in means:
        drawing.add(mean.value(curve.label))
    _bad_trials(drawing, axes, curve, rows, series, shift)


def markers(
    drawing: Drawing,
    axes: Axes,
    curve: Curve,
    points: Sequence[Point],
    marker: str,
    size: float = 1.0,
    **style: Any,
) -> None:
    """Markers without a line: one artist for all, for speed. Small points that would be a cloud are left out.

    Args:
        size: as a share of the usual one.
    """
    if points and not (marker == "." and len(points) > CLOUD):
        x, y, texts = zip(*points, strict=True)
        width = size * matplotlib.rcParams["lines.markersize"]
        axes.plot(x, y, marker, color=curve.colour, markersize=width, gid=drawing.tooltip(*texts), **style)


def ring(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Around points whose trials fail a check."""
    if points:
        x, y = zip(*points, strict=True)
        width = 1.7 * matplotlib.rcParams["lines.markersize"]
        axes.plot(x, y, "o", color=INK, markerfacecolor="none", markersize=width, markeredgewidth=0.9)


def _seed_points(curve: Curve, rows: pd.DataFrame, series: Series, shift: float) -> list[Point]:
    several = rows.groupby("batch_size")["seed"].transform("size") > 1
    return [
        (
            row["batch_size"] * shift,
            row["value"],
            f"{curve.label}, batch size {row['batch_size']}, seed {row['seed']}: {series.what} "
            + series.words(row["value"]),
        )
        for row in rows[several].to_dict("records")
    ]


def _bad_trials(
    drawing: Drawing, axes: Axes, curve: Curve, rows: pd.DataFrame, series: Series, shift: float
) -> None:
    """A cross at the bottom: what a network has that has learnt nothing only stretches an axis."""
    bad = rows[(rows["status"] != "completed") | ((rows["value"] <= 0) & series.is_log)]
    for row in bad.to_dict("records"):
        value, seed = float(row["value"]), f"seed {row['seed']}"
        said = series.words(value) if math.isfinite(value) else "has no value"
        axes.plot(
            row["batch_size"] * shift,
            0.0,
            "x",
            color=curve.colour,
            transform=axes.get_xaxis_transform(),
            gid=drawing.tooltip(
                f"{curve.label}, batch size {row['batch_size']}, {seed}: {row['status']}, {series.what} {said}"
            ),
            clip_on=False,
            markeredgewidth=2,
        )
        drawing.add(
            CellValue(
                curve.label, row["batch_size"], series.what, row["status"], None, seed, ", not in the mean"
            )
        )


# Axes, legend and caption


def batch_axes(panels: Sequence[Axes], curves: Sequence[Curve]) -> None:
    """The curves' batch sizes along x."""
    for axes in panels:
        ax.batch_axis(axes, sizes_of(curves))


def handles_of(curves: Sequence[Curve]) -> list[Any]:
    """What the legend shows of curves."""
    return [handle(curve.label, color=curve.colour, marker=curve.marker) for curve in curves]


def curve_legend(figure: Figure, curves: Sequence[Curve], shown: Sequence[Series]) -> None:
    """Below the figure: the curves, what is solid and dashed where both are there, and the marks."""
    handles = handles_of(curves)
    dashed = [series for series in shown if series.dashed]
    if dashed:
        handles += [handle("natural"), handle(attack_name(dashed[0].attack), linestyle=DASHES)]
    legend(figure, [*handles, *marks_of(curves, shown).handles()], 3)


def batch_caption(curves: Sequence[Curve], shown: Sequence[Series]) -> str:
    """How to read curves against the batch size: what of it these have."""
    rows = pd.concat([curve.rows for curve in curves])
    said = []
    if rows.groupby([*Cell._fields]).size().max() > 1:
        logs = [series.what for series in shown if series.is_log]
        logarithm = f", of {' and '.join(logs)} on the logarithm" if logs else ""
        said.append(f"Lines: mean over the seeds, dots: seeds, bars: 95 % interval (Student's t{logarithm}).")
    if any(series.dashed for series in shown):
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
    rows = rows[rows["status"] == "completed"]
    cells = [rows[key] for key in Cell._fields]
    spread = {
        epsilon: float(rows[attack_column(attack, epsilon)].groupby(cells).mean().std())
        for epsilon in epsilons
    }
    known = {epsilon: value for epsilon, value in spread.items() if value > 0}
    return max(known, key=lambda epsilon: (known[epsilon], epsilon == paper), default=paper)
