"""One point a trial, or a cell: a colour a regime, a marker a momentum. λ1 against robustness; FGSM in float32."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import PercentFormatter

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import Curve
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import MARKERS, Drawing, FigureResult, Marks, handle, legend
from tfsgd.reporting.paper import attack_name, percent
from tfsgd.reporting.table.cells import Cell
from tfsgd.reporting.table.columns import SMALLEST, Metric, attack_column, attacked, is_measured
from tfsgd.reporting.table.regime_labels import with_first_regime
from tfsgd.reporting.table.studies import Study

MANY_TRIALS = 500  # above which one point a trial is a cloud

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class ScatterStyle:
    """The trials, each under its first regime, with a colour a regime and a marker a momentum."""

    trials: pd.DataFrame
    colours: Mapping[str, str]
    momenta: Sequence[float]

    @classmethod
    def of(cls, study: Study) -> ScatterStyle:
        trials = with_first_regime(study.trials, study.rules)
        there = set(trials["regime"])
        colours = {r.name: colour for r, _, colour in curves.in_colour(study) if r.name in there}
        return cls(trials, colours, sorted(trials["momentum"].unique()))

    def marker(self, momentum: float) -> str:
        return MARKERS[self.momenta.index(momentum) % len(MARKERS)]

    def points(
        self,
        drawing: Drawing,
        axes: Axes,
        trials: pd.DataFrame,
        xy: tuple[str, str],
        said: Callable[[Row], str],
        sort: bool = True,
    ) -> None:
        """A point a trial.

        Args:
            drawing: gets what the points say.
            axes: of the drawing.
            trials: those of `hollow` are hollow; those of `is_bad`, if they have these columns, are crosses at the left edge.
            xy: the columns that are drawn.
            said: of a trial, on hover.
            sort: by regime and momentum; else the first trials are drawn first.
        """
        by = [key for key in ("regime", "momentum", "hollow", "is_bad") if key in trials]
        for _, rows in trials.groupby(by, sort=sort):
            first = rows.iloc[0]
            curve = Curve("", self.colours[first["regime"]], self.marker(first["momentum"]), rows)
            bad = bool(first.get("is_bad", False))
            points = [(0.0 if bad else r[xy[0]], r[xy[1]], said(r)) for r in rows.to_dict("records")]
            look: dict[str, Any] = {
                "markerfacecolor": style.PAPER if first.get("hollow", False) else curve.colour
            }
            if bad:
                look |= {"transform": axes.get_yaxis_transform(), "clip_on": False}
            curves.markers(drawing, axes, curve, points, "x" if bad else curve.marker, 0.8, **look)

    def legend(self, drawing: Drawing, more: Sequence[Line2D] = ()) -> None:
        """Below the figure: regimes, momenta, and what else there is."""
        looks = {name: {"color": colour, "marker": "o"} for name, colour in self.colours.items()}
        looks |= {f"momentum {m:g}": {"marker": self.marker(m)} for m in self.momenta}
        handles = [handle(label, **look, linestyle="none") for label, look in looks.items()]
        legend(drawing.figure, [*handles, *more], 4)


def who(row: Row, of: str = "") -> str:
    """A trial, or what else a point is of, in words."""
    of = of or f"seed {row['seed']}"
    return f"{row['regime']}, batch size {row['batch_size']}, momentum {row['momentum']:g}, {of}"


# λ1 against robustness


@figure("agreement")
def curvature(study: Study) -> FigureResult:
    """λ1 against the smallest epsilon."""
    if is_measured(study.trials, SMALLEST.column):
        yield _against_curvature(study, "curvature", "the smallest ε", [SMALLEST])
    else:
        yield "λ1 against the smallest ε: it was not measured (attacks: minimal)"


@figure("agreement", extra=True)
def curvature_under_attack(study: Study) -> FigureResult:
    """λ1 against the accuracy under each attack, a panel an epsilon."""
    for attack, epsilons in study.epsilons.items():
        shown = [attacked(attack, e) for e in epsilons]
        name = f"curvature-{style.file_name(attack)}"
        yield _against_curvature(study, name, f"{attack_name(attack)} accuracy", shown)


def _against_curvature(study: Study, name: str, what: str, shown: Sequence[Metric]) -> Drawing:
    """A panel a series."""
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    marks = Marks.of(study.trials, [shown[0].attack])
    point = "a cell, the mean over its seeds" if len(study.trials) > MANY_TRIALS else "a network"
    said = (
        f"One point {point}, every regime and momentum.",
        "If λ1 explained robustness, the points would fall from left to right within every colour.",
        "Crosses at the left edge: collapsed." * bool((study.trials["status"] == "collapsed").any()),
        marks.caption,
    )
    title = f"λ1 against {what}, {study.place}"
    drawing = Drawing(name, title, " ".join(filter(None, said)), 1.0 + 2.5 * rows)
    panels = drawing.panels(rows, columns, sharex=True, sharey=True).ravel()
    scatter = ScatterStyle.of(study)
    for axes, series in zip(panels, shown, strict=False):
        _points(drawing, axes, scatter, series, marks)
        axes.set_title(series.what)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for i, axes in enumerate(panels[: len(shown)]):  # now: a range that is set takes no more points in
        curves.scale_axis(axes, shown[0], "accuracy" * shown[0].is_share)
        ax.log_axis(axes, "x", ax.EIGENVALUE * (i >= len(shown) - columns))
    scatter.legend(drawing, marks.handles())
    return drawing


def _points(drawing: Drawing, axes: Axes, scatter: ScatterStyle, series: Metric, marks: Marks) -> None:
    column = series.column
    shown = scatter.trials[scatter.trials["eigenvalue"] > 0].dropna(subset=[column])
    ringed = shown[marks.ringed(shown, series.attack) & (shown["status"] == "completed")]
    curves.ring(axes, list(zip(ringed["eigenvalue"], ringed[column], strict=True)))
    shown = shown.assign(of=[f"seed {seed}" for seed in shown["seed"]])
    if len(scatter.trials) > MANY_TRIALS:
        shown = _cell_means(shown, column)
    shown = shown.assign(is_bad=shown["status"] != "completed", hollow=marks.undertrained(shown))
    scatter.points(
        drawing,
        axes,
        shown,
        ("eigenvalue", column),
        lambda r: f"{who(r, r['of'])}: λ1 {r['eigenvalue']:.3g}, {series.what} {series.words(r[column])}",
    )


def _cell_means(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """The means of the cells over their seeds, of λ1 on its logarithm; trials of another status by themselves."""
    log = trials.assign(eigenvalue=np.log(trials["eigenvalue"]), seeds=1)
    how = {"eigenvalue": "mean", column: "mean", "undertrained": "any", "seeds": "sum"}
    means = log.groupby([*Cell._fields, "status"], as_index=False).agg(how)
    of = [f"mean of {n} seeds" for n in means["seeds"]]
    return means.assign(eigenvalue=np.exp(means["eigenvalue"]), of=of)


# What float32 makes of FGSM


@figure("attacks")
def float32(study: Study) -> FigureResult:
    """FGSM at the paper's epsilon against the share of saturated images, one point a network."""
    pair = ("fgsm", study.paper_epsilon or 0.0)
    if pair not in study.softmax or "saturated" not in study.trials:
        return
    caption = (
        "One point a network. Saturated are test images of which the network is so sure that the true class's term of "
        "the softmax's gradient is 0 in float32. The sign of what is left leads elsewhere, and the image keeps its label: "
        "FGSM then measures how sure a network is."
    )
    title = f"FGSM at ε = {pair[1]:g} and saturated images, {study.place}"
    drawing, scatter = Drawing("float32", title, caption, 3.6), ScatterStyle.of(study)
    columns = {
        "float32's softmax": attack_column(*study.softmax[pair]),
        "the exact gradient": attack_column(*pair),
    }
    panels = drawing.panels(1, 2, sharex=True, sharey=True)[0]
    for axes, (name, column) in zip(panels, columns.items(), strict=True):

        def said(row: Row, column: str = column) -> str:
            return f"{who(row)}: {percent(row['saturated'])} saturated, {percent(row[column])} left"

        trials = scatter.trials[scatter.trials["status"] == "completed"].dropna(subset=["saturated", column])
        scatter.points(drawing, axes, trials, ("saturated", column), said)
        with np.errstate(invalid="ignore"):  # Pearson's, where both vary
            r = trials["saturated"].corr(trials[column], min_periods=3)
        axes.set_title(f"by {name}" + f", r = {r:.2f}" * bool(np.isfinite(r)))
        axes.set_xlabel("saturated images")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.percent_axis(panels[0], "FGSM accuracy")
    scatter.legend(drawing)
    yield drawing
