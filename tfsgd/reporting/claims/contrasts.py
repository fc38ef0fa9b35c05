"""Evidence from contrasts of cell means: a weighted sum with a sign, or pairs within a margin.

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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfsgd.reporting.claims.evidence import Described, Evidence, Impossible, Tested
from tfsgd.reporting.paper import ACCURACY_MARGIN, ALPHA, MIN_BATCH_SIZES, MIN_SEEDS, ZERO
from tfsgd.reporting.statistics import Array, contrast, is_ordered
from tfsgd.reporting.table.cells import Cell, Cells, Metric
from tfsgd.text import counted


@dataclass(frozen=True)
class Comparison:
    """Which cells, in which weighted sum, and the sign that it is claimed to have.

    Attributes:
        per: what one unit of it is, such as `per doubling`.
        order: gives the (seeds, levels) table that must be ordered too.
        sizes: how many batch sizes the regimes have, where the sum leaves some of them out.
    """

    cells: Sequence[Cell]
    weights: Array  # (cells,)
    sign: int
    per: str
    order: Callable[[Array], Array] | None = None
    sizes: int | None = None


@dataclass(frozen=True)
class Levels:
    """Batch sizes or momenta that are compared pair by pair, each an average of cells."""

    cells: Sequence[Cell]
    values: Sequence[float]
    members: Array  # (levels, cells) weights; row i averages the cells of level i
    what: str


def signed(cells: Cells, metric: Metric, asked: Comparison) -> Evidence:
    """Evidence that a contrast has a sign."""
    table = cells.table(metric, asked.cells)
    basis = basis_of(cells, metric, table, asked.cells)
    basis["batch_sizes"] = asked.sizes or basis["batch_sizes"]
    if len(table) == 0:
        return Impossible(reason="no seed has all of the cells", **basis)
    basis |= {
        "unit": _unit(metric, asked.per),
        "effect": shown(metric, float((table @ asked.weights).mean())),
        "floor": on_floor(table.mean(0), metric, cells.chance),
    }
    shortfall = shortfall_of(basis)
    if shortfall:
        return Described(reason=shortfall, **basis)
    c = contrast(table, asked.weights)
    up, down = c.low > 0, c.high < 0
    if asked.order is not None:
        ordered = asked.order(table)
        up, down = up and is_ordered(ordered, 1), down and is_ordered(ordered, -1)
    rises = asked.sign > 0
    return Tested(
        interval=(shown(metric, c.low), shown(metric, c.high)),
        p_for=c.p_greater if rises else c.p_less,
        p_against=c.p_less if rises else c.p_greater,
        agrees_for=up if rises else down,
        agrees_against=down if rises else up,
        **basis,
    )


def within_margin(cells: Cells, metric: Metric, levels: Levels) -> Evidence:
    """Evidence that no two levels differ by more than the margin.

    Two one-sided tests (Schuirmann 1987) for every pair of levels; all must pass (an
    intersection-union test, Berger 1982), so no correction over the pairs is needed for it. That some
    pair lies beyond the margin is tested with Bonferroni's correction over the pairs.
    """
    table = cells.table(metric, levels.cells)
    basis = basis_of(cells, metric, table, levels.cells)
    if len(table) == 0:
        return Impossible(reason="no seed has all of the cells", **basis)
    means = levels.members @ table.mean(0)
    pairs = list(itertools.combinations(range(len(levels.values)), 2))
    first, second = max(pairs, key=lambda pair: abs(means[pair[1]] - means[pair[0]]))
    widest = f"{levels.values[first]:g} and {levels.values[second]:g}, the widest pair"
    basis |= {
        "unit": _unit(metric, f"between {levels.what} {widest}"),
        "effect": shown(metric, float(means[second] - means[first])),
        "floor": on_floor(table.mean(0), metric, cells.chance),
    }
    shortfall = shortfall_of(basis)
    if shortfall:
        return Described(reason=shortfall, **basis)
    p_within, p_beyond = 0.0, 1.0
    agrees_within, agrees_beyond = True, False
    for i, j in pairs:
        pair = against_margin(table, levels.members[j] - levels.members[i], metric.margin)
        p_within = max(p_within, pair.p_within)
        agrees_within &= pair.is_within
        p_out = min(1.0, 2 * len(pairs) * pair.p_beyond)
        if p_out < p_beyond:
            p_beyond, agrees_beyond = p_out, pair.is_beyond
    interval = contrast(table, levels.members[second] - levels.members[first])
    return Tested(
        interval=(shown(metric, interval.low), shown(metric, interval.high)),
        p_for=p_within,
        p_against=p_beyond,
        agrees_for=agrees_within,
        agrees_against=agrees_beyond,
        **basis,
    )


@dataclass(frozen=True)
class Against:
    """A contrast against the margin: one-sided p-values, and what the seeds' intervals show."""

    p_within: float
    p_beyond: float
    is_within: bool
    is_beyond: bool


