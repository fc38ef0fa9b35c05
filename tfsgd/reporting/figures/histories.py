"""Figures over the course of the trainings: learning curves, λ1 against its ceiling, and what was measured on the way."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, MaxNLocator

from tfsgd.plan.config import WHILE_TRAINED
from tfsgd.plan.optimizers import SGD
from tfsgd.plan.requests import HESSIAN
from tfsgd.records.record import EIGENVALUE_COLUMNS, PRECONDITIONED, Record
from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures.by_palette import BatchSizePalette, by_palette
from tfsgd.reporting.figures.curves import regime_curves
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import INK, Drawing, FigureResult, file_name, handle
from tfsgd.reporting.statistics import Array
from tfsgd.reporting.table.rows import ceiling
from tfsgd.reporting.table.studies import Study

MANY_SEEDS = 10  # above which one line a trial is a band
# Of SGD; of a step for each weight.
CEILINGS = ("2(1+γ)/η", "2(1+β)/(1−β)η, with β and η of Adam, or 2(1+γ)/η")
BOUNDS = (
    " Broken lines: the ceiling 2(1+γ)/η of λ1 and 2/η of the directional sharpness without momentum, where the rate is "
    "constant and the ceiling not far above."
)
ROOM = 4.0  # times the largest value: ceilings above that are not drawn


@dataclass(frozen=True)
class _Panel:
    """A column of the trials' histories and how it is shown."""

    key: str
    label: str
    percent: bool = False
    ceilings: bool = False
    along: bool = False  # over the updates, else over the epochs

    def of(self, record: Record) -> Sequence[float | None]:
        """Its values in a record."""
        return (record.along if self.along else record.history).get(self.key, ())


@figure("batch")
def learning_curves(study: Study) -> FigureResult:
    """Train loss and validation accuracy over the epochs."""
    panels = [_Panel("loss", "train loss"), _Panel("val_accuracy", "validation accuracy", percent=True)]
    panels = [panel for panel in panels if any(map(panel.of, study.records))]
    note = "; a diverged trial ends early. The train loss is the running mean that training reports."
    drawing = _courses(study, panels, ("learning", "Learning curves", note, 1.2, 2.4))
    yield drawing or "Learning curves: the records hold no such history"


@figure("edge")
def eigenvalue_history(study: Study) -> FigureResult:
    """λ1 over the epochs where it was recorded, with its ceilings."""
    keys = {
        key
        for record in study.records
        for key, values in record.history.items()
        if key in (*EIGENVALUE_COLUMNS.values(), PRECONDITIONED) and sum(v is not None for v in values) > 1
    }
    if not keys:
        yield "λ1 over the epochs: it was not recorded (hessian.every_epochs is 0)"
    with_statistics = any(record.batch_norm for record in study.records)
    of_descent = EIGENVALUE_COLUMNS["training" if with_statistics else "inference"]
    has_ceilings = bool(study.trials["stability_ratio_max"].notna().any())
    for key in sorted(keys):
        name, label, note = "eigenvalue-epochs", "λ1", "."
        if key != EIGENVALUE_COLUMNS["inference"]:
            name, label = f"{name}-{file_name(key)}", key.replace("_", " ")
        panel = _Panel(key, label, ceilings=has_ceilings and key in (of_descent, PRECONDITIONED))
        if panel.ceilings:
            note += (
                f" Thin: the ceiling {CEILINGS[key == PRECONDITIONED]} of that batch size, in black where all batch sizes "
                "share it, with the rate of each epoch; those far above every λ1 are left out."
            )
        what = f"{label} over the epochs"
        drawing = _courses(study, [panel], (name, what, note, 1.2, 2.4))
        yield drawing or f"{what}: the records hold no such history"


@figure("edge")
def along(study: Study) -> FigureResult:
    """Each measure of the `along` block over the updates of SGD."""
    keys = dict.fromkeys(key for record in study.records for key in record.along if key != "update")
    panels = [_Panel(key, "λ1" if key == HESSIAN else key.replace("_", " "), along=True) for key in keys]
    is_bounded = any(math.isfinite(_bound(record, key)) for record in study.records for key in keys)
    note = ", over the updates of SGD." + BOUNDS * is_bounded
    if drawing := _courses(study, panels, ("along", "On the way", note, 1.0, 2.0)):
        yield drawing


