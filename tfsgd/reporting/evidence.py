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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from tfsgd.reporting.cells import Cell, Cells, Metric
from tfsgd.reporting.paper import (
    ACCURACY_MARGIN,
    ALPHA,
    BASE_MOMENTUM,
    LARGE_BATCH_SIZE,
    MIN_BATCH_SIZES,
    MIN_SEEDS,
    ZERO,
)
from tfsgd.reporting.statistics import Array, contrast, is_ordered, slope_weights

# What is measured


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


# Contrasts


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


def shortfall_of(seeds: int, sizes: int) -> str:
    """Why there are too few seeds or batch sizes for statistics; empty if there are enough."""
    lacking = [f"{seeds} of at least {MIN_SEEDS} seeds"] if seeds < MIN_SEEDS else []
    lacking += [f"{sizes} of at least {MIN_BATCH_SIZES} batch sizes"] if sizes < MIN_BATCH_SIZES else []
    return " and ".join(lacking)


def _sizes_of(cells: Sequence[Cell]) -> int:
    return len({b for _, b, _ in cells})


def on_floor(values: Array, metric: Metric, chance: float) -> bool:
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
        floor=on_floor(table, metric, cells.chance),
        spoilt=spoilt,
        **size,
    )
    shortfall = shortfall_of(len(table), sizes or _sizes_of(wanted))
    if shortfall:
        return replace(base, obstacle=shortfall)
    c = contrast(table, weights)
    up, down = c.low > 0, c.high < 0
    if order is not None:
        up, down = up and is_ordered(order(table), 1), down and is_ordered(order(table), -1)
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


def nothing(cells: Cells, metric: Metric, what: str) -> Evidence:
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
            cells, metric, wanted, slope_weights(sizes), sign, "per doubling", order=lambda t: t
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
    return replace(nothing(cells, metric, f"{regime} at momentum {momentum:g}: {found}"), spoilt=spoilt)


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
        floor=on_floor(table, metric, cells.chance),
        spoilt=spoilt,
        **size,
    )
    shortfall = shortfall_of(len(table), _sizes_of(wanted))
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
            return nothing(
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
    return np.repeat(0.1 * slope_weights(np.array(momenta)) / len(sizes), len(sizes))


def _no_momenta(cells: Cells, metric: Metric, regimes: Sequence[str], sizes: int, momenta: int) -> Evidence:
    both = " and ".join(regimes)
    what = f"{both}: {momenta} of at least 2 momenta at {sizes} of at least {MIN_BATCH_SIZES} batch sizes"
    return nothing(cells, metric, what)


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
        return nothing(cells, metric, "it needs LR and LR/BS")
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
