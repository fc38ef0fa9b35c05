"""One study's trials by cell and seed: what can be compared, and which trials cannot be counted."""

from __future__ import annotations

import copy
import math
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import pandas as pd

from tfsgd.reporting.paper import BAD, DOUBTFUL, MIN_SEEDS, RESIDUAL_LIMIT
from tfsgd.reporting.statistics import Array
from tfsgd.reporting.table.cell import Cell, CellFilter, any_cell
from tfsgd.reporting.table.checks import SAID
from tfsgd.reporting.table.metrics import DESCENT, EIGENVALUE, RATIO, Metric
from tfsgd.reporting.table.regime_labels import (
    NOBODY,
    expand_by_regime,
    paper_regimes,
    regimes_of,
    with_first_regime,
)


class Cells:
    """One study's trials by cell and seed, for the paper's three regimes and all others.

    Args:
        trials: one row a trial, with the columns of `Study.trials`.
        chance: the accuracy of guessing.
        plays: as of `regimes_of`.
    """

    def __init__(self, trials: pd.DataFrame, chance: float, plays: Mapping[str, str] = NOBODY) -> None:
        self.chance = chance
        regimes = regimes_of(trials, plays)
        names = {regime.name: kind for kind, regime in paper_regimes(regimes).items()}
        self.trials = with_first_regime(trials, regimes)
        rows = expand_by_regime(trials, regimes)
        rows["regime"] = [names.get(name, f"other: {name}") for name in rows["regime"]]
        self.of_label: dict[str, str] = {}  # the first regime with each label
        for regime in regimes:
            self.of_label.setdefault(regime.label, names.get(regime.name, f"other: {regime.name}"))
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
        self._invalid = list(self._find_invalid())
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

    def has(self, metric: Metric) -> bool:
        """Whether it was measured on any trial."""
        return metric.column in self.rows and bool(self.rows[metric.column].notna().any())

    def bad_trials(self, concerns: CellFilter) -> dict[int, Counter[str]]:
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
        """Cell -> seed -> value on the metric's scale, of completed trials only; the mean over orders of the batches."""
        column = metric.column
        if column not in self._values:
            found: dict[Cell, dict[int, list[float]]] = {}
            if column in self.rows:
                scaled = metric.scaled(self.rows[column]).to_numpy()
                for key, seed, value, completed in zip(
                    self.all_cells, self._seeds, scaled, self._completed, strict=True
                ):
                    if completed and math.isfinite(value):
                        found.setdefault(key, {}).setdefault(seed, []).append(float(value))
            self._values[column] = {
                cell: {seed: statistics.fmean(values) for seed, values in of_cell.items()}
                for cell, of_cell in found.items()
            }
        return self._values[column]

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

    def invalid_trials(self, metric: Metric, wanted: CellFilter = any_cell) -> dict[str, int]:
        """What in a claim's range forbids a definite verdict -> in how many trials."""
        of = RATIO if metric.column in DESCENT else metric
        found = {
            (folder, what): what
            for key, folder, what, concerned in self._invalid
            if wanted(key) and concerned in (None, of.column)
        }
        counts = Counter(found.values())
        return {what: counts[what] for what in (*BAD, *DOUBTFUL) if counts[what]}

    def doubts(self, metric: Metric, wanted: CellFilter = any_cell) -> str:
        """`trials that fail a check: 2 of 9: noise breaks more than PGD (masked gradients)`; empty: none fails one that
        concerns the metric."""
        attack, columns = (
            metric.attack,
            zip(
                self.all_cells, self.rows["folder"], self.rows["failed_checks"], self._completed, strict=True
            ),
        )
        if attack is None:
            return ""
        trials = {folder: failed for key, folder, failed, completed in columns if completed and wanted(key)}
        counts = Counter(
            name for of in trials.values() for name in {c.name for c in of if c.concerns(attack)}
        )
        said = sorted((*SAID[name], count) for name, count in counts.items())
        words = "; ".join(f"{count} of {len(trials)}: {what} ({sign})" for sign, what, count in said)
        return f"trials that fail a check: {words}" if words else ""

    def _find_invalid(self) -> Iterator[tuple[Cell, str, str, str | None]]:
        """Cell, trial, what is wrong with it, and the column that alone is concerned; `None`: all are."""
        rows = self.rows
        eigenvalue = rows.get(EIGENVALUE.column, pd.Series(math.nan, rows.index))
        residual = rows["residual"].where(~rows["converged"].astype(bool), 0.0).fillna(math.inf)
        descent = rows.get("descent_eigenvalue", rows["eigenvalue"])
        known = {EIGENVALUE: (eigenvalue, residual), RATIO: (descent, rows.get("descent_residual", residual))}
        for metric, (values, errors) in known.items():
            for (key, folder, status), value, error in zip(self._fates, values, errors, strict=True):
                if status != "completed":
                    yield key, folder, status, None
                elif error > RESIDUAL_LIMIT:
                    yield key, folder, DOUBTFUL[0], metric.column
                elif value <= 0:
                    yield key, folder, DOUBTFUL[1], metric.column
