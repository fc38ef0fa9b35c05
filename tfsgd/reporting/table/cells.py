"""One study's trials by cell and seed: what can be compared, and what stands in the way."""

from __future__ import annotations

import copy
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd

from tfsgd.reporting.paper import (
    ACCURACY_MARGIN,
    BAD,
    BASE_MOMENTUM,
    DOUBTFUL,
    EIGENVALUE_MARGIN,
    MIN_SEEDS,
    RESIDUAL_LIMIT,
    attack_name,
    is_eigenvalue,
)
from tfsgd.reporting.statistics import Array
from tfsgd.reporting.table.cell_means import CellMeans, cell_means
from tfsgd.reporting.table.checks import SAID
from tfsgd.reporting.table.regime_labels import curves, paper_regimes, regimes_of, with_first_regime
from tfsgd.reporting.table.rows import attack_column


class Cell(NamedTuple):
    """One setting of SGD; its trials differ in the seed alone."""

    regime: str  # of the paper, or `other: name`
    batch_size: int
    momentum: float


def of_regimes(*regimes: str) -> Callable[[Cell], bool]:
    """Whether a cell is of one of these regimes."""
    return lambda cell: cell.regime in regimes


def at_base_momentum(*regimes: str) -> Callable[[Cell], bool]:
    """Whether a cell is of one of these regimes, at the momentum at which the paper compares them."""
    return lambda cell: cell.regime in regimes and cell.momentum == BASE_MOMENTUM[cell.regime]


@dataclass(frozen=True)
class Metric:
    """A column of the trials and the scale on which it is judged: accuracy, or log2 of the eigenvalue."""

    column: str
    name: str
    attack: str | None = None  # its label
    epsilon: float | None = None

    @property
    def is_eigenvalue(self) -> bool:
        return is_eigenvalue(self.column)

    @property
    def margin(self) -> float:
        return EIGENVALUE_MARGIN if self.is_eigenvalue else ACCURACY_MARGIN

    def scaled(self, values: pd.Series) -> pd.Series:
        """Accuracy as it is; log2 of the eigenvalue, NaN where it is not positive."""
        return np.log2(values.where(values > 0)) if self.is_eigenvalue else values


NATURAL = Metric("test_accuracy", "natural accuracy")
EIGENVALUE = Metric("eigenvalue", "λ1")
DESCENT = ("stability_ratio", "stability_ratio_max")  # of λ1 of the loss that SGD descends


def adversarial(attack: str) -> Metric:
    """The accuracy under an attack, at an epsilon that is filled in later."""
    return Metric("", f"{attack_name(attack)} accuracy", attack)


def attacked(attack: str, epsilon: float) -> Metric:
    return Metric(attack_column(attack, epsilon), f"{attack_name(attack)} accuracy", attack, epsilon)


