"""One study's trials by cell and seed: what can be compared, and which trials cannot be counted."""

from __future__ import annotations

import copy
import math
import statistics
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pandas as pd

from tfsgd.reporting.paper import BAD, DOUBTFUL, MIN_SEEDS, RESIDUAL_LIMIT
from tfsgd.reporting.statistics import Array
from tfsgd.reporting.table.checks import CHECKS
from tfsgd.reporting.table.columns import DESCENT, EIGENVALUE, RATIO, Metric, is_measured
from tfsgd.reporting.table.regime_labels import NO_RULES, Rules, expand_by_regime, paper_regimes, regimes_of


class Cell(NamedTuple):
    """One setting of SGD; its trials differ in the seed alone.

    The regime fixes the learning rate of each batch size, its decay and the length of the training.
    """

    regime: str  # of the paper, or `other: name`
    batch_size: int
    momentum: float


CellFilter = Callable[[Cell], bool]


class Cells:
    """One study's trials by cell and seed, for the paper's three regimes and all others.

    Args:
        trials: one row a trial, with the columns of `Study.trials`.
        chance: the accuracy of guessing.
        rules: as of `regimes_of`.
    """

    def __init__(self, trials: pd.DataFrame, chance: float, rules: Rules = NO_RULES) -> None:
        self.chance = chance
        regimes = regimes_of(trials, rules)
        names = {regime.name: f"other: {regime.name}" for regime in regimes}
        names |= {regime.name: kind for kind, regime in paper_regimes(regimes).items()}
        self.of_label = {
            r.label: names[r.name] for r in reversed(regimes)
        }  # the first regime with each label
        rows = expand_by_regime(trials, rules)
        self._hold(rows.assign(regime=rows["regime"].map(names)))
        self.all_seeds = sorted(set(rows["seed"]))
        self._rates = dict(zip(self.all_cells, rows["learning_rate"], strict=True))

    def _hold(self, rows: pd.DataFrame) -> None:
        """Takes these rows, one for every trial and regime that it belongs to."""
        self.rows = rows
        self.all_cells = [*map(Cell, rows["regime"], rows["batch_size"], rows["momentum"])]
        self._fates = list(zip(self.all_cells, list(rows["folder"]), list(rows["status"]), strict=True))
        self._completed = (rows["status"] == "completed").to_numpy()
        self._invalid = list(self._find_invalid())
        self._values: dict[str, dict[Cell, dict[int, float]]] = {}
        self._views: dict[tuple[int, ...], Cells] = {}

    def only(self, batch_sizes: Sequence[int]) -> Cells:
        """These batch sizes alone, as if no other had been trained; the study's seeds stay what they are."""
        wanted = tuple(batch_sizes)
        if wanted not in self._views:
            view = copy.copy(self)
            view._hold(self.rows[self.rows["batch_size"].isin(wanted)])
            self._views[wanted] = view
        return self._views[wanted]

    def has(self, metric: Metric) -> bool:
        """Whether it was measured on any trial."""
        return is_measured(self.rows, metric.column)

    def bad_trials(self, concerns: CellFilter) -> dict[int, Counter[str]]:
        """Batch size -> status -> number of trials, where any of the cells' trials diverged or collapsed."""
        if self._completed.all():
            return {}
        fates = {(cell.batch_size, folder): fate for cell, folder, fate in self._fates if concerns(cell)}
        counts: dict[int, Counter[str]] = defaultdict(Counter)
        for (size, _), fate in fates.items():
            counts[size][fate] += 1
        return {size: count for size, count in counts.items() if any(count[kind] for kind in BAD)}

    def values(self, metric: Metric) -> dict[Cell, dict[int, float]]:
        """Cell -> seed -> value on the metric's scale, of completed trials only; the mean over orders of the batches."""
        column = metric.column
        if column not in self._values:
            found: dict[Cell, dict[int, list[float]]] = {}
            scaled = metric.scaled(self.rows[column]) if column in self.rows else self.rows["seed"] * math.nan
            seeds = list(self.rows["seed"])
            for cell, seed, value, done in zip(
                self.all_cells, seeds, scaled.to_numpy(), self._completed, strict=True
            ):
                if done and math.isfinite(value):
                    found.setdefault(cell, {}).setdefault(seed, []).append(float(value))
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
        rates = [self._rates.get(Cell(regime, batch_size, momentum)) for regime in ("LR", "LR/BS")]
        return None not in rates and rates[0] == rates[1]

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

    def invalid_trials(self, metric: Metric, wanted: CellFilter = lambda cell: True) -> dict[str, int]:
        """What in a claim's range forbids a definite verdict -> in how many trials."""
        column = RATIO.column if metric.column in DESCENT else metric.column
        found = {
            (folder, what)
            for cell, folder, what, concerned in self._invalid
            if wanted(cell) and concerned in (None, column)
        }
        counts = Counter(what for _, what in found)
        return {what: counts[what] for what in (*BAD, *DOUBTFUL) if counts[what]}

    def doubts(self, metric: Metric, wanted: CellFilter = lambda cell: True) -> str:
        """`trials that fail a check: 2 of 9: noise breaks more than PGD (masked gradients)`; empty: none fails one that
        concerns the metric."""
        if metric.attack is None:
            return ""
        checks = zip(self._fates, self.rows["failed_checks"], strict=True)
        trials = {f: of for (cell, f, fate), of in checks if fate == "completed" and wanted(cell)}
        failed = ({c.name for c in of if c.concerns(metric.attack)} for of in trials.values())
        counts = Counter(name for names in failed for name in names)
        said = sorted((CHECKS[name]["sign"], CHECKS[name]["said"], n) for name, n in counts.items())
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
            for (cell, folder, fate), value, error in zip(self._fates, values, errors, strict=True):
                if fate != "completed":
                    yield cell, folder, fate, None
                elif error > RESIDUAL_LIMIT:
                    yield cell, folder, DOUBTFUL[0], metric.column
                elif value <= 0:
                    yield cell, folder, DOUBTFUL[1], metric.column
