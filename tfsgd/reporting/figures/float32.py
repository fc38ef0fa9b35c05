"""What float32 makes of FGSM: its accuracy by the softmax's gradient and by the exact one, against how sure networks are."""

import pandas as pd
from matplotlib.ticker import PercentFormatter

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.scatter import Row, ScatterStyle, who
from tfsgd.reporting.figures.style import Drawing, FigureResult, in_words
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study


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
            return f"{who(row)}: {in_words(row['saturated'])} saturated, {in_words(row[column])} left"

        trials = scatter.trials[scatter.trials["status"] == "completed"].dropna(subset=["saturated", column])
        scatter.points(drawing, axes, trials, ("saturated", column), said)
        axes.set_title(f"by {name}{_correlation(trials['saturated'], trials[column])}")
        axes.set_xlabel("saturated images")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    ax.percent_axis(panels[0], "FGSM accuracy")
    scatter.legend(drawing)
    yield drawing


def _correlation(x: pd.Series, y: pd.Series) -> str:
    """`, r = 0.96` over the networks, Pearson's; empty where there is none."""
    if len(x) < 3 or not (x.std() > 0 and y.std() > 0):
        return ""
    return f", r = {x.corr(y):.2f}"
