"""Evidence from one study's trials for one claim: which cells, which contrast, which p-values.

Everything is about cells, the settings of SGD (regime, batch size, momentum), and has the seeds as
paired blocks: a table of S seeds x J cells. Most evidence is a contrast of cell means, such as a
slope. A contrast is tested in two ways, and a verdict needs both:

1. the randomised-block analysis: the error is the residual of seed + cell, with (S-1)(J-1) degrees
   of freedom; this p-value goes through Holm's correction over the claims;
2. the seeds themselves: one contrast a seed, and Student's t over the seeds (S-1 degrees of
   freedom), which holds however unequal the cells' spreads are.

docs/reading-the-report.md says the same for readers, with the margins.
"""

from __future__ import annotations

import itertools
import math
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy import special, stats

from tfsgd.results import attack_column, curves

Array = NDArray[np.float64]
Cell = tuple[str, int, float]  # regime of the paper, batch size, momentum
Points = tuple[pd.DataFrame, list[pd.DataFrame]]  # x, y, train_loss by cell; and for each seed

ALPHA = 0.05
MIN_SEEDS = 3
MIN_BATCH_SIZES = 3
MIN_CELLS = 8  # for a rank correlation
ACCURACY_MARGIN = 0.02  # "almost constant" and "on the floor"
EIGENVALUE_MARGIN = math.log2(1.5)
LARGE_BATCH_SIZE = 512
RESIDUAL_LIMIT = 0.1  # an eigenvalue that is known worse than this decides nothing
BAD = ("diverged", "collapsed")
DOUBTFUL = ("with λ1 not converged", "with λ1 <= 0")
ZERO = 1e-9  # below any real accuracy or log2 eigenvalue difference

REGIMES = ("LR", "LR/BS", "Benchmark")
BASE_MOMENTUM = {"LR": 0.0, "LR/BS": 0.0, "Benchmark": 0.9}


# What is measured


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


@dataclass(frozen=True)
class Evidence:
    """What the data say about one claim, before Holm's correction.

    `effect`, `low` and `high` are in `unit`: points of accuracy, or a factor of the eigenvalue.
    `agrees_for` and `agrees_against`: the seeds' own intervals show it too.
    """

    effect: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str = ""
    p_for: float | None = None
    p_against: float | None = None
    agrees_for: bool = False
    agrees_against: bool = False
    seeds: int = 0
    cells: int = 0
    n: str = ""
    obstacle: str = ""  # why nothing definite can be said
    floor: bool = False
    spoilt: str = ""  # diverged or collapsed trials in the range
    detail: str = ""

    @property
    def p(self) -> float | None:
        """Two-sided: the claim may be right or wrong."""
        if self.p_for is None or self.p_against is None or self.obstacle:
            return None
        return min(1.0, 2 * min(self.p_for, self.p_against))


# Cells


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


# Contrasts


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of cell means: its estimate, the seeds' 95 % interval, and one-sided p-values."""

    estimate: float
    low: float
    high: float
    p_greater: float  # for "it is above zero"
    p_less: float


def contrast(table: Array, weights: Array, above: float = 0.0, level: float = 0.95) -> Contrast:
    """Tests whether a contrast of the columns of a (seeds, cells) table lies above or below a value.

    The p-values are those of the randomised block design (Montgomery, Design and Analysis of
    Experiments, chapter 4); the interval is Student's over one contrast a seed.
    """
    seeds, cells = table.shape
    of_seed = table @ weights
    estimate = float(of_seed.mean())
    residual = table - table.mean(0) - table.mean(1, keepdims=True) + table.mean()
    freedom = (seeds - 1) * (cells - 1)
    error = math.sqrt(float((residual**2).sum()) / freedom * float((weights**2).sum()) / seeds)
    half = _t_quantile((1 + level) / 2, seeds - 1) * float(of_seed.std(ddof=1)) / math.sqrt(seeds)
    distance = estimate - above
    if abs(distance) < ZERO:
        return Contrast(estimate, estimate - half, estimate + half, 1.0, 1.0)
    statistic = distance / max(error, ZERO * abs(distance))
    return Contrast(
        estimate,
        estimate - half,
        estimate + half,
        float(special.stdtr(freedom, -statistic)),
        float(special.stdtr(freedom, statistic)),
    )


