"""What float32 makes of FGSM: its accuracy by the softmax's gradient and by the exact one, against how sure networks are."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.legend import legend
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.scatter import ScatterStyle, who
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study


@figure("attacks")
def float32(study: Study) -> FigureResult:
    """FGSM at the paper's epsilon against the share of saturated images, one point a network."""
    pair = ("fgsm", study.paper_epsilon or 0.0)
    if pair not in study.softmax or "saturated" not in study.trials:
        return
    columns = {
        "float32's softmax": attack_column(*study.softmax[pair]),
        "the exact gradient": attack_column(*pair),
    }
    caption = (
        "One point a network. Saturated are test images of which the network is so sure that the true class's term of "
        "the softmax's gradient is 0 in float32. The sign of what is left leads elsewhere, and the image keeps its label: "
        "FGSM then measures how sure a network is."
    )
    title = f"FGSM at ε = {pair[1]:g} and saturated images, {curves.place(study)}"
    drawing = Drawing("float32", title, caption, 3.6)
    scatter = ScatterStyle.of(study)
    panels = drawing.panels(1, 2, sharex=True, sharey=True)[0]
    for axes, (name, column) in zip(panels, columns.items(), strict=True):
        trials = scatter.trials[scatter.trials["status"] == "completed"].dropna(subset=["saturated", column])
        _points(drawing, axes, scatter, trials, column)
        axes.set_title(f"by {name}{_correlation(trials, column)}")
        axes.set_xlabel("saturated images")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.percent_axis(panels[0], "FGSM accuracy")
    legend(drawing.figure, scatter.handles(), 4)
    yield drawing


def _points(drawing: Drawing, axes: Axes, scatter: ScatterStyle, trials: pd.DataFrame, column: str) -> None:
    for curve in scatter.curves(trials):
        points = []
        for row in curve.rows.to_dict("records"):
            words = f"{style.in_words(row['saturated'])} saturated, {style.in_words(row[column])} left"
            points.append((row["saturated"], row[column], f"{who(row)}: {words}"))
        curves.markers(drawing, axes, curve, points, curve.marker, 0.8)


def _correlation(trials: pd.DataFrame, column: str) -> str:
    """`, r = 0.96` over the networks, Pearson's; empty where there is none."""
    if len(trials) < 3 or not (trials["saturated"].std() > 0 and trials[column].std() > 0):
        return ""
    return f", r = {np.corrcoef(trials['saturated'], trials[column])[0, 1]:.2f}"