def against_margin(table: Array, weights: Array, margin: float) -> Against:
    above, below = contrast(table, weights, margin), contrast(table, weights, -margin)
    narrow = contrast(table, weights, level=1 - 2 * ALPHA)
    return Against(
        p_within=max(above.p_less, below.p_greater),
        p_beyond=min(above.p_greater, below.p_less),
        is_within=-margin < narrow.low and narrow.high < margin,
        is_beyond=above.low > margin or above.high < -margin,
    )


# What evidence stands on


def nothing(cells: Cells, metric: Metric, what: str, spoilt: str = "") -> Impossible:
    """There are no numbers: the metric was not measured, or `what` else is lacking."""
    if metric.column not in cells.trials and metric.attack:
        what = f"no trial was attacked with {metric.attack} at ε = {metric.epsilon:g}"
    return Impossible(reason=what, spoilt=spoilt)


def shortfall_of(basis: Mapping[str, Any]) -> str:
    """Why there are too few seeds or batch sizes for statistics; empty if there are enough."""
    seeds, sizes = basis["seeds"], basis["batch_sizes"]
    lacking = [f"{seeds} of at least {MIN_SEEDS} seeds"] if seeds < MIN_SEEDS else []
    lacking += [f"{sizes} of at least {MIN_BATCH_SIZES} batch sizes"] if sizes < MIN_BATCH_SIZES else []
    return " and ".join(lacking)


def on_floor(means: Array, metric: Metric, chance: float) -> bool:
    """Every cell mean is within the margin of 0 or of chance: nothing can be told apart."""
    if metric.is_eigenvalue:
        return False
    near = (means <= ACCURACY_MARGIN + ZERO) | (abs(means - chance) <= ACCURACY_MARGIN + ZERO)
    return bool(near.all())


def shown(metric: Metric, value: float) -> float:
    """Points of accuracy, or a factor of the eigenvalue."""
    return float(2**value) if metric.is_eigenvalue else 100 * value


def _unit(metric: Metric, per: str) -> str:
    return f"factor {per}".strip() if metric.is_eigenvalue else f"points {per}".strip()


def basis_of(cells: Cells, metric: Metric, table: Array, wanted: Sequence[Cell]) -> dict[str, Any]:
    """The fields of `Basis`; those trials count as spoilt too that dropped out of the table."""
    kinds = {(cell.regime, cell.momentum) for cell in wanted}
    return {
        "seeds": table.shape[0],
        "cells": table.shape[1],
        "batch_sizes": len({cell.batch_size for cell in wanted}),
        "n": _n(table.shape[0], wanted),
        "spoilt": cells.spoilt(metric, lambda cell: (cell.regime, cell.momentum) in kinds),
        "doubts": cells.doubts(metric, lambda cell: cell in wanted),
    }


def _n(seeds: int, cells: Sequence[Cell]) -> str:
    sizes = sorted({b for _, b, _ in cells})
    momenta = sorted({m for _, _, m in cells})
    regimes = {r for r, _, _ in cells}
    span = (
        f"{len(sizes)} batch sizes ({sizes[0]}-{sizes[-1]})" if len(sizes) > 1 else f"batch size {sizes[0]}"
    )
    parts = [counted(seeds, "seed"), span]
    parts += [f"{len(momenta)} momenta"] if len(momenta) > 1 else []
    parts += [f"{len(regimes)} regimes"] if len(regimes) > 1 else []
    is_full = len(set(cells)) == len(sizes) * len(momenta) * len(regimes)
    return " x ".join(parts) + ("" if is_full else f" ({len(set(cells))} cells)")
