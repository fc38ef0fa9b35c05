"""Contrasts, intervals, rank correlations: pure functions of numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import special, stats

from tfsgd.reporting.paper import ALPHA, ZERO

Array = NDArray[np.float64]


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
    half = t_quantile((1 + level) / 2, seeds - 1) * float(of_seed.std(ddof=1)) / math.sqrt(seeds)
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


def t_quantile(probability: float, freedom: int) -> float:
    """Student's t, without the overhead of scipy.stats.t."""
    return float(special.stdtrit(freedom, probability))


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


def difference_of_correlations(first: float, second: float, between: float, n: int) -> tuple[float, float]:
    """Fisher's z of one correlation minus that of another with the same variable, and its standard error.

    Meng, Rosenthal and Rubin 1992 (Psychological Bulletin 111, equations 1 to 3), with the variance of Spearman's rho,
    1 + rho²/2 times that of Pearson's (Bonett and Wright 2000).

    Args:
        between: the correlation of the two other variables.
        n: observations, more than 3.
    """
    first, second = (max(-1 + ZERO, min(1 - ZERO, r)) for r in (first, second))
    mean = (first**2 + second**2) / 2
    f = min(1.0, (1 - between) / (2 * (1 - mean)))
    h = (1 - f * mean) / (1 - mean)
    error = math.sqrt((1 + mean / 2) * 2 * max(1 - between, ZERO) * h / (n - 3))
    return math.atanh(first) - math.atanh(second), error


def correlation_statistic(rho: float, freedom: int) -> float:
    return rho * math.sqrt(freedom / max(1 - rho**2, ZERO))


def fisher_interval(rho: float, freedom: int) -> tuple[float, float]:
    """Fieller, Hartley and Pearson 1957: atanh of Spearman's rho has variance 1.06 / (n - 3)."""
    centre = math.atanh(max(-1 + ZERO, min(1 - ZERO, rho)))
    half = 1.96 * math.sqrt(1.06 / max(freedom - 1, 1))
    return math.tanh(centre - half), math.tanh(centre + half)
