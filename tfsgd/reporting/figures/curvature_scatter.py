"""λ1 against the smallest epsilon, and against adversarial accuracy, one point a trial."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import SMALLEST, Series
from tfsgd.reporting.figures.legend import Marks, legend
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.scatter import ScatterStyle, who
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.cell import Cell
from tfsgd.reporting.table.studies import Study

MANY_TRIALS = 500  # above which one point a trial is a cloud


@figure("agreement")
def curvature(study: Study) -> FigureResult:
    """λ1 against the smallest epsilon."""
    if SMALLEST.column not in study.trials or not study.trials[SMALLEST.column].notna().any():
        yield "λ1 against the smallest ε: it was not measured (attacks: minimal)"
    else:
        yield _against_curvature(study, "curvature", "the smallest ε", [SMALLEST])


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
    title = f"λ1 against {what}, {curves.place(study)}"
    drawing = Drawing(name, title, _caption(study.trials, marks), 1.0 + 2.5 * rows)
    panels = drawing.panels(rows, columns, sharex=True, sharey=True).ravel()
    scatter = ScatterStyle.of(study)
    for axes, series in zip(panels, shown, strict=False):
        _points(drawing, axes, scatter, series, marks)
        axes.set_title(series.what)
    for i, axes in enumerate(panels):  # once all are drawn: a range that is set takes no more points in
        if i >= len(shown):
            axes.set_visible(False)
            continue
        ax.percent_axis(axes, "accuracy") if shown[0].is_share else ax.log_axis(axes)
        ax.log_axis(axes, "x", ax.EIGENVALUE if i >= len(shown) - columns else "")
    legend(drawing.figure, [*scatter.handles(), *marks.handles()], 4)
    return drawing


def _caption(trials: pd.DataFrame, marks: Marks) -> str:
    point = "a cell, the mean over its seeds" if len(trials) > MANY_TRIALS else "a network"
    crosses = "Crosses at the left edge: collapsed." * bool((trials["status"] == "collapsed").any())
    said = (
        f"One point {point}, every regime and momentum.",
        "If λ1 explained robustness, the points would fall from left to right within every colour.",
        crosses,
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
    for curve in scatter.curves(shown, "hollow", "is_bad"):
        rows = curve.rows
        bad, hollow = bool(rows["is_bad"].any()), bool(rows["hollow"].any())
        points = [
            (
                0.0 if bad else row["eigenvalue"],
                row[column],
                f"{who(row, row['of'])}: λ1 {row['eigenvalue']:.3g}, {series.what} {series.words(row[column])}",
            )
            for row in rows.to_dict("records")
        ]
        where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False} if bad else {}
        face = style.PAPER if hollow else curve.colour
        marker = "x" if bad else curve.marker
        curves.markers(drawing, axes, curve, points, marker, 0.8, markerfacecolor=face, **where)


def _cell_means(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """The means of the cells over their seeds, of λ1 on its logarithm; trials of another status by themselves."""
    log = trials.assign(eigenvalue=np.log(trials["eigenvalue"]), seeds=1)
    how = {"eigenvalue": "mean", column: "mean", "undertrained": "any", "seeds": "sum"}
    means = log.groupby([*Cell._fields, "status"], as_index=False).agg(how)
    of = [f"mean of {n} seeds" for n in means["seeds"]]
    return means.assign(eigenvalue=np.exp(means["eigenvalue"]), of=of)