def _courses(
    study: Study, panels: Sequence[_Panel], head: tuple[str, str, str, float, float]
) -> Drawing | None:
    """A row a measure, a column a regime, a line a trial, coloured by batch size; `None`: there is nothing to draw.

    Args:
        study: the trials.
        panels: the rows.
        head: the drawing's name, title, how its caption goes on, its height without panels, and that of a panel.
    """
    lines, records = regime_curves(study), dict(zip(study.trials["folder"], study.records, strict=True))
    if not panels or not lines:
        return None
    name, title, note, height, of_panel = head
    caption = "One line a trial"
    if study.trials["seed"].nunique() > MANY_SEEDS:
        caption = f"One line a cell, the mean over its seeds where they are more than {MANY_SEEDS}"
    caption, height = f"{caption}, coloured by batch size{note}", height + of_panel * len(panels)
    whole = (name, f"{title}, {study.place}", caption, height)
    drawing, grid, palette = by_palette(whole, lines, len(panels), sharex=True, sharey="row")
    for column, line in zip(grid.T, lines, strict=True):
        of_line = [(row, records[row["folder"]]) for row in line.rows.to_dict("records")]
        for axes, panel in zip(column, panels, strict=True):
            for who, size, (x, values) in _histories(of_line, panel):
                gid = drawing.tooltip(f"{line.label}, batch size {size}, {who}")
                known = np.isfinite(values)
                axes.plot(x[known], values[known], color=palette.colours[size], linewidth=1, gid=gid)
            if panel.along:
                _bounds(axes, of_line, panel, palette)
            if panel.ceilings:
                bounded = [r for _, r in of_line if r.stability_history == r.history.get(panel.key)]
                found = (v for r in study.records for v in panel.of(r) if v is not None)
                _ceilings(axes, bounded, palette, ROOM * max(filter(math.isfinite, found), default=0.0))
    for row, panel in zip(grid, panels, strict=True):
        _scale(row, panel)
    for axes in grid[-1]:
        axes.set_xlabel("updates" if panels[-1].along else "epoch")
    palette.legend(drawing, more=[handle("ceiling", linewidth=0.8)] * any(p.ceilings for p in panels))
    return drawing


def _scale(row: Sequence[Axes], panel: _Panel) -> None:
    """The axes of a row, once all is drawn; panels of a row share their y axis.

    It is logarithmic, with at least two labels, where all values are positive; along the updates where the largest is more
    than ten times the smallest.
    """
    row[0].set_ylabel(f"{panel.label} (%)" if panel.percent else panel.label)
    for axes in row:
        if panel.percent:
            axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}"))
        if panel.along:
            axes.set_xscale("log")
            continue
        if np.ptp(axes.get_xlim()) < 1:  # a single epoch
            axes.set_xlim(-0.1, axes.get_xlim()[1] + 0.1)
        axes.xaxis.set_major_locator(MaxNLocator(nbins=3 if len(row) > 3 else 5, integer=True))
    values = [v for axes in row for line in axes.lines for v in np.asarray(line.get_ydata(), dtype=float)]
    least = 10.0 if panel.along else 0.0
    if values and not panel.percent and min(values) > 0 and max(values) > least * min(values):
        ax.log_axis(row[0])


def _histories(
    trials: Sequence[tuple[Mapping[Any, Any], Record]], panel: _Panel
) -> Iterator[tuple[str, int, Array]]:
    """Who, batch size and a course `(2, moments)`, see `_course`: of every trial, or the mean where seeds are many."""
    by_size: dict[int, list[tuple[Mapping[Any, Any], Array]]] = {}
    for row, record in trials:
        by_size.setdefault(int(row["batch_size"]), []).append((row, _course(record, panel)))
    for size, of_size in sorted(by_size.items()):
        if len(of_size) <= MANY_SEEDS:
            yield from ((f"seed {row['seed']}: {row['status']}", size, course) for row, course in of_size)
        elif good := [c for row, c in of_size if row["status"] == "completed" and c.size]:
            yield f"mean of {len(good)} seeds", size, np.mean(good, axis=0)


def _course(record: Record, panel: _Panel) -> Array:
    """Epochs or updates, and the values there, NaN where there is none."""
    values = panel.of(record)
    moments = record.along.get("update", ()) if panel.along else range(1, len(values) + 1)
    return np.array([moments, values or [math.nan] * len(moments)], float)


def _ceilings(axes: Axes, records: Sequence[Record], palette: BatchSizePalette, top: float) -> None:
    """A thin line a batch size, as far as it is below `top`."""
    by_size = {record.sgd.batch_size: record for record in records}
    curves = {b: [ceiling(r.sgd, epoch, r.epochs) for epoch in range(r.epochs)] for b, r in by_size.items()}
    everywhere = len({tuple(values) for values in curves.values()}) == 1
    for size, values in list(curves.items())[: 1 if everywhere else None]:
        shown = {epoch: value for epoch, value in enumerate(values, 1) if value <= top}
        colour = INK if everywhere else palette.colours[size]
        axes.plot(list(shown), list(shown.values()), color=colour, linewidth=0.8, zorder=1.5)


def _bounds(
    axes: Axes, trials: Sequence[tuple[Mapping[Any, Any], Record]], panel: _Panel, palette: BatchSizePalette
) -> None:
    """A broken line a trial, unless it is far above what was found."""
    for row, record in trials:
        bound, largest = _bound(record, panel.key), np.nanmax(_course(record, panel)[1], initial=0.0)
        if bound <= ROOM * largest:
            colour = palette.colours[int(row["batch_size"])]
            axes.axhline(bound, color=colour, linewidth=0.8, linestyle="--", zorder=1.5)


def _bound(record: Record, key: str) -> float:
    """Above which gradient descent with the trial's rate is unstable; NaN where that is not known."""
    s = record.sgd
    is_of_step = key == WHILE_TRAINED and s.momentum == 0
    if s.optimizer != SGD or record.batch_norm or not s.is_constant or not (key == HESSIAN or is_of_step):
        return math.nan
    return ceiling(s, 0, record.epochs)
