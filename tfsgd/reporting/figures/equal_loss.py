"""Figures at equal train loss: the networks as they were in the first epoch that reached it."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.figure import Figure

from tfsgd.plan.yaml_io import counted
from tfsgd.reporting.figures.curves import (
    LAMBDA,
    NATURAL,
    View,
    batch_caption,
    curve_of,
    legend,
    place,
    regime_lines,
    under,
)
from tfsgd.reporting.figures.style import (
    WIDTH,
    Drawing,
    Line,
    Made,
    batch_axis,
    eigenvalue_axis,
    file_name,
    percent_axis,
    set_apart,
)
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.columns import at_loss
from tfsgd.reporting.table.studies import Study


def equal_loss_figures(study: Study) -> Made:
    """For each attack the regimes after equal epochs, and below at each train loss that networks were kept at."""
    lines = regime_lines(study)
    if not study.snapshots or not lines:
        yield "The regimes at equal train loss: no network was kept there (snapshots: {train_loss: [...]})"
        return
    for attack, epsilons in study.epsilons.items():
        epsilon = study.paper_epsilon if study.paper_epsilon in epsilons else epsilons[len(epsilons) // 2]
        assert epsilon is not None
        yield _figure(study, lines, attack, epsilon)


def _figure(study: Study, lines: Sequence[Line], attack: str, epsilon: float) -> Drawing:
    losses = study.snapshots
    figure = Figure(figsize=(WIDTH, 1.0 + 2.7 * (1 + len(losses))), layout="constrained")
    title = f"At the end and at equal train loss, {place(study)}: {attack_name(attack)}, ε = {epsilon:g}"
    views = [NATURAL, under(attack, epsilon), LAMBDA]
    caption = batch_caption(lines, views)
    caption += (
        " First row: at the end of the training. The others: at the end of the first epoch whose train loss is at most "
        "the value; a trial that never got there is not in its mean."
    )
    never = " ".join(_never_reached(study, loss) for loss in losses)
    drawing = Drawing(f"equal-loss-{file_name(attack)}", title, f"{caption} {never}".strip(), figure)
    grid = figure.subplots(1 + len(losses), 2, sharex=True, sharey="col")
    for (left, right), loss in zip(grid, [None, *losses], strict=True):
        for line, shift in set_apart(lines):
            for axes, view in zip((left, left, right), views, strict=True):
                if loss is None:
                    curve_of(drawing, axes, line, view, shift)
                else:
                    curve_of(drawing, axes, *_there(line, view, loss), shift)
        left.set_title("at the end" if loss is None else f"train loss {loss:g}", loc="left")
    for left, right in grid:
        percent_axis(left, "accuracy")  # once all are drawn: a range that is set takes no more points in
        for axes in (left, right):
            batch_axis(axes, lines)
            if axes not in grid[-1]:
                axes.set_xlabel("")
        eigenvalue_axis(right)
        right.set_ylabel("λ1")
    legend(figure, lines, views[:2])
    return drawing


def _there(line: Line, view: View, loss: float) -> tuple[Line, View]:
    """The same at a snapshot: whether a trial is under-trained or fails a check is said of its end."""
    rows = line.rows.assign(undertrained=False)
    what = f"{view.what} at train loss {loss:g}"
    return replace(line, rows=rows), replace(view, column=at_loss(view.column, loss), what=what, attack="")


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
