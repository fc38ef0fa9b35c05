"""The matrix of rank correlations: every measure with the accuracy under every attack, over cell means."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import matplotlib
import pandas as pd
from matplotlib.axes import Axes

from tfsgd.reporting.claims.contrasts import on_floor
from tfsgd.reporting.figures.curves import place
from tfsgd.reporting.figures.heatmap import INKS, heatmap_cell, label_cells
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.paper import MIN_CELLS, MIN_SEEDS, attack_name
from tfsgd.reporting.statistics import fisher_interval, rank_correlation
from tfsgd.reporting.table.cell import Cell, with_enough_seeds
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.columns import CURVATURE_RANK, Column
from tfsgd.reporting.table.metrics import Metric, attacked
from tfsgd.reporting.table.studies import Study


@dataclass(frozen=True)
class CellCorrelation:
    """A correlation over cells with its 95 % interval."""

    rho: float
    low: float
    high: float
    cells: int

    @property
    def words(self) -> str:
        return f"{self.rho:+.2f} [{self.low:+.2f}, {self.high:+.2f}], {self.cells} cells"


@figure(14)
def correlations(study: Study) -> FigureResult:
    """Two matrices: plain, and at equal train loss."""
    cells = Cells(study.trials, study.chance)
    rows = cells.trials[cells.trials["status"] == "completed"]
    measures = measures_of(study, rows)
    metrics = [
        m for m in (attacked(*key) for key in study.attacks) if _can_be_told_apart(rows, m, cells.chance)
    ]
    for given, name in ((False, "correlations"), (True, "correlations-equal-loss")):
        shown = [column for column in measures if not (given and column.name == "train_loss")]
        found = {
            (column.name, metric.column): result
            for column in shown
            for metric in metrics
            if (result := _correlation(rows, column, metric, given)) is not None
        }
        if not found:
            yield (
                f"Rank correlations with adversarial accuracy{' at equal train loss' if given else ''}: they need "
                f"{MIN_CELLS} cells whose accuracies are not all on the floor"
            )
            continue
        yield _matrix(study, name, given, _Matrix(shown, metrics, found))


def measures_of(study: Study, rows: pd.DataFrame) -> list[Column]:
    """Every measure that varies over the trials, in the order of its rank."""
    titled = (column for column in study.columns.values() if column.title)
    ranked = sorted(titled, key=lambda column: (column.rank, column.rank == CURVATURE_RANK and column.name))
    return [column for column in ranked if rows[column.name].nunique() > 1]


def _can_be_told_apart(rows: pd.DataFrame, metric: Metric, chance: float) -> bool:
    means = _means(rows.assign(y=rows[metric.column]), ["y"])["y"].to_numpy()
    return len(means) >= MIN_CELLS and len(set(means)) > 1 and not on_floor(means, metric, chance)


def _correlation(rows: pd.DataFrame, column: Column, metric: Metric, given: bool) -> CellCorrelation | None:
    x = Metric(column.name, column.title, scale="factor" if column.is_log else "").scaled(
        rows[column.name].astype(float)
    )
    values = rows.assign(x=x, y=rows[metric.column], loss=rows["train_loss"])
    means = _means(values, ["x", "y", "loss"])
    if len(means) < MIN_CELLS or means["x"].nunique() < 2:
        return None
    loss = means["loss"].to_numpy() if given else None
    rho, freedom = rank_correlation(means["x"].to_numpy(), means["y"].to_numpy(), loss)
    return CellCorrelation(rho, *fisher_interval(rho, freedom), len(means))


def _means(rows: pd.DataFrame, columns: list[str]) -> pd.DataFrame:
    """Cell means of these columns, as the claims take them: without a cell of which too few seeds are left."""
    known = rows[[*Cell._fields, "seed", *columns]].dropna(subset=columns)
    return with_enough_seeds(known, known["seed"].nunique()).groupby([*Cell._fields])[columns].mean()


# Drawing


@dataclass(frozen=True)
class _Matrix:
    """What the matrix has: measures downwards, attacks across."""

    measures: Sequence[Column]
    metrics: Sequence[Metric]
    found: Mapping[tuple[str, str], CellCorrelation]

    @property
    def rows(self) -> list[Column]:
        """Those with any correlation."""
        return [column for column in self.measures if any(column.name == of for of, _ in self.found)]


def _matrix(study: Study, name: str, given: bool, what: _Matrix) -> Drawing:
    rows = what.rows
    title = (
        f"Rank correlation with adversarial accuracy{' at equal train loss' if given else ''}, {place(study)}"
    )
    caption = (
        "Spearman's correlation over cell means, of λ1 on its logarithm, in hundredths; a cell of which fewer than "
        f"{MIN_SEEDS} seeds are left is not in it. Pointing at one shows its 95 % interval (Fisher's). Bold: the interval does not hold 0, without any correction for the number of correlations: it is "
        "a map to look around on, not a test. Attacks under which all cells are on the floor are left out."
    )
    if given:
        caption += " Partial correlation: what the ranks of the train loss explain is removed from both."
    drawing = Drawing(name, title, caption, 1.7 + 0.3 * len(rows))
    axes = drawing.figure.subplots()
    for i, column in enumerate(rows):
        for j, metric in enumerate(what.metrics):
            found = what.found.get((column.name, metric.column))
            if found:
                where = f"{column.title} with {metric.name} at ε = {metric.epsilon:g}"
                _draw_cell(drawing, axes, (j, i), found, where)
    names = [f"{attack_name(m.attack or '')} {m.epsilon:g}" for m in what.metrics]
    label_cells(axes, names, [column.title for column in rows])
    return drawing


def _draw_cell(drawing: Drawing, axes: Axes, at: tuple[int, int], found: CellCorrelation, where: str) -> None:
    heatmap_cell(
        drawing,
        axes,
        at,
        matplotlib.colormaps["RdBu_r"](0.5 + 0.45 * found.rho),
        f"{round(100 * found.rho):+d}".replace("-", "−").replace("+0", "0"),
        f"{where}: {found.words}",
        color=INKS[abs(found.rho) >= 0.7],
        weight="bold" if found.low > 0 or found.high < 0 else "normal",
    )
    drawing.values.append(
        {
            "measure and accuracy": where,
            "rank correlation": f"{found.rho:+.2f}",
            "95 % interval": f"{found.low:+.2f} to {found.high:+.2f}",
            "cells": f"{found.cells}",
        }
    )
