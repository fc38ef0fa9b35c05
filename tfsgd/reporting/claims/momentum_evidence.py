"""Tests on momentum: trends, constancy, and whether it matters more under LR than under LR/BS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tfsgd.reporting.claims.claim_test import claim_test
from tfsgd.reporting.claims.contrasts import (
    Comparison,
    Levels,
    directional_test,
    equivalence_test,
    shown,
    untestable,
)
from tfsgd.reporting.claims.evidence import Evidence, Impossible, Tested
from tfsgd.reporting.paper import MIN_BATCH_SIZES
from tfsgd.reporting.statistics import Array, contrast, slope_weights
from tfsgd.reporting.table.cell import Cell, of_regimes
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import Metric

BOTH = ("LR", "LR/BS")


@claim_test(lambda regime, **_: of_regimes(regime))
def momentum_trend(cells: Cells, metric: Metric, regime: str, sign: int) -> Evidence:
    """Slope against momentum, averaged over the batch sizes, seeds as paired blocks.

    The interval is Student's t over one slope a seed; with three or more momenta Page's test must find the order too.
    """
    sizes, momenta = momentum_levels(cells, metric, [regime])
    if not sizes or len(momenta) < 2:
        return _no_momenta(cells, metric, [regime], len(sizes), len(momenta))

    def by_momentum(table: Array) -> Array:
        return np.asarray(table.reshape(len(table), len(momenta), len(sizes)).mean(2))

    wanted, weights = _momentum_cells(regime, sizes, momenta), _momentum_weights(sizes, momenta)
    asked = Comparison(wanted, weights, sign, "per 0.1 of momentum", by_momentum)
    return directional_test(cells, metric, asked)


@claim_test(lambda regime: of_regimes(regime))
def momentum_constant(cells: Cells, metric: Metric, regime: str) -> Evidence:
    """Equivalence: for every pair, two one-sided tests that the difference stays within ±{constant} of accuracy,
    or within a factor of {constant_factor} for λ1. Seeds are paired blocks."""
    sizes, momenta = momentum_levels(cells, metric, [regime])
    if not sizes or len(momenta) < 2:
        return _no_momenta(cells, metric, [regime], len(sizes), len(momenta))
    members = np.kron(np.eye(len(momenta)), np.full(len(sizes), 1 / len(sizes)))
    wanted = _momentum_cells(regime, sizes, momenta)
    return equivalence_test(cells, metric, Levels(wanted, momenta, members, "momenta"))


@claim_test(lambda: of_regimes(*BOTH))
def momentum_matters_more(cells: Cells, metric: Metric) -> Evidence:
    """Interaction: the slope against momentum must be larger in size under LR than under LR/BS (difference and sum
    of the slopes are both tested). Batch sizes where both regimes are the same trial are left out."""
    if not all(cells.momenta(r) for r in BOTH):
        return untestable(cells, metric, "it needs LR and LR/BS")
    sizes, momenta = momentum_levels(cells, metric, BOTH)
    if not sizes or len(momenta) < 2:
        return _no_momenta(cells, metric, BOTH, len(sizes), len(momenta))
    wanted = _momentum_cells("LR", sizes, momenta) + _momentum_cells("LR/BS", sizes, momenta)
    one = _momentum_weights(sizes, momenta)
    difference, total = np.concatenate([one, -one]), np.concatenate([one, one])
    asked = Comparison(wanted, difference, 1, "per 0.1 of momentum, LR against LR/BS")
    found = directional_test(cells, metric, asked)
    if isinstance(found, Impossible):
        return found
    table = cells.table(metric, wanted)
    slopes = [float((table @ np.concatenate(pair)).mean()) for pair in ([one, 0 * one], [0 * one, one])]
    under = [f"{shown(metric, slope):.3g} under {regime}" for slope, regime in zip(slopes, BOTH, strict=True)]
    found = replace(found, detail=f"slopes: {', '.join(under)}")
    return _either_sign(found, table, difference, total) if isinstance(found, Tested) else found


def _either_sign(found: Tested, table: Array, difference: Array, total: Array) -> Tested:
    """|a| > |c| is shown when s(a - c) > 0 and s(a + c) > 0 for one sign s: both must pass.

    The smaller p-value of the two signs is doubled. Opposite signs of the two contrasts speak against it.
    """
    d, t = contrast(table, difference), contrast(table, total)
    p_for = 2 * min(max(d.p_greater, t.p_greater), max(d.p_less, t.p_less))
    p_against = 2 * min(max(d.p_less, t.p_greater), max(d.p_greater, t.p_less))
    return replace(
        found,
        p_for=min(1.0, p_for),
        p_against=min(1.0, p_against),
        agrees_for=(d.low > 0 and t.low > 0) or (d.high < 0 and t.high < 0),
        agrees_against=(d.high < 0 and t.low > 0) or (d.low > 0 and t.high < 0),
    )


def momentum_levels(cells: Cells, metric: Metric, regimes: Sequence[str]) -> tuple[list[int], list[float]]:
    """The batch sizes and momenta that all of the regimes have under enough seeds, each size with each momentum.

    Where two regimes are one and the same trial, there is nothing to compare: that is left out.
    """

    def there(b: int, m: float) -> bool:
        if len(regimes) > 1 and cells.is_shared(b, m):
            return False
        return all(cells.enough(metric, Cell(r, b, m)) for r in regimes)

    momenta = sorted(set.intersection(*(set(cells.momenta(r)) for r in regimes)))
    sizes = sorted({b for r in regimes for m in momenta for b in cells.batch_sizes(r, m)})
    need = min(MIN_BATCH_SIZES, max((sum(there(b, m) for b in sizes) for m in momenta), default=0))
    momenta = [m for m in momenta if need and sum(there(b, m) for b in sizes) >= need]
    return [b for b in sizes if all(there(b, m) for m in momenta)], momenta


def _momentum_cells(regime: str, sizes: Sequence[int], momenta: Sequence[float]) -> list[Cell]:
    return [Cell(regime, b, m) for m in momenta for b in sizes]


def _momentum_weights(sizes: Sequence[int], momenta: Sequence[float]) -> Array:
    """Slope per 0.1 of momentum, averaged over the batch sizes; in the order of `_momentum_cells`."""
    return np.repeat(0.1 * slope_weights(np.array(momenta)) / len(sizes), len(sizes))


def _no_momenta(cells: Cells, metric: Metric, regimes: Sequence[str], sizes: int, momenta: int) -> Evidence:
    both = " and ".join(regimes)
    what = f"{both}: {momenta} of at least 2 momenta at {sizes} of at least {MIN_BATCH_SIZES} batch sizes"
    return untestable(cells, metric, what)