def _t_quantile(probability: float, freedom: int) -> float:
    """Student's t, without the overhead of scipy.stats.t."""
    return float(special.stdtrit(freedom, probability))


def _slope(x: Array) -> Array:
    """Weights whose contrast is the least-squares slope against x."""
    centred = x - x.mean()
    return np.asarray(centred / (centred**2).sum())


def _ordered(table: Array, sign: int) -> bool:
    """Page's test: the columns rise (sign 1) or fall (-1) from left to right, seed by seed, p < 0.05.

    Two columns have no order beyond their difference, which the contrast tests already.
    """
    if table.shape[1] < 3:
        return True
    return bool(stats.page_trend_test(sign * table).pvalue < ALPHA)


# Kinds of evidence


def _size(table: Array, cells: Sequence[Cell]) -> dict[str, Any]:
    return {"seeds": table.shape[0], "cells": table.shape[1], "n": _n(table.shape[0], cells)}


def _n(seeds: int, cells: Sequence[Cell]) -> str:
    sizes = sorted({b for _, b, _ in cells})
    momenta = sorted({m for _, _, m in cells})
    regimes = {r for r, _, _ in cells}
    span = (
        f"{len(sizes)} batch sizes ({sizes[0]}-{sizes[-1]})" if len(sizes) > 1 else f"batch size {sizes[0]}"
    )
    parts = [f"{seeds} {'seed' if seeds == 1 else 'seeds'}", span]
    parts += [f"{len(momenta)} momenta"] if len(momenta) > 1 else []
    parts += [f"{len(regimes)} regimes"] if len(regimes) > 1 else []
    return " x ".join(parts)


def _shortfall(seeds: int, sizes: int) -> str:
    """Why there are too few seeds or batch sizes for statistics; empty if there are enough."""
    lacking = [f"{seeds} of at least {MIN_SEEDS} seeds"] if seeds < MIN_SEEDS else []
    lacking += [f"{sizes} of at least {MIN_BATCH_SIZES} batch sizes"] if sizes < MIN_BATCH_SIZES else []
    return " and ".join(lacking)


def _sizes_of(cells: Sequence[Cell]) -> int:
    return len({b for _, b, _ in cells})


def _on_floor(values: Array, metric: Metric, chance: float) -> bool:
    """Every cell mean is within 2 points of 0 or of chance: nothing can be told apart."""
    if metric.is_eigenvalue or values.size == 0:
        return False
    means = values.mean(0)
    near = (means <= ACCURACY_MARGIN + ZERO) | (abs(means - chance) <= ACCURACY_MARGIN + ZERO)
    return bool(near.all())


def _shown(metric: Metric, value: float) -> float:
    """Points of accuracy, or a factor of the eigenvalue."""
    return float(2**value) if metric.is_eigenvalue else 100 * value


def _unit(metric: Metric, per: str) -> str:
    return f"factor {per}".strip() if metric.is_eigenvalue else f"points {per}".strip()


def _contrast_evidence(
    cells: Cells,
    metric: Metric,
    wanted: Sequence[Cell],
    weights: Array,
    sign: int,
    per: str,
    order: Callable[[Array], Array] | None = None,
    sizes: int | None = None,
) -> Evidence:
    """Evidence that a contrast has a sign.

    Args:
        order: gives the (seeds, levels) table that must be ordered too.
        sizes: how many batch sizes the regimes have, where the contrast leaves some of them out.
    """
    table = cells.table(metric, wanted)
    size = _size(table, wanted)
    spoilt = cells.spoilt(metric, _range_of(wanted))
    if len(table) == 0:
        return Evidence(obstacle="no seed has all of the cells", spoilt=spoilt, **size)
    estimate = float((table @ weights).mean())
    base = Evidence(
        effect=_shown(metric, estimate),
        unit=_unit(metric, per),
        floor=_on_floor(table, metric, cells.chance),
        spoilt=spoilt,
        **size,
    )
    shortfall = _shortfall(len(table), sizes or _sizes_of(wanted))
    if shortfall:
        return replace(base, obstacle=shortfall)
    c = contrast(table, weights)
    up, down = c.low > 0, c.high < 0
    if order is not None:
        up, down = up and _ordered(order(table), 1), down and _ordered(order(table), -1)
    toward, away = (c.p_greater, c.p_less) if sign > 0 else (c.p_less, c.p_greater)
    return replace(
        base,
        low=_shown(metric, c.low),
        high=_shown(metric, c.high),
        p_for=toward,
        p_against=away,
        agrees_for=up if sign > 0 else down,
        agrees_against=down if sign > 0 else up,
    )


