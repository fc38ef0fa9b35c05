"""One study's trials by cell and seed: what can be compared, and what stands in the way."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfsgd.reporting.paper import (
    ACCURACY_MARGIN,
    BAD,
    DOUBTFUL,
    EIGENVALUE_MARGIN,
    MIN_SEEDS,
    REGIMES,
    RESIDUAL_LIMIT,
)
from tfsgd.reporting.statistics import Array
from tfsgd.reporting.studies import attack_column, curves

Cell = tuple[str, int, float]  # regime of the paper, batch size, momentum


Points = tuple[pd.DataFrame, list[pd.DataFrame]]  # x, y, train_loss by cell; and for each seed


@dataclass(frozen=True)
class Metric:
    """A column of the trials and the scale on which it is judged: accuracy, or log2 of the eigenvalue."""

    column: str
    name: str
    attack: str | None = None
    epsilon: float | None = None

    @property
    def is_eigenvalue(self) -> bool:
        return self.column == "eigenvalue"

    @property
    def margin(self) -> float:
        return EIGENVALUE_MARGIN if self.is_eigenvalue else ACCURACY_MARGIN

    def scaled(self, values: pd.Series) -> pd.Series:
        """Accuracy as it is; log2 of the eigenvalue, NaN where it is not positive."""
        return np.log2(values.where(values > 0)) if self.is_eigenvalue else values


NATURAL = Metric("test_accuracy", "natural accuracy")


EIGENVALUE = Metric("eigenvalue", "λ1")


def attacked(attack: str, epsilon: float) -> Metric:
    return Metric(attack_column(attack, epsilon), f"{attack.upper()} accuracy", attack, epsilon)


def paper_regimes(trials: pd.DataFrame) -> dict[str, str]:
    """The labels in the records that stand for the paper's LR, LR/BS and Benchmark.

    A regime is known by what it does with the learning rate, not by its label; where several do the
    same, the one with the paper's label is taken, or else the first.
    """
    kinds: dict[str, list[str]] = {}
    for label, rows in curves(trials).groupby("regime", sort=False):
        kinds.setdefault(_kind(str(label), rows), []).append(str(label))
    return {kind: kind if kind in kinds[kind] else kinds[kind][0] for kind in REGIMES if kind in kinds}


def _kind(label: str, rows: pd.DataFrame) -> str:
    rates = rows["learning_rate"]
    ratios = rates / rows["batch_size"]
    constant_rate = np.isclose(rates, rates.iloc[0], rtol=1e-9).all()
    if rows["halve_every_epochs"].notna().all():
        return "Benchmark" if constant_rate else "other"
    if rows["halve_every_epochs"].notna().any():
        return "other"
    if rows["batch_size"].nunique() == 1:
        return label if label in ("LR", "LR/BS") else "other"
    if constant_rate:
        return "LR"
    return "LR/BS" if np.isclose(ratios, ratios.iloc[0], rtol=1e-9).all() else "other"


class Cells:
    """One study's trials by cell and seed, for the paper's three regimes."""

    def __init__(self, trials: pd.DataFrame, chance: float) -> None:
        self.trials = trials
        self.chance = chance
        self.labels = paper_regimes(trials)
        names = {label: kind for kind, label in self.labels.items()}
        rows = curves(trials)
        rows["regime"] = [names.get(label, f"other: {label}") for label in rows["regime"]]
        self.rows = rows
        self._keys = list(zip(rows["regime"], rows["batch_size"], rows["momentum"], strict=True))
        self._troubles = list(self._find_troubles())
        self._points: dict[str, Points] = {}
        self._seeds = list(rows["seed"])
        self._completed = (rows["status"] == "completed").to_numpy()
        self._values: dict[str, dict[Cell, dict[int, float]]] = {}
        self.all_seeds = sorted(set(self._seeds))
        rates = dict(zip(self._keys, rows["learning_rate"], strict=True))
        self._shared = {
            key[1:] for key in rates if key[0] == "LR" and rates.get(("LR/BS", *key[1:])) == rates[key]
        }

    def values(self, metric: Metric) -> dict[Cell, dict[int, float]]:
        """Cell -> seed -> value on the metric's scale, of completed trials only."""
        if metric.column not in self._values:
            result: dict[Cell, dict[int, float]] = {}
            if metric.column in self.rows:
                scaled = metric.scaled(self.rows[metric.column]).to_numpy()
                for key, seed, value, completed in zip(
                    self._keys, self._seeds, scaled, self._completed, strict=True
                ):
                    if completed and math.isfinite(value):
                        result.setdefault(key, {})[seed] = float(value)
            self._values[metric.column] = result
        return self._values[metric.column]

    def batch_sizes(self, regime: str, momentum: float) -> list[int]:
        """All that were trained, whatever became of them."""
        return sorted({b for r, b, m in self._keys if (r, m) == (regime, momentum)})

    def momenta(self, regime: str) -> list[float]:
        return sorted({m for r, _, m in self._keys if r == regime})

    def is_shared(self, batch_size: int, momentum: float) -> bool:
        """LR and LR/BS are one and the same trial there."""
        return (batch_size, momentum) in self._shared

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
        found = {(folder, what): what for key, folder, what in self._troubles if wanted(key)}
        counts = Counter(found.values())
        kinds = (*BAD, *(DOUBTFUL if metric.is_eigenvalue else ()))
        return ", ".join(f"{counts[what]} {what}" for what in kinds if counts[what])

    def _find_troubles(self) -> Iterator[tuple[Cell, str, str]]:
        columns = ["folder", "status", "eigenvalue", "residual", "converged"]
        for key, row in zip(self._keys, self.rows[columns].itertuples(index=False, name=None), strict=True):
            folder, status, eigenvalue, residual, converged = row
            if status != "completed":
                yield key, folder, status
            elif not converged and not residual <= RESIDUAL_LIMIT:
                yield key, folder, DOUBTFUL[0]
            elif eigenvalue <= 0:
                yield key, folder, DOUBTFUL[1]

    def points(self, metric: Metric) -> Points:
        """log2 of the eigenvalue against a metric, for completed trials of all regimes."""
        if metric.column not in self._points:
            rows = self.trials[self.trials["status"] == "completed"]
            x, y = EIGENVALUE.scaled(rows["eigenvalue"]), metric.scaled(rows[metric.column])
            keys = ["regime", "batch_size", "momentum", "learning_rate"]
            table = (
                rows[[*keys, "seed", "train_loss"]].assign(x=x, y=y).dropna(subset=["x", "y", "train_loss"])
            )
            means = table.groupby(keys, as_index=False)[["x", "y", "train_loss"]].mean()
            self._points[metric.column] = means, [of_seed for _, of_seed in table.groupby("seed")]
        return self._points[metric.column]
