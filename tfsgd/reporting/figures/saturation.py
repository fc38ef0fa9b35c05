"""What float32 makes of FGSM: its accuracy by the softmax's gradient and by the exact one, against how sure networks are."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from tfsgd.reporting.figures.beyond import Looks
from tfsgd.reporting.figures.curves import place
from tfsgd.reporting.figures.style import WIDTH, Drawing, Made, figure_key, in_words, percent_axis
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study


def float32_figures(study: Study) -> Made:
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
    figure = Figure(figsize=(WIDTH, 3.6), layout="constrained")
    title = f"FGSM at ε = {pair[1]:g} and saturated images, {place(study)}"
    drawing = Drawing("float32", title, caption, figure)
    looks = Looks.of(study)
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, (name, column) in zip(panels, columns.items(), strict=True):
        _points(drawing, axes, looks, column)
        axes.set_title(f"by {name}{_correlation(looks.trials, column)}")
        axes.set_xlabel("saturated images")
        axes.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    percent_axis(panels[0], "FGSM accuracy")
    figure_key(figure, looks.key(), 4)
    yield drawing


def _points(drawing: Drawing, axes: Axes, looks: Looks, column: str) -> None:
    key: tuple[str, float]
    for key, rows in _known(looks.trials, column).groupby(["regime", "momentum"]):  # type: ignore[assignment]
        regime, momentum = key
        texts = [
            f"{regime}, batch size {row['batch_size']}, momentum {momentum:g}, seed {row['seed']}: "
            f"{in_words(row['saturated'])} saturated, {in_words(row[column])} left"
            for row in rows.to_dict("records")
        ]
        axes.plot(
            rows["saturated"], rows[column], looks.marker(momentum), color=looks.colours[regime],
            markersize=5, linestyle="none", gid=drawing.says(*texts),
        )  # fmt: skip


def _known(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    return trials[trials["status"] == "completed"].dropna(subset=["saturated", column])


def _correlation(trials: pd.DataFrame, column: str) -> str:
    """`, r = 0.96` over the networks, Pearson's; empty where there is none."""
    known = _known(trials, column)
    if len(known) < 3 or not (known["saturated"].std() > 0 and known[column].std() > 0):
        return ""
    return f", r = {np.corrcoef(known['saturated'], known[column])[0, 1]:.2f}"