def _range_of(wanted: Sequence[Cell]) -> Callable[[Cell], bool]:
    """All cells of the same regimes and momenta, so also those that dropped out of a table."""
    kinds = {(r, m) for r, _, m in wanted}
    return lambda cell: (cell[0], cell[2]) in kinds


def _nothing(cells: Cells, metric: Metric, what: str) -> Evidence:
    if metric.column not in cells.trials:
        what = (
            f"no trial was attacked with {metric.attack} at ε = {metric.epsilon:g}" if metric.attack else what
        )
    return Evidence(obstacle=what)


def batch_trend(regime: str, sign: int) -> Callable[[Cells, Metric], Evidence]:
    """The metric rises (sign 1) or falls (-1) with the batch size under a regime."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        wanted = _batch_cells(cells, metric, regime)
        if len(wanted) < 2:
            return _too_few_sizes(cells, metric, regime, wanted)
        sizes = np.log2([b for _, b, _ in wanted])
        return _contrast_evidence(
            cells, metric, wanted, _slope(sizes), sign, "per doubling", order=lambda t: t
        )

    return evidence


def _batch_cells(cells: Cells, metric: Metric, regime: str) -> list[Cell]:
    momentum = BASE_MOMENTUM[regime]
    candidates: list[Cell] = [(regime, b, momentum) for b in cells.batch_sizes(regime, momentum)]
    return [cell for cell in candidates if cells.enough(metric, cell)]


def _too_few_sizes(cells: Cells, metric: Metric, regime: str, wanted: Sequence[Cell]) -> Evidence:
    momentum = BASE_MOMENTUM[regime]
    found = f"{len(wanted)} of at least {MIN_BATCH_SIZES} batch sizes" if wanted else "no trial"
    spoilt = cells.spoilt(metric, lambda cell: (cell[0], cell[2]) == (regime, momentum))
    return replace(_nothing(cells, metric, f"{regime} at momentum {momentum:g}: {found}"), spoilt=spoilt)


def _pairs_within(
    cells: Cells, metric: Metric, wanted: Sequence[Cell], levels: Sequence[Any], members: Array, what: str
) -> Evidence:
    """Evidence that no two levels differ by more than the margin.

    Two one-sided tests (Schuirmann 1987) for every pair of levels; all must pass (an
    intersection-union test, Berger 1982), so no correction over the pairs is needed for it. That some
    pair lies beyond the margin is tested with Bonferroni's correction over the pairs.

    Args:
        members: (levels, cells) weights; row i averages the cells of level i.
    """
    table = cells.table(metric, wanted)
    size = _size(table, wanted)
    spoilt = cells.spoilt(metric, _range_of(wanted))
    if len(table) == 0:
        return Evidence(obstacle="no seed has all of the cells", spoilt=spoilt, **size)
    pairs = list(itertools.combinations(range(len(levels)), 2))
    means = members @ table.mean(0)
    first, second = max(pairs, key=lambda pair: abs(means[pair[1]] - means[pair[0]]))
    base = Evidence(
        effect=_shown(metric, float(means[second] - means[first])),
        unit=_unit(metric, f"between {what} {levels[first]:g} and {levels[second]:g}, the widest pair"),
        floor=_on_floor(table, metric, cells.chance),
        spoilt=spoilt,
        **size,
    )
    shortfall = _shortfall(len(table), _sizes_of(wanted))
    if shortfall:
        return replace(base, obstacle=shortfall)
    p_within, p_beyond = 0.0, 1.0
    agrees_within, agrees_beyond = True, False
    for i, j in pairs:
        weights = members[j] - members[i]
        above, below = contrast(table, weights, metric.margin), contrast(table, weights, -metric.margin)
        p_within = max(p_within, above.p_less, below.p_greater)
        p_out = min(1.0, 2 * len(pairs) * min(above.p_greater, below.p_less))
        wide, narrow = above, contrast(table, weights, level=1 - 2 * ALPHA)
        agrees_within &= -metric.margin < narrow.low and narrow.high < metric.margin
        if p_out < p_beyond:
            p_beyond = p_out
            agrees_beyond = wide.low > metric.margin or wide.high < -metric.margin
    widest = contrast(table, members[second] - members[first])
    return replace(
        base,
        low=_shown(metric, widest.low),
        high=_shown(metric, widest.high),
        p_for=p_within,
        p_against=p_beyond,
        agrees_for=agrees_within,
        agrees_against=agrees_beyond,
    )


def batch_constant(regime: str) -> Callable[[Cells, Metric], Evidence]:
    """Any two batch sizes give the same metric within the margin."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        wanted = _batch_cells(cells, metric, regime)
        if len(wanted) < 2:
            return _too_few_sizes(cells, metric, regime, wanted)
        return _pairs_within(
            cells, metric, wanted, [b for _, b, _ in wanted], np.eye(len(wanted)), "batch sizes"
        )

    return evidence


