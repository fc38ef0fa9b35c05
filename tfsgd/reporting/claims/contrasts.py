"""Tests of contrasts of cell means: a weighted sum has a sign, or pairs differ by no more than the margin.

Cells are the settings of SGD (regime, batch size, momentum), with the seeds as paired blocks: a table of
S seeds x J cells. A contrast is tested in two ways, and a verdict needs both:

1. the randomised-block analysis: the error is the residual of seed + cell, with (S-1)(J-1) degrees
   of freedom; this p-value goes through Holm's correction over the claims;
2. the seeds themselves: one contrast a seed, and Student's t over the seeds (S-1 degrees of
   freedom), which holds however unequal the cells' spreads are.

docs/reading-the-report.md says the same for readers, with the margins.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from tfsgd.reporting.claims.evidence import Basis, Evidence, Impossible, TestResult, Unit, decide
from tfsgd.reporting.paper import ACCURACY_MARGIN, ALPHA, ZERO
from tfsgd.reporting.statistics import Array, contrast, is_ordered
from tfsgd.reporting.table.cell import Cell
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import Metric


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


def directional_test(cells: Cells, metric: Metric, asked: Comparison) -> Evidence:
    """Evidence that a contrast has a sign."""
    table = cells.table(metric, asked.cells)
    basis = basis_of(cells, metric, table, asked.cells)
    basis = replace(basis, batch_sizes=asked.sizes or basis.batch_sizes)
    if len(table) == 0:
        return no_seed(basis)

    def test() -> TestResult:
        c = contrast(table, asked.weights)
        up, down = c.low > 0, c.high < 0
        if asked.order is not None:
            ordered = asked.order(table)
            up, down = up and is_ordered(ordered, 1), down and is_ordered(ordered, -1)
        rises = asked.sign > 0
        return TestResult(
            interval=(shown(metric, c.low), shown(metric, c.high)),
            p_for=c.p_greater if rises else c.p_less,
            p_against=c.p_less if rises else c.p_greater,
            agrees_for=up if rises else down,
            agrees_against=down if rises else up,
        )

    basis = replace(basis, unit=unit_of(metric, asked.per))
    effect = shown(metric, float((table @ asked.weights).mean()))
    return decide(basis, effect, test, on_floor(table.mean(0), metric, cells.chance))


def equivalence_test(cells: Cells, metric: Metric, levels: Levels) -> Evidence:
    """Evidence that no two levels differ by more than the margin.

    Two one-sided tests (Schuirmann 1987) for every pair of levels; all must pass (an
    intersection-union test, Berger 1982), so no correction over the pairs is needed for it. That some
    pair lies beyond the margin is tested with Bonferroni's correction over the pairs.
    """
    table = cells.table(metric, levels.cells)
    basis = basis_of(cells, metric, table, levels.cells)
    if len(table) == 0:
        return no_seed(basis)
    means = levels.members @ table.mean(0)
    pairs = list(itertools.combinations(range(len(levels.values)), 2))
    i, j = max(pairs, key=lambda pair: abs(means[pair[1]] - means[pair[0]]))

    def test() -> TestResult:
        weights = {(a, b): levels.members[b] - levels.members[a] for a, b in pairs}
        return within_margin(table, [*weights.values()], metric, widest=weights[i, j])

    widest = f"between {levels.what} {levels.values[i]:g} and {levels.values[j]:g}, the widest pair"
    basis = replace(basis, unit=unit_of(metric, pair=widest))
    effect = shown(metric, float(means[j] - means[i]))
    return decide(basis, effect, test, on_floor(table.mean(0), metric, cells.chance))


def within_margin(table: Array, differences: Sequence[Array], metric: Metric, widest: Array) -> TestResult:
    """Every difference lies within the margin; the interval is that of the widest."""
    tests = [_against_margin(table, weights, metric.margin) for weights in differences]
    beyond = min(tests, key=lambda t: t.p_beyond)
    p_beyond = min(1.0, 2 * len(tests) * beyond.p_beyond)
    interval = contrast(table, widest)
    return TestResult(
        interval=(shown(metric, interval.low), shown(metric, interval.high)),
        p_for=max(t.p_within for t in tests),
        p_against=p_beyond,
        agrees_for=all(t.is_within for t in tests),
        agrees_against=p_beyond < 1 and beyond.is_beyond,
    )


@dataclass(frozen=True)
class _Against:
    """A contrast against the margin: one-sided p-values, and what the seeds' intervals show."""

    p_within: float
    p_beyond: float
    is_within: bool
    is_beyond: bool


def _against_margin(table: Array, weights: Array, margin: float) -> _Against:
    above, below = contrast(table, weights, margin), contrast(table, weights, -margin)
    narrow = contrast(table, weights, level=1 - 2 * ALPHA)
    return _Against(
        p_within=max(above.p_less, below.p_greater),
        p_beyond=min(above.p_greater, below.p_less),
        is_within=-margin < narrow.low and narrow.high < margin,
        is_beyond=above.low > margin or above.high < -margin,
    )


# What evidence is based on


def basis_of(cells: Cells, metric: Metric, table: Array, sample: Sequence[Cell]) -> Basis:
    """The trials behind a table of cells; those that dropped out of the table count as invalid too."""
    kinds = {(cell.regime, cell.momentum) for cell in sample}
    return Basis(
        seeds=len(table),
        sample=tuple(sample),
        batch_sizes=len({cell.batch_size for cell in sample}),
        invalid_trials=cells.invalid_trials(metric, lambda cell: (cell.regime, cell.momentum) in kinds),
        failed_checks=cells.failed_checks(metric, lambda cell: cell in sample),
    )


def no_seed(basis: Basis) -> Impossible:
    return Impossible(**vars(basis), reason="no seed has all of the cells")


def untestable(
    cells: Cells, metric: Metric, what: str, invalid_trials: Mapping[str, int] | None = None
) -> Impossible:
    """There are no numbers: the metric was not measured, or `what` else is lacking."""
    if metric.column not in cells.trials and metric.attack:
        what = f"no trial was attacked with {metric.attack} at ε = {metric.epsilon:g}"
    return Impossible(reason=what, invalid_trials=invalid_trials or {})


def on_floor(means: Array, metric: Metric, chance: float) -> bool:
    """Every cell mean is within the margin of 0 or of chance: nothing can be told apart."""
    if metric.is_log:
        return False
    near = (means <= ACCURACY_MARGIN + ZERO) | (abs(means - chance) <= ACCURACY_MARGIN + ZERO)
    return bool(near.all())


def shown(metric: Metric, value: float) -> float:
    """Points of accuracy, or a factor of the eigenvalue."""
    return float(2**value) if metric.is_log else 100 * value


def unit_of(metric: Metric, per: str = "", pair: str = "") -> Unit:
    return Unit("factor" if metric.is_log else "points", per, pair)
