"""Figures over the course of the trainings: learning curves, λ1 against its ceiling, and what was measured on the way."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from tfsgd.records.record import EIGENVALUE_COLUMNS, PRECONDITIONED, Record
from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures.curves import regime_curves
from tfsgd.reporting.figures.legend import handle
from tfsgd.reporting.figures.palette import BatchSizePalette, by_palette
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import INK, Drawing, FigureResult, file_name
from tfsgd.reporting.statistics import Array
from tfsgd.reporting.table.derived import ceiling
from tfsgd.reporting.table.studies import Study

MANY_SEEDS = 10  # above which one line a trial is a band
CEILINGS = (
    "2(1+γ)/η",
    "2(1+β)/(1−β)η, with β and η of Adam, or 2(1+γ)/η",
)  # of SGD; of a step for each weight
SHARED: dict[str, Any] = {"sharex": True, "sharey": "row"}
ROOM = 4.0  # times the largest λ1: ceilings above that are not drawn


@dataclass(frozen=True)
class _Panel:
    """A column of the trials' histories and how it is shown."""

    key: str
    label: str
    percent: bool = False
    ceilings: bool = False


@figure("batch")
def learning_curves(study: Study) -> FigureResult:
    """Train loss and validation accuracy over the epochs."""
    panels = [_Panel("loss", "train loss"), _Panel("val_accuracy", "validation accuracy", percent=True)]
    note = "; a diverged trial ends early. The train loss is the running mean that training reports."
    yield _over_epochs(study, panels, "learning", "Learning curves", note)


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
        yield _over_epochs(study, [panel], name, f"{label} over the epochs", note)


@figure("edge")
def along(study: Study) -> FigureResult:
    """Each measure of the `along` block: a line a trial, coloured by batch size, a column a regime."""
    keys = dict.fromkeys(key for record in study.records for key in record.along if key != "update")
    panels = [_Panel(key, "λ1" if key == "hessian" else key) for key in keys]
    lines = regime_curves(study)
    if not panels or not lines:
        return
    caption = "One line a trial, coloured by batch size, over the updates of SGD."
    head = ("along", f"On the way, {study.place}", caption, 1.0 + 2.0 * len(panels))
    drawing, grid, palette = by_palette(head, lines, len(panels), **SHARED)
    records = dict(zip(study.trials["folder"], study.records, strict=True))
    for column, line in zip(grid.T, lines, strict=True):
        for row in line.rows.to_dict("records"):
            record, size = records[row["folder"]], int(row["batch_size"])
            text = f"{line.label}, batch size {size}, seed {row['seed']}"
            updates = np.array(record.along.get("update", ()), float)
            for axes, panel in zip(column, panels, strict=True):
                values = np.array(record.along.get(panel.key, [None] * len(updates)), float)
                _history(drawing, axes, text, (updates, values), palette.colours[size])
        column[-1].set_xlabel("updates")
        column[-1].set_xscale("log")
    for row, panel in zip(grid, panels, strict=True):
        row[0].set_ylabel(panel.label)
        _common_scale(row, 10.0)
    palette.legend(drawing)
    yield drawing


def _over_epochs(study: Study, panels: Sequence[_Panel], name: str, what: str, note: str) -> Drawing | str:
    records = dict(zip(study.trials["folder"], study.records, strict=True))
    panels = [p for p in panels if any(p.key in record.history for record in study.records)]
    lines = regime_curves(study)
    if not panels or not lines:
        return f"{what}: the records hold no such history"
    caption = f"{_one_line(study)}, coloured by batch size{note}"
    head = (name, f"{what}, {study.place}", caption, 1.2 + 2.4 * len(panels))
    drawing, grid, palette = by_palette(head, lines, len(panels), **SHARED)
    for j, line in enumerate(lines):
        of_line = [(row, records[row["folder"]]) for row in line.rows.to_dict("records")]
        for axes, panel in zip(grid[:, j], panels, strict=True):
            for who, size, values in _histories(of_line, panel.key):
                text, epochs = f"{line.label}, batch size {size}, {who}", np.arange(1, len(values) + 1)
                _history(drawing, axes, text, (epochs, values), palette.colours[size])
            if panel.ceilings:
                bounded = [r for _, r in of_line if r.stability_history == r.history.get(panel.key)]
                _ceilings(axes, bounded, palette, ROOM * _largest(study, panel.key))
            if panel.percent:
                axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}"))
        grid[-1, j].set_xlabel("epoch")
    for axes in grid.ravel():
        ax.epoch_axis(axes)
    for row, panel in zip(grid, panels, strict=True):
        row[0].set_ylabel(f"{panel.label} (%)" if panel.percent else panel.label)
        if not panel.percent:
            _common_scale(row)
    ceilings = [handle("ceiling", linewidth=0.8)] * any(p.ceilings for p in panels)
    palette.legend(drawing, more=ceilings)
    return drawing


def _histories(
    trials: Sequence[tuple[Mapping[Any, Any], Record]], key: str
) -> Iterator[tuple[str, int, Array]]:
    """Who, batch size and values, NaN where there is none: of every trial, or the mean where seeds are many."""
    by_size: dict[int, list[tuple[Mapping[Any, Any], Array]]] = {}
    for row, record in trials:
        values = np.array(record.history.get(key, ()), dtype=float)
        by_size.setdefault(int(row["batch_size"]), []).append((row, values))
    for size, of_size in sorted(by_size.items()):
        if len(of_size) <= MANY_SEEDS:
            yield from ((f"seed {row['seed']}: {row['status']}", size, values) for row, values in of_size)
            continue
        good = [values for row, values in of_size if row["status"] == "completed" and len(values)]
        if good:
            yield f"mean of {len(good)} seeds", size, np.mean(good, axis=0)


def _one_line(study: Study) -> str:
    if study.trials["seed"].nunique() <= MANY_SEEDS:
        return "One line a trial"
    return f"One line a cell, the mean over its seeds where they are more than {MANY_SEEDS}"


def _history(drawing: Drawing, axes: Axes, text: str, xy: tuple[Any, Array], colour: str) -> None:
    """One line, of the values that are finite."""
    x, values = (of[np.isfinite(xy[1])] for of in xy)
    axes.plot(x, values, color=colour, linewidth=1, gid=drawing.tooltip(text))


def _largest(study: Study, key: str) -> float:
    values = (v for record in study.records for v in record.history.get(key, ()) if v is not None)
    return max(filter(math.isfinite, values), default=0.0)


def _ceilings(axes: Axes, records: Sequence[Record], palette: BatchSizePalette, top: float) -> None:
    """A thin line a batch size, as far as it is below `top`."""
    by_size = {record.sgd.batch_size: record for record in records}
    curves = {b: [ceiling(r.sgd, epoch, r.epochs) for epoch in range(r.epochs)] for b, r in by_size.items()}
    everywhere = len({tuple(values) for values in curves.values()}) == 1
    for size, values in list(curves.items())[: 1 if everywhere else None]:
        shown = {epoch: value for epoch, value in enumerate(values, 1) if value <= top}
        colour = INK if everywhere else palette.colours[size]
        axes.plot(list(shown), list(shown.values()), color=colour, linewidth=0.8, zorder=1.5)


def _common_scale(row: Sequence[Axes], least: float = 0.0) -> None:
    """Logarithmic, with at least two labels, where all values are positive, the largest more than `least` times the
    smallest; panels of a row share their axis."""
    values = [v for axes in row for line in axes.lines for v in np.asarray(line.get_ydata(), dtype=float)]
    if values and min(values) > 0 and max(values) > least * min(values):
        ax.log_axis(row[0])