def lower_at_large_batches(other: str) -> Callable[[Cells, Metric], Evidence]:
    """The metric is lower under LR/BS than under another regime, over the large batch sizes of both."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        sizes = [
            b
            for _, b, _ in _batch_cells(cells, metric, "LR/BS")
            if b >= LARGE_BATCH_SIZE and cells.enough(metric, (other, b, BASE_MOMENTUM[other]))
        ]
        if not sizes:
            return _nothing(
                cells, metric, f"no batch size of {LARGE_BATCH_SIZE} or more under both LR/BS and {other}"
            )
        wanted: list[Cell] = [("LR/BS", b, BASE_MOMENTUM["LR/BS"]) for b in sizes]
        wanted += [(other, b, BASE_MOMENTUM[other]) for b in sizes]
        weights = np.repeat([1.0, -1.0], len(sizes)) / len(sizes)
        per = f"under LR/BS against {other}"
        trained = {*cells.batch_sizes("LR/BS", 0.0)} & {*cells.batch_sizes(other, BASE_MOMENTUM[other])}
        return _contrast_evidence(cells, metric, wanted, weights, -1, per, sizes=len(trained))

    return evidence


# Momentum


def _momentum_levels(
    cells: Cells, metric: Metric, regimes: Sequence[str], unshared: bool
) -> tuple[list[int], list[float]]:
    """The batch sizes and momenta that all of the regimes have under enough seeds."""

    def there(b: int, m: float) -> bool:
        return all(cells.enough(metric, (r, b, m)) for r in regimes) and not (
            unshared and cells.is_shared(b, m)
        )

    momenta = sorted(set.intersection(*(set(cells.momenta(r)) for r in regimes)))
    sizes = sorted({b for r in regimes for m in momenta for b in cells.batch_sizes(r, m)})
    need = min(MIN_BATCH_SIZES, max((sum(there(b, m) for b in sizes) for m in momenta), default=0))
    momenta = [m for m in momenta if need and sum(there(b, m) for b in sizes) >= need]
    return [b for b in sizes if all(there(b, m) for m in momenta)], momenta


def _momentum_cells(regime: str, sizes: Sequence[int], momenta: Sequence[float]) -> list[Cell]:
    return [(regime, b, m) for m in momenta for b in sizes]


def _momentum_weights(sizes: Sequence[int], momenta: Sequence[float]) -> Array:
    """Slope per 0.1 of momentum, averaged over the batch sizes; in the order of `_momentum_cells`."""
    return np.repeat(0.1 * _slope(np.array(momenta)) / len(sizes), len(sizes))


def _no_momenta(cells: Cells, metric: Metric, regimes: Sequence[str], sizes: int, momenta: int) -> Evidence:
    both = " and ".join(regimes)
    what = f"{both}: {momenta} of at least 2 momenta at {sizes} of at least {MIN_BATCH_SIZES} batch sizes"
    return _nothing(cells, metric, what)


def momentum_trend(regime: str, sign: int) -> Callable[[Cells, Metric], Evidence]:
    """The metric rises (sign 1) or falls (-1) with momentum, on average over the batch sizes."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        sizes, momenta = _momentum_levels(cells, metric, [regime], unshared=False)
        if not sizes or len(momenta) < 2:
            return _no_momenta(cells, metric, [regime], len(sizes), len(momenta))
        wanted = _momentum_cells(regime, sizes, momenta)

        def by_momentum(table: Array) -> Array:
            return np.asarray(table.reshape(len(table), len(momenta), len(sizes)).mean(2))

        weights = _momentum_weights(sizes, momenta)
        return _contrast_evidence(cells, metric, wanted, weights, sign, "per 0.1 of momentum", by_momentum)

    return evidence


