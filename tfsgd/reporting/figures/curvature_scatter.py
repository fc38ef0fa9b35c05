"""λ1 against adversarial accuracy, and against the smallest epsilon, one point a trial."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import Series
from tfsgd.reporting.figures.legend import any_fails, fails, legend, marks
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.scatter import ScatterStyle, who
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.cell import Cell
from tfsgd.reporting.table.columns import smallest_column
from tfsgd.reporting.table.studies import Study

MANY_TRIALS = 500  # above which one point a trial is a cloud


@figure(5)
def curvature_scatter(study: Study) -> FigureResult:
    """λ1 against accuracy under each attack, and against the smallest epsilon."""
    if not study.attacks:
        yield "λ1 against adversarial accuracy: no trial was attacked"
    for attack, epsilons in study.epsilons.items():
        shown = {
            f"ε = {e:g}" + (" (the paper's)" if e == study.paper_epsilon else ""): curves.under(attack, e)
            for e in epsilons
        }
        yield _against_curvature(study, f"{attack_name(attack)} accuracy", shown)
    for attack in dict(study.searched):
        medians = {e: smallest_column((label, e)) for label, e in study.searched if label == attack}
        shown = {
            f"up to ε = {e:g}": Series(column, "median smallest ε", attack=attack, is_share=False)
            for e, column in medians.items()
            if study.trials[column].notna().any()
        }
        if shown:
            yield _against_curvature(study, f"the smallest ε ({attack_name(attack)})", shown)
        else:
            yield f"λ1 against the smallest ε ({attack_name(attack)}): of no trial half of the images are broken"


def _against_curvature(study: Study, what: str, shown: Mapping[str, Series]) -> Drawing:
    """A panel a series, under its title; all are of one attack."""
    first = next(iter(shown.values()))
    columns = min(2, len(shown))
    rows = math.ceil(len(shown) / columns)
    title = f"λ1 against {what}, {curves.place(study)}"
    drawing = Drawing(
        f"curvature-{style.file_name(first.attack)}", title, _caption(study.trials, first), 1.0 + 2.5 * rows
    )
    panels = drawing.figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    scatter = ScatterStyle.of(study)
    for axes, (name, series) in zip(panels, shown.items(), strict=False):
        _points(drawing, axes, scatter, series)
        axes.set_title(name)
    for i, axes in enumerate(panels):  # once all are drawn: a range that is set takes no more points in
        if i >= len(shown):
            axes.set_visible(False)
            continue
        ax.percent_axis(axes, "accuracy") if first.is_share else axes.set(ylabel="median smallest ε")
        ax.log_axis(axes, "x", ax.EIGENVALUE if i >= len(shown) - columns else "")
    legend(drawing.figure, [*scatter.handles(), *marks(study.trials, [first.attack])], 4)
    return drawing


def _caption(trials: pd.DataFrame, series: Series) -> str:
    caption = (
        f"One point a {'cell, the mean over its seeds' if len(trials) > MANY_TRIALS else 'trial'}, every regime and "
        f"momentum; what belongs to two regimes has the first one's colour."
        f"{' All panels have one range of accuracy.' * series.is_share} "
        "If λ1 explained robustness, the points would fall from left to right within every colour."
    )
    if trials["undertrained"].any():
        caption += " Hollow markers: under-trained."
    if (trials["status"] == "collapsed").any():
        caption += " Crosses at the left edge: collapsed, whatever their λ1."
    if any_fails(trials, [series.attack]):
        caption += " Rings: the trial fails a check of its robustness (see the table of trials)."
    return caption


def _points(drawing: Drawing, axes: Axes, scatter: ScatterStyle, series: Series) -> None:
    column = series.column
    shown = scatter.trials[scatter.trials["eigenvalue"] > 0].dropna(subset=[column])
    doubtful = shown[fails(shown, series.attack) & (shown["status"] == "completed")]
    curves.ring(axes, list(zip(doubtful["eigenvalue"], doubtful[column], strict=True)))
    shown = shown.assign(of=[f"seed {seed}" for seed in shown["seed"]])
    if len(scatter.trials) > MANY_TRIALS:
        shown = _cell_means(shown, column)
    shown = shown.assign(is_bad=shown["status"] != "completed")
    for curve in scatter.curves(shown, "undertrained", "is_bad"):
        rows = curve.rows
        bad, undertrained = bool(rows["is_bad"].any()), bool(rows["undertrained"].any())
        points = [
            (
                0.0 if bad else row["eigenvalue"],
                row[column],
                f"{who(row, row['of'])}: λ1 {row['eigenvalue']:.3g}, {series.what} {series.words(row[column])}",
            )
            for row in rows.to_dict("records")
        ]
        where: dict[str, Any] = {"transform": axes.get_yaxis_transform(), "clip_on": False} if bad else {}
        face = style.PAPER if undertrained else curve.colour
        marker = "x" if bad else curve.marker
        curves.markers(drawing, axes, curve, points, marker, markersize=5, markerfacecolor=face, **where)


def _cell_means(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """The means of the cells over their seeds, of λ1 on its logarithm; trials of another status by themselves."""
    log = trials.assign(eigenvalue=np.log(trials["eigenvalue"]), seeds=1)
    how = {"eigenvalue": "mean", column: "mean", "undertrained": "any", "seeds": "sum"}
    means = log.groupby([*Cell._fields, "status"], as_index=False).agg(how)
    of = [f"mean of {n} seeds" for n in means["seeds"]]
    return means.assign(eigenvalue=np.exp(means["eigenvalue"]), of=of)
