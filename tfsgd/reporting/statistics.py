"""Contrasts, intervals, rank correlations: pure functions of numbers."""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from tfsgd.reporting.paper import ALPHA, MIN_SEEDS, ZERO

Array = NDArray[np.float64]

ORDERS = 10_000  # permutations that a p-value rests on, or all where there are fewer
MOST_PERMUTED = 40  # cells; with more Student's t says the same


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
    low, high = map(float, student_interval(of_seed, level))
    distance = estimate - above
    if abs(distance) < ZERO:
        return Contrast(estimate, low, high, 1.0, 1.0)
    statistic = distance / max(error, ZERO * abs(distance))
    return Contrast(estimate, low, high, *t_tails(statistic, freedom))


def student_interval(values: Array, level: float = 0.95) -> tuple[Any, Any]:
    """Student's interval of the mean over the seeds, the first axis of the values."""
    seeds = len(values)
    half = special.stdtrit(seeds - 1, (1 + level) / 2) * values.std(0, ddof=1) / math.sqrt(seeds)
    return values.mean(0) - half, values.mean(0) + half


def seeds_interval(values: Array) -> tuple[float, float]:
    """Student's 95 % interval over the seeds' own values; of fewer than 3 seeds it tells nothing."""
    if len(values) < MIN_SEEDS:
        return -math.inf, math.inf
    low, high = student_interval(values)
    return float(low), float(high)


def t_tails(statistic: float, freedom: int) -> tuple[float, float]:
    """One-sided p-values of Student's t: for above, and for below."""
    return float(special.stdtr(freedom, -statistic)), float(special.stdtr(freedom, statistic))


def slope_weights(x: Array) -> Array:
    """Weights whose contrast is the least-squares slope against x."""
    centred = x - x.mean()
    return np.asarray(centred / (centred**2).sum())


def is_ordered(table: Array, sign: int) -> bool:
    """Page's test: the columns rise (sign 1) or fall (-1) from left to right, seed by seed, p < 0.05.

    Two columns have no order beyond their difference, which the contrast tests already.
    """
    if table.shape[1] < 3:
        return True
    return bool(stats.page_trend_test(sign * table).pvalue < ALPHA)


@dataclass(frozen=True)
class Correlation:
    """A rank correlation, its degrees of freedom, and one-sided p-values."""

    rho: float
    freedom: int
    p_greater: float  # for "it is above zero"
    p_less: float


def rank_correlation(
    x: Array, y: Array, strata: Sequence[str], given: Array | None = None
) -> tuple[float, int]:
    """Spearman's correlation within strata, and its degrees of freedom.

    Ranks are taken within each stratum and scaled to its size; with `given`, what its ranks explain
    linearly is removed from both (the partial rank correlation).
    """
    a, b, rest = _ranked(x, y, strata, given)
    scale = math.sqrt(float((a @ a) * (b @ b)))
    freedom = len(x) - len(set(strata)) - 1 - len(rest)
    return (float(a @ b) / scale if scale > ZERO else 0.0), freedom


def permuted_correlation(
    x: Array, y: Array, strata: Sequence[str], given: Array | None = None
) -> Correlation:
    """`rank_correlation` with its p-values: the share of the orders of y within strata that do as much.

    Of a partial correlation what `given` does not explain is reordered (Freedman and Lane 1983). The orders are all
    there are, or 10,000 drawn ones; of more than 40 observations the p-values are Student's.
    """
    rho, freedom = rank_correlation(x, y, strata, given)
    if len(x) > MOST_PERMUTED:
        statistic = rho * math.sqrt(freedom / max(1 - rho**2, ZERO))
        return Correlation(rho, freedom, *t_tails(statistic, freedom))
    a, b, rest = _ranked(x, y, strata, given)
    reordered = b[orders_within(tuple(strata))]
    size = np.full(len(reordered), float(b @ b))
    for z in rest:
        if (z @ z) > 0:
            size -= (reordered @ z) ** 2 / (z @ z)
    scale = np.sqrt(np.maximum(size * float(a @ a), 0.0))
    found = np.divide(reordered @ a, scale, out=np.zeros(len(scale)), where=scale > ZERO)
    return Correlation(rho, freedom, float((found >= rho - ZERO).mean()), float((found <= rho + ZERO).mean()))