def momentum_constant(regime: str) -> Callable[[Cells, Metric], Evidence]:
    """Any two momenta give the same metric within the margin, on average over the batch sizes."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        sizes, momenta = _momentum_levels(cells, metric, [regime], unshared=False)
        if not sizes or len(momenta) < 2:
            return _no_momenta(cells, metric, [regime], len(sizes), len(momenta))
        wanted = _momentum_cells(regime, sizes, momenta)
        members = np.kron(np.eye(len(momenta)), np.full(len(sizes), 1 / len(sizes)))
        return _pairs_within(cells, metric, wanted, momenta, members, "momenta")

    return evidence


def momentum_matters_more(cells: Cells, metric: Metric) -> Evidence:
    """The slope against momentum is larger in size under LR than under LR/BS.

    |a| > |c| is shown when s(a - c) > 0 and s(a + c) > 0 for one sign s: both must pass, and the
    smaller p-value of the two signs is doubled. The batch sizes that both regimes share are left out.
    """
    regimes = ["LR", "LR/BS"]
    if not all(cells.momenta(r) for r in regimes):
        return _nothing(cells, metric, "it needs LR and LR/BS")
    sizes, momenta = _momentum_levels(cells, metric, regimes, unshared=True)
    if not sizes or len(momenta) < 2:
        return _no_momenta(cells, metric, regimes, len(sizes), len(momenta))
    wanted = _momentum_cells("LR", sizes, momenta) + _momentum_cells("LR/BS", sizes, momenta)
    one = _momentum_weights(sizes, momenta)
    difference, total = np.concatenate([one, -one]), np.concatenate([one, one])
    base = _contrast_evidence(cells, metric, wanted, difference, 1, "per 0.1 of momentum, LR against LR/BS")
    if base.effect is None:
        return base
    table = cells.table(metric, wanted)
    slopes = [float((table @ np.concatenate(pair)).mean()) for pair in ([one, 0 * one], [0 * one, one])]
    under = [
        f"{_shown(metric, slope):.3g} under {regime}" for slope, regime in zip(slopes, regimes, strict=True)
    ]
    base = replace(base, detail=f"slopes: {', '.join(under)}")
    if base.obstacle:
        return base
    d, t = contrast(table, difference), contrast(table, total)
    p_for = 2 * min(max(d.p_greater, t.p_greater), max(d.p_less, t.p_less))
    p_against = 2 * min(max(d.p_less, t.p_greater), max(d.p_greater, t.p_less))
    return replace(
        base,
        p_for=min(1.0, p_for),
        p_against=min(1.0, p_against),
        agrees_for=(d.low > 0 and t.low > 0) or (d.high < 0 and t.high < 0),
        agrees_against=(d.high < 0 and t.low > 0) or (d.low > 0 and t.high < 0),
    )


# Eigenvalue and robustness


def both_rise(regime: str) -> Callable[[Cells, Metric], Evidence]:
    """The eigenvalue and the adversarial accuracy both rise with the batch size."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        robustness = batch_trend(regime, 1)(cells, metric)
        curvature = batch_trend(regime, 1)(cells, EIGENVALUE)
        spoilt = ", ".join(
            dict.fromkeys(filter(None, [*robustness.spoilt.split(", "), *curvature.spoilt.split(", ")]))
        )
        joint = replace(robustness, spoilt=spoilt, obstacle=robustness.obstacle or curvature.obstacle)
        if curvature.effect is not None:
            joint = replace(joint, detail=f"λ1: factor {curvature.effect:.3g} per doubling")
        if robustness.p_for is None or robustness.p_against is None:
            return joint
        if curvature.p_for is None or curvature.p_against is None:
            return replace(joint, p_for=None, p_against=None)
        weaker = robustness if robustness.p_against <= curvature.p_against else curvature
        return replace(
            joint,
            p_for=max(robustness.p_for, curvature.p_for),
            p_against=min(1.0, 2 * min(robustness.p_against, curvature.p_against)),
            agrees_for=robustness.agrees_for and curvature.agrees_for,
            agrees_against=weaker.agrees_against,
        )

    return evidence


