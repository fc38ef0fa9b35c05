"""λ1 against the smallest epsilon, and against adversarial accuracy, one point a trial."""

import math
from collections.abc import Sequence

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.axes import EIGENVALUE
from tfsgd.reporting.figures.curves import LAMBDA, SMALLEST, Series
from tfsgd.reporting.figures.legend import Marks
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.scatter import ScatterStyle, who
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.cell import Cell
from tfsgd.reporting.table.columns import is_measured
from tfsgd.reporting.table.studies import Study

MANY_TRIALS = 500  # above which one point a trial is a cloud


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
        shown = [curves.under(attack, e) for e in epsilons]
        name = f"curvature-{style.file_name(attack)}"
        yield _against_curvature(study, name, f"{attack_name(attack)} accuracy", shown)


def _against_curvature(study: Study, name: str, what: str, shown: Sequence[Series]) -> Drawing:
    """A panel a series."""
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    marks = Marks.of(study.trials, [shown[0].attack])
    drawing = Drawing(
        name, f"λ1 against {what}, {study.place}", _caption(study.trials, marks), 1.0 + 2.5 * rows
    )
    panels = drawing.panels(rows, columns, sharex=True, sharey=True).ravel()
    scatter = ScatterStyle.of(study)
    for axes, series in zip(panels, shown, strict=False):
        _points(drawing, axes, scatter, series, marks)
        axes.set_title(series.what)
    for axes in panels[len(shown) :]:
        axes.set_visible(False)
    for i, axes in enumerate(
        panels[: len(shown)]
    ):  # once all are drawn: a range that is set takes no more points in
        shown[0].scale(axes, "accuracy" * shown[0].is_share)
        LAMBDA.scale(axes, EIGENVALUE * (i >= len(shown) - columns), "x")
    scatter.legend(drawing, marks.handles())
    return drawing


def _caption(trials: pd.DataFrame, marks: Marks) -> str:
    point = "a cell, the mean over its seeds" if len(trials) > MANY_TRIALS else "a network"
    said = (
        f"One point {point}, every regime and momentum.",
        "If λ1 explained robustness, the points would fall from left to right within every colour.",
        "Crosses at the left edge: collapsed." * bool((trials["status"] == "collapsed").any()),
        marks.caption,
    )
    return " ".join(filter(None, said))


def _points(drawing: Drawing, axes: Axes, scatter: ScatterStyle, series: Series, marks: Marks) -> None:
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