class Cells:
    """One study's trials by cell and seed, for the paper's three regimes and all others."""

    def __init__(self, trials: pd.DataFrame, chance: float) -> None:
        self.chance = chance
        regimes = regimes_of(trials)
        names = {regime.name: kind for kind, regime in paper_regimes(regimes).items()}
        self.trials = with_first_regime(trials, regimes)
        rows = curves(trials, regimes)
        rows["regime"] = [names.get(name, f"other: {name}") for name in rows["regime"]]
        self.all_seeds = sorted(set(rows["seed"]))
        self._hold(rows)
        rates = dict(zip(self.all_cells, rows["learning_rate"], strict=True))
        self._shared = {
            (cell.batch_size, cell.momentum)
            for cell, rate in rates.items()
            if cell.regime == "LR" and rates.get(cell._replace(regime="LR/BS")) == rate
        }

    def _hold(self, rows: pd.DataFrame) -> None:
        """Takes these rows, one for every trial and regime that it belongs to."""
        self.rows = rows
        self.all_cells = [*map(Cell, rows["regime"], rows["batch_size"], rows["momentum"])]
        self._seeds = list(rows["seed"])
        self._completed = (rows["status"] == "completed").to_numpy()
        self._fates = list(zip(self.all_cells, list(rows["folder"]), list(rows["status"]), strict=True))
        self._any_bad = not self._completed.all()
        self._troubles = list(self._find_troubles())
        self._points: dict[str, CellMeans] = {}
        self._values: dict[str, dict[Cell, dict[int, float]]] = {}
        self._views: dict[tuple[int, ...], Cells] = {}

    def only(self, batch_sizes: Sequence[int]) -> Cells:
        """These batch sizes alone, as if no other had been trained; the study's seeds stay what they are."""
        wanted = tuple(batch_sizes)
        if wanted not in self._views:
            view = copy.copy(self)
            view.trials = self.trials[self.trials["batch_size"].isin(wanted)]
            view._hold(self.rows[self.rows["batch_size"].isin(wanted)])
            self._views[wanted] = view
        return self._views[wanted]

    def bad_trials(self, concerns: Callable[[Cell], bool]) -> dict[int, Counter[str]]:
        """Batch size -> status -> number of trials, where any of the cells' trials diverged or collapsed."""
        if not self._any_bad:
            return {}
        status = {
            (cell.batch_size, folder): of_trial for cell, folder, of_trial in self._fates if concerns(cell)
        }
        counts: dict[int, Counter[str]] = {}
        for (size, _), of_trial in status.items():
            counts.setdefault(size, Counter())[of_trial] += 1
        return {size: count for size, count in counts.items() if any(count[kind] for kind in BAD)}

    def values(self, metric: Metric) -> dict[Cell, dict[int, float]]:
        """Cell -> seed -> value on the metric's scale, of completed trials only."""
        if metric.column not in self._values:
            result: dict[Cell, dict[int, float]] = {}
            if metric.column in self.rows:
                scaled = metric.scaled(self.rows[metric.column]).to_numpy()
                for key, seed, value, completed in zip(
                    self.all_cells, self._seeds, scaled, self._completed, strict=True
                ):
                    if completed and math.isfinite(value):
                        result.setdefault(key, {})[seed] = float(value)
            self._values[metric.column] = result
        return self._values[metric.column]

    def batch_sizes(self, regime: str, momentum: float) -> list[int]:
        """All that were trained, whatever became of them."""
        return sorted({b for r, b, m in self.all_cells if (r, m) == (regime, momentum)})

    def momenta(self, regime: str) -> list[float]:
        return sorted({m for r, _, m in self.all_cells if r == regime})

    def is_shared(self, batch_size: int, momentum: float) -> bool:
        """LR and LR/BS are one and the same trial there."""
        return (batch_size, momentum) in self._shared

    def measured(self, metric: Metric, regime: str, momentum: float) -> list[Cell]:
        """The cells of a regime at a momentum that have enough seeds, from small batch sizes to large ones."""
        cells = (Cell(regime, b, momentum) for b in self.batch_sizes(regime, momentum))
        return [cell for cell in cells if self.enough(metric, cell)]

    def enough(self, metric: Metric, cell: Cell) -> bool:
        """Measured under 3 seeds, or under all where there are fewer."""
        return len(self.values(metric).get(cell, {})) >= min(MIN_SEEDS, len(self.all_seeds))

    def table(self, metric: Metric, cells: Sequence[Cell]) -> Array:
        """(seeds that have all of the cells, cells)."""
        values = [self.values(metric).get(cell, {}) for cell in cells]
        seeds = [seed for seed in self.all_seeds if all(seed in of_cell for of_cell in values)]
        return np.array([[of_cell[seed] for of_cell in values] for seed in seeds]).reshape(
            len(seeds), len(cells)
        )

    def spoilt(self, metric: Metric, wanted: Callable[[Cell], bool] = lambda _: True) -> str:
        """What in a claim's range forbids a definite verdict, in words; empty if nothing does."""
        of = DESCENT if metric.column in DESCENT else (EIGENVALUE.column,)
        found = {
            (folder, what): what
            for key, folder, what, column in self._troubles
            if wanted(key) and (column is None or column in of)
        }
        counts = Counter(found.values())
        kinds = (*BAD, *(DOUBTFUL if metric.is_eigenvalue else ()))
        return ", ".join(f"{counts[what]} {what}" for what in kinds if counts[what])

    def doubts(self, metric: Metric, wanted: Callable[[Cell], bool] = lambda _: True) -> str:
        """Which completed trials of the cells fail a check that concerns the metric, in words; empty if none does."""
        if metric.attack is None:
            return ""
        columns = zip(
            self.all_cells, self.rows["folder"], self.rows["failed_checks"], self._completed, strict=True
        )
        trials = {folder: failed for key, folder, failed, completed in columns if completed and wanted(key)}
        counts: Counter[tuple[str, str]] = Counter()
        for failed in trials.values():
            counts.update({(c.sign, SAID[c.name][1]) for c in failed if c.concerns(metric.attack)})
        said = [
            f"{count} of {len(trials)}: {what} ({sign})" for (sign, what), count in sorted(counts.items())
        ]
        return f"trials that fail a check: {'; '.join(said)}" if said else ""

    def _find_troubles(self) -> Iterator[tuple[Cell, str, str, str | None]]:
        """Cell, trial, what is wrong with it, and the column that alone is concerned; `None`: all are."""
        rows = self.rows
        residual = rows["residual"].where(~rows["converged"].astype(bool), 0.0).fillna(math.inf)
        known = {
            EIGENVALUE.column: (rows["eigenvalue"], residual),
            DESCENT[0]: (
                rows.get("descent_eigenvalue", rows["eigenvalue"]),
                rows.get("descent_residual", residual),
            ),
        }
        for column, (values, errors) in known.items():
            for (key, folder, status), value, error in zip(self._fates, values, errors, strict=True):
                if status != "completed":
                    yield key, folder, status, None
                elif error > RESIDUAL_LIMIT:
                    yield key, folder, DOUBTFUL[0], column
                elif value <= 0:
                    yield key, folder, DOUBTFUL[1], column

    def points(self, metric: Metric) -> CellMeans:
        """`x`, log2 of the eigenvalue, and `y`, a metric, of completed trials of all regimes."""
        if metric.column not in self._points:
            rows = self.trials[self.trials["status"] == "completed"]
            columns = {"x": EIGENVALUE.scaled(rows["eigenvalue"]), "y": metric.scaled(rows[metric.column])}
            self._points[metric.column] = cell_means(rows, columns, len(self.all_seeds))
        return self._points[metric.column]