def rank_correlation(
    x: Array, y: Array, strata: Sequence[str], given: Array | None = None
) -> tuple[float, int]:
    """Spearman's correlation within strata, and its degrees of freedom.

    Ranks are taken within each stratum and scaled to its size; with `given`, what its ranks explain
    linearly is removed from both (the partial rank correlation).
    """
    labels = np.array(strata)
    columns = [_ranks_within(values, labels) for values in (x, y, *([] if given is None else [given]))]
    a, b, *rest = columns
    for z in rest:
        if (z @ z) > 0:
            a, b = a - z * (a @ z) / (z @ z), b - z * (b @ z) / (z @ z)
    scale = math.sqrt(float((a @ a) * (b @ b)))
    freedom = len(x) - len(set(strata)) - 1 - len(rest)
    return (float(a @ b) / scale if scale > ZERO else 0.0), freedom


def _ranks_within(values: Array, labels: NDArray[np.str_]) -> Array:
    ranks = np.zeros(len(values))
    for label in np.unique(labels):
        inside = labels == label
        ranked = stats.rankdata(values[inside])
        ranks[inside] = (ranked - ranked.mean()) / inside.sum()
    return ranks


def explains(within: bool, given_loss: bool) -> Callable[[Cells, Metric], Evidence]:
    """A higher eigenvalue goes with a lower adversarial accuracy: rank correlation of cell means."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        if metric.column not in cells.trials:
            return _nothing(cells, metric, "it needs an attack")
        means, seeds = cells.points(metric)
        spoilt = cells.spoilt(EIGENVALUE)
        n = f"{len(means)} cells, {len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}"
        base = Evidence(unit="rank correlation", seeds=len(seeds), cells=len(means), n=n, spoilt=spoilt)
        if len(means) < MIN_CELLS:
            return replace(base, obstacle=f"{len(means)} of at least {MIN_CELLS} cells")
        rho, freedom = _correlation(means, within, given_loss)
        if freedom < 3:
            return replace(base, obstacle="too few cells in each regime")
        base = replace(base, effect=rho, floor=_on_floor(means["y"].to_numpy()[None], metric, cells.chance))
        shortfall = _shortfall(len(seeds), means["batch_size"].nunique())
        if shortfall:
            return replace(base, obstacle=shortfall)
        low, high = _fisher_interval(rho, freedom)
        p_less = float(special.stdtr(freedom, _correlation_statistic(rho, freedom)))
        down, up = _seeds_agree(seeds, within, given_loss)
        return replace(
            base, low=low, high=high, p_for=p_less, p_against=1 - p_less, agrees_for=down, agrees_against=up
        )

    return evidence


def _correlation(rows: pd.DataFrame, within: bool, given_loss: bool) -> tuple[float, int]:
    strata = list(rows["regime"]) if within else [""] * len(rows)
    given = rows["train_loss"].to_numpy() if given_loss else None
    return rank_correlation(rows["x"].to_numpy(), rows["y"].to_numpy(), strata, given)


def _correlation_statistic(rho: float, freedom: int) -> float:
    return rho * math.sqrt(freedom / max(1 - rho**2, ZERO))


def _fisher_interval(rho: float, freedom: int) -> tuple[float, float]:
    """Fieller, Hartley and Pearson 1957: atanh of Spearman's rho has variance 1.06 / (n - 3)."""
    centre = math.atanh(max(-1 + ZERO, min(1 - ZERO, rho)))
    half = 1.96 * math.sqrt(1.06 / max(freedom - 1, 1))
    return math.tanh(centre - half), math.tanh(centre + half)


def _seeds_agree(seeds: Sequence[pd.DataFrame], within: bool, given_loss: bool) -> tuple[bool, bool]:
    """Whether the correlation is below zero, or above, by Student's t over one correlation a seed."""
    found = [_correlation(rows, within, given_loss) for rows in seeds if len(rows) >= MIN_CELLS]
    of_seed = np.arctanh(np.clip([rho for rho, freedom in found if freedom >= 3], -0.999, 0.999))
    if len(of_seed) < MIN_SEEDS:
        return False, False
    half = _t_quantile(0.975, len(of_seed) - 1) * of_seed.std(ddof=1) / math.sqrt(len(of_seed))
    mean = of_seed.mean()
    return bool(mean + half < 0), bool(mean - half > 0)
