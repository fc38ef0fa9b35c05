"""Contrasts, their intervals and Holm's correction: pure functions of numbers."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from tfsgd.reporting.paper import ALPHA, ZERO

Array = NDArray[np.float64]

MOST_SEEDS = 100  # that are worth asking for


@dataclass(frozen=True)
class Contrast:
    """A weighted sum of cell means: its estimate, the seeds' 95 % interval, and one-sided p-values.

    Attributes:
        spread: the standard deviation over the seeds, each of which has a contrast of its own.
        p_greater: for "it is above zero".
        p_less: for "it is below zero".
    """

    estimate: float
    spread: float
    low: float
    high: float
    p_greater: float
    p_less: float


def contrast(table: Array, weights: Array, above: float = 0.0) -> Contrast:
    """Tests whether a contrast of the columns of a (seeds, cells) table lies above or below a value.

    Each seed has a contrast of its own, and Student's t over these, with S - 1 degrees of freedom, gives interval and
    p-values: it holds however unequal the cells' spreads are, and where seeds differ in their slopes.
    """
    of_seed = table @ weights
    low, high = map(float, student_interval(of_seed))
    estimate, spread = float(of_seed.mean()), float(of_seed.std(ddof=1)) if len(of_seed) > 1 else math.nan
    distance = estimate - above
    if abs(distance) < ZERO:
        return Contrast(estimate, spread, low, high, 1.0, 1.0)
    statistic = distance / max(spread / math.sqrt(len(of_seed)), ZERO * abs(distance))
    return Contrast(estimate, spread, low, high, *t_tails(statistic, len(of_seed) - 1))


def variance_components(table: Array) -> tuple[float, float, float]:
    """Variances of two crossed random effects without repetition, of the rows, the columns, and what is left.

    From the mean squares of an analysis of variance (Searle, Casella and McCulloch 1992, chapter 4), at least 0.

    Args:
        table: `(rows, columns)`, at least two of each.
    """
    rows, columns = table.shape
    by_row, by_column = table.mean(1) - table.mean(), table.mean(0) - table.mean()
    rest = table - table.mean() - by_row[:, None] - by_column[None]
    of_rest = float((rest**2).sum() / ((rows - 1) * (columns - 1)))
    of_rows = columns * float((by_row**2).sum()) / (rows - 1)
    of_columns = rows * float((by_column**2).sum()) / (columns - 1)
    return max((of_rows - of_rest) / columns, 0.0), max((of_columns - of_rest) / rows, 0.0), of_rest


def student_interval(values: Array) -> tuple[Any, Any]:
    """Student's 95 % interval of the mean over the seeds, the first axis of the values."""
    seeds = len(values)
    half = special.stdtrit(seeds - 1, 0.975) * values.std(0, ddof=1) / math.sqrt(seeds)
    return values.mean(0) - half, values.mean(0) + half


def t_tails(statistic: float, freedom: int) -> tuple[float, float]:
    """One-sided p-values of Student's t: for above, and for below."""
    return float(special.stdtr(freedom, -statistic)), float(special.stdtr(freedom, statistic))


def seeds_needed(distance: float, spread: float, p_values: int, is_two_sided: bool) -> int | None:
    """How many seeds would decide, if more of them gave the same estimate and spread, by Bonferroni's bound.

    Args:
        distance: of the estimate from what it has to differ from.
        spread: of one seed.
        p_values: how many are corrected together.
        is_two_sided: as the test is.

    Returns:
        At least 3; `None`: more than 100.
    """
    level = ALPHA / p_values / (1 + is_two_sided)
    seeds = np.arange(3, MOST_SEEDS + 1)
    statistic = abs(distance) * np.sqrt(seeds) / max(spread, ZERO * abs(distance) + ZERO**2)
    enough = seeds[special.stdtr(seeds - 1, -statistic) < level]
    return int(enough[0]) if len(enough) else None


def slope_weights(x: Array) -> Array:
    """Weights whose contrast is the least-squares slope against x."""
    centred = x - x.mean()
    return np.asarray(centred / (centred**2).sum())


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979): adjusted p-values, in the given order."""
    order = np.argsort(p_values, kind="stable")
    count = len(p_values)
    adjusted = np.empty(count)
    adjusted[order] = np.maximum.accumulate([(count - i) * p_values[j] for i, j in enumerate(order)])
    return [float(p) for p in np.minimum(adjusted, 1.0)]
