"""The networks at equal train loss: as they were in the first epoch that reached it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import LAMBDA, NATURAL, Curve, Series
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.columns import at_loss
from tfsgd.reporting.table.studies import Study
from tfsgd.text import counted


@figure("equal")
def equal_loss(study: Study) -> FigureResult:
    """For each attack the regimes after equal epochs, and below at each train loss that networks were kept at."""
    regimes = curves.regime_curves(study)
    if not study.snapshots or not regimes:
        yield "The regimes at equal train loss: no network was kept there (snapshots: {train_loss: [...]})"
        return
    for i, (attack, epsilons) in enumerate(study.epsilons.items()):
        epsilon = study.paper_epsilon if study.paper_epsilon in epsilons else epsilons[len(epsilons) // 2]
        assert epsilon is not None
        drawing = _figure(study, regimes, attack, epsilon)
        drawing.extra = i > 0
        yield drawing


def _figure(study: Study, regimes: Sequence[Curve], attack: str, epsilon: float) -> Drawing:
    losses = study.snapshots
    title = (
        f"At the end and at equal train loss, {curves.place(study)}: {attack_name(attack)}, ε = {epsilon:g}"
    )
    shown = [NATURAL, curves.under(attack, epsilon), LAMBDA]
    caption = (
        f"{curves.batch_caption(regimes, shown)} First row: at the end of the training. The others: at the end of the "
        "first epoch whose train loss is at most the value; a trial that never got there is not in its mean."
    )
    never = " ".join(_never_reached(study, loss) for loss in losses)
    drawing = Drawing(
        f"equal-loss-{style.file_name(attack)}",
        title,
        f"{caption} {never}".strip(),
        1.0 + 2.7 * (1 + len(losses)),
    )
    grid = drawing.panels(1 + len(losses), 2, sharex=True, sharey="col")
    # Whether a trial is under-trained or fails a check is said of its end alone.
    there = [replace(curve, rows=curve.rows.assign(undertrained=False)) for curve in regimes]
    for (left, right), loss in zip(grid, [None, *losses], strict=True):
        series = shown if loss is None else [_at(loss, one) for one in shown]
        panels = [*zip((left, left, right), series, strict=True)]
        curves.draw(drawing, regimes if loss is None else there, panels)
        left.set_title("at the end" if loss is None else f"train loss {loss:g}", loc="left")
    for left, right in grid:
        ax.percent_axis(left, "accuracy")  # once all are drawn: a range that is set takes no more points in
        curves.batch_axes([left, right], regimes)
        ax.log_axis(right, label="λ1")
    for axes in grid[:-1].ravel():
        axes.set_xlabel("")
    curves.curve_legend(drawing.figure, regimes, shown[:2])
    return drawing


def _at(loss: float, series: Series) -> Series:
    what = f"{series.what} at train loss {loss:g}"
    return replace(series, column=at_loss(series.column, loss), what=what, attack="")


def _never_reached(study: Study, loss: float) -> str:
    """Which cells never got to a train loss, in words; empty if all did."""
    counts = Counter(
        f"{record.regime} at batch size {record.sgd.batch_size} and momentum {record.sgd.momentum:g}"
        for record in study.records
        for snapshot in record.snapshots
        if snapshot.train_loss == loss and snapshot.epoch is None
    )
    if not counts:
        return ""
    said = [f"{cell} ({counted(count, 'trial')})" for cell, count in counts.items()]
    return f"Train loss {loss:g} was never reached by {', '.join(said)}."
