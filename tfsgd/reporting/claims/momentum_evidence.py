"""Evidence on momentum: trends, constancy, and whether it matters more under LR than under LR/BS."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from tfsgd.reporting.claims.contrasts import Comparison, Levels, nothing, shown, signed, within_margin
from tfsgd.reporting.claims.evidence import Evidence, Impossible, Tested
from tfsgd.reporting.claims.on_trained_range import Gather, where_it_trains
from tfsgd.reporting.paper import MIN_BATCH_SIZES
from tfsgd.reporting.statistics import Array, contrast, slope_weights
from tfsgd.reporting.table.cells import Cell, Cells, Metric, of_regimes

BOTH = ("LR", "LR/BS")


def momentum_trend(regime: str, sign: int) -> Gather:
    """The metric rises (sign 1) or falls (-1) with momentum, on average over the batch sizes."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        sizes, momenta = momentum_levels(cells, metric, [regime])
        if not sizes or len(momenta) < 2:
            return _no_momenta(cells, metric, [regime], len(sizes), len(momenta))

        def by_momentum(table: Array) -> Array:
            return np.asarray(table.reshape(len(table), len(momenta), len(sizes)).mean(2))

        wanted = _momentum_cells(regime, sizes, momenta)
        weights = _momentum_weights(sizes, momenta)
        return signed(cells, metric, Comparison(wanted, weights, sign, "per 0.1 of momentum", by_momentum))

    return where_it_trains(evidence, of_regimes(regime))


def momentum_constant(regime: str) -> Gather:
    """Any two momenta give the same metric within the margin, on average over the batch sizes."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        sizes, momenta = momentum_levels(cells, metric, [regime])
        if not sizes or len(momenta) < 2:
            return _no_momenta(cells, metric, [regime], len(sizes), len(momenta))
        members = np.kron(np.eye(len(momenta)), np.full(len(sizes), 1 / len(sizes)))
        wanted = _momentum_cells(regime, sizes, momenta)
        return within_margin(cells, metric, Levels(wanted, momenta, members, "momenta"))

    return where_it_trains(evidence, of_regimes(regime))


def momentum_matters_more(cells: Cells, metric: Metric) -> Evidence:
    """The slope against momentum is larger in size under LR than under LR/BS.

    |a| > |c| is shown when s(a - c) > 0 and s(a + c) > 0 for one sign s: both must pass, and the
    smaller p-value of the two signs is doubled. The batch sizes that both regimes share are left out.
    """
    return where_it_trains(_matters_more, of_regimes(*BOTH))(cells, metric)


def _matters_more(cells: Cells, metric: Metric) -> Evidence:
    regimes = BOTH
    if not all(cells.momenta(r) for r in regimes):
        return nothing(cells, metric, "it needs LR and LR/BS")
    sizes, momenta = momentum_levels(cells, metric, regimes)
    if not sizes or len(momenta) < 2:
        return _no_momenta(cells, metric, regimes, len(sizes), len(momenta))
    wanted = _momentum_cells("LR", sizes, momenta) + _momentum_cells("LR/BS", sizes, momenta)
    one = _momentum_weights(sizes, momenta)
    difference, total = np.concatenate([one, -one]), np.concatenate([one, one])
    asked = Comparison(wanted, difference, 1, "per 0.1 of momentum, LR against LR/BS")
    found = signed(cells, metric, asked)
    if isinstance(found, Impossible):
        return found
    table = cells.table(metric, wanted)
    slopes = [float((table @ np.concatenate(pair)).mean()) for pair in ([one, 0 * one], [0 * one, one])]
    under = [
        f"{shown(metric, slope):.3g} under {regime}" for slope, regime in zip(slopes, regimes, strict=True)
    ]
    found = replace(found, detail=f"slopes: {', '.join(under)}")
    return _either_sign(found, table, difference, total) if isinstance(found, Tested) else found


def _either_sign(found: Tested, table: Array, difference: Array, total: Array) -> Tested:
    """Both contrasts above zero, or both below, speak for it; opposite signs speak against it."""
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
    return nothing(cells, metric, what)
