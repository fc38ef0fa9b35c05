"""What was measured in the course of the trainings, over the updates."""

import math

import numpy as np

from tfsgd.plan.config import WHILE_TRAINED
from tfsgd.plan.optimizers import SGD
from tfsgd.plan.requests import HESSIAN
from tfsgd.records.record import Record
from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures.curves import place, regime_curves, sizes_of
from tfsgd.reporting.figures.legend import BatchSizePalette
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.table.derived import ceiling
from tfsgd.reporting.table.studies import Study

CEILINGS = (
    "Broken lines: the ceiling 2(1+γ)/η of λ1 and 2/η of the directional sharpness without momentum, where the rate is "
    "constant and the ceiling not far above."
)
ROOM = 4.0  # times the largest value of a trial: ceilings above that are not drawn


@figure("edge")
def along(study: Study) -> FigureResult:
    """Each measure of the `along` block: a line a trial, coloured by batch size, a column a regime."""
    records = dict(zip(study.trials["folder"], study.records, strict=True))
    keys = list(dict.fromkeys(key for record in study.records for key in record.along if key != "update"))
    lines = regime_curves(study)
    if not keys or not lines:
        return
    palette = BatchSizePalette.of(sizes_of(lines))
    caption = "One line a trial, coloured by batch size, over the updates of SGD."
    if any(np.isfinite(_ceiling(record, key)) for record in study.records for key in keys):
        caption += f" {CEILINGS}"
    drawing = Drawing(
        "along", f"On the way, {place(study)}", caption, 1.0 + 2.0 * len(keys), dark=palette.dark
    )
    grid = drawing.panels(len(keys), len(lines), sharex=True, sharey="row")
    for column, line in zip(grid.T, lines, strict=True):
        for row in line.rows.to_dict("records"):
            record: Record = records[row["folder"]]
            text = f"{line.label}, batch size {row['batch_size']}, seed {row['seed']}"
            for axes, key in zip(column, keys, strict=True):
                updates, values = _points(record, key)
                colour = palette.colours[int(row["batch_size"])]
                axes.plot(updates, values, color=colour, linewidth=1, gid=drawing.tooltip(text))
                bound = _ceiling(record, key)
                if len(values) and bound <= ROOM * values.max():
                    axes.axhline(bound, color=colour, linewidth=0.8, linestyle="--", zorder=1.5)
        column[0].set_title(line.two_lines)
        column[-1].set_xlabel("updates")
        column[-1].set_xscale("log")
    for axes, key in zip(grid[:, 0], keys, strict=True):
        axes.set_ylabel("λ1" if key == HESSIAN else key.replace("_", " "))
    for of_key in grid:
        shown = np.concatenate([line.get_ydata() for axes in of_key for line in axes.lines] or [np.zeros(1)])
        if (shown > 0).all() and shown.max() > 10 * shown.min():
            ax.log_axis(of_key[0])
    palette.legend(drawing.figure, with_markers=False)
    yield drawing


def _ceiling(record: Record, key: str) -> float:
    """Above which gradient descent with the trial's rate is unstable; NaN where that is not known."""
    s = record.sgd
    is_of_step = key == WHILE_TRAINED and s.momentum == 0
    if s.optimizer != SGD or record.batch_norm or not s.is_constant or not (key == HESSIAN or is_of_step):
        return math.nan
    return ceiling(s, 0, record.epochs)


def _points(record: Record, key: str) -> tuple[np.ndarray, np.ndarray]:
    """Updates and finite values of a measure."""
    updates = np.array(record.along.get("update", ()), float)
    values = np.array(record.along.get(key, [None] * len(updates)), float)
    good = np.isfinite(values)
    return updates[good], values[good]