def _ranked(
    x: Array, y: Array, strata: Sequence[str], given: Array | None
) -> tuple[Array, Array, list[Array]]:
    """Ranks of x and y without what those of `given` explain, and these."""
    labels = np.array(strata)
    columns = [_ranks_within(values, labels) for values in (x, y, *([] if given is None else [given]))]
    a, b, *rest = columns
    for z in rest:
        if (z @ z) > 0:
            a, b = a - z * (a @ z) / (z @ z), b - z * (b @ z) / (z @ z)
    return a, b, rest


@functools.lru_cache(maxsize=16)
def orders_within(strata: tuple[str, ...]) -> NDArray[np.intp]:
    """Orders `(n, len(strata))` that keep every stratum's members in its places; the first changes nothing."""
    labels = np.array(strata)
    places = [np.flatnonzero(labels == label) for label in dict.fromkeys(strata)]
    if math.prod(math.factorial(len(place)) for place in places) <= ORDERS:
        each = [[*itertools.permutations(place)] for place in places]
        orders = np.empty((math.prod(map(len, each)), len(strata)), np.intp)
        orders[:, np.concatenate(places)] = [np.concatenate(order) for order in itertools.product(*each)]
        return orders
    orders = np.tile(np.arange(len(strata)), (ORDERS, 1))
    generator = np.random.default_rng(0)
    for place in places:
        orders[1:, place] = place[generator.random((ORDERS - 1, len(place))).argsort(1)]
    return orders


def _ranks_within(values: Array, labels: NDArray[np.str_]) -> Array:
    ranks = np.zeros(len(values))
    for label in np.unique(labels):
        inside = labels == label
        ranked = ranks_of(values[inside])
        ranks[inside] = (ranked - ranked.mean()) / inside.sum()
    return ranks


def ranks_of(values: Array) -> Array:
    """Ranks from 1 up, ties in the middle; means that differ by rounding alone, below 1e-12 of the largest, are ties."""
    largest = float(np.abs(values).max(initial=0.0))
    return np.asarray(stats.rankdata(np.round(values / (largest or 1.0), 12)))


def flipped_signs(differences: Array) -> tuple[float, float]:
    """One-sided p-values that the sum is above, and below, zero: the share of all ways to flip signs that do as much.

    Of each pair that is compared either could have been the first if both were alike. The ways are all there are, or
    10,000 drawn ones.
    """
    sums = _signs(len(differences)) @ differences
    total, tolerance = float(differences.sum()), ZERO * float(np.abs(differences).sum())
    return float((sums >= total - tolerance).mean()), float((sums <= total + tolerance).mean())


@functools.lru_cache(maxsize=16)
def _signs(count: int) -> Array:
    if 2**count <= ORDERS:
        return np.array([*itertools.product((1.0, -1.0), repeat=count)])
    signs = np.random.default_rng(0).choice((1.0, -1.0), (ORDERS, count))
    signs[0] = 1.0
    return signs


def seeds_correlation_interval(of_seeds: Iterable[tuple[float, int]]) -> tuple[float, float]:
    """`seeds_interval` of Fisher's z of each seed's own correlation with its degrees of freedom, of those that have 3."""
    known = [rho for rho, freedom in of_seeds if freedom >= 3]
    return seeds_interval(np.arctanh(np.clip(known, -0.999, 0.999)))


def fisher_interval(rho: float, freedom: int) -> tuple[float, float]:
    """Fieller, Hartley and Pearson 1957: atanh of Spearman's rho has variance 1.06 / (n - 3)."""
    centre = math.atanh(max(-1 + ZERO, min(1 - ZERO, rho)))
    half = 1.96 * math.sqrt(1.06 / max(freedom - 1, 1))
    return math.tanh(centre - half), math.tanh(centre + half)
