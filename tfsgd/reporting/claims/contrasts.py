"""Tests of contrasts of cell means: a weighted sum has a sign, or differences stay within a margin.

Cells are the settings of SGD (regime, batch size, momentum), with the seeds as paired blocks: a table of S seeds x J
cells. Each seed has a contrast of its own, and Student's t over these decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tfsgd.reporting.claims.evidence import Basis, Evidence, Impossible, TestResult, Unit, decide
from tfsgd.reporting.paper import ACCURACY_MARGIN, ZERO
from tfsgd.reporting.statistics import Array, Contrast, contrast
from tfsgd.reporting.table.cell import Cell
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import Metric


@dataclass(frozen=True)
class Comparison:
    """Which cells, and the differences between them that are compared with zero or with a margin.

    Attributes:
        cells: the columns of the table.
        differences: what each is, in words that follow its number, and its weights `(cells,)`.
        sizes: how many batch sizes the regimes have, where the sum leaves some of them out.
    """

    cells: Sequence[Cell]
    differences: Mapping[str, Array]
    sizes: int | None = None


def directional(cells: Cells, metric: Metric, asked: Comparison, sign: int) -> Evidence:
    """Evidence that the one difference is above (sign 1) or below (-1) zero."""
    table, basis = _table(cells, metric, asked)
    if len(table) == 0:
        return no_seed(basis)
    [(per, weights)] = asked.differences.items()
    effect = float((table @ weights).mean())

    def test() -> TestResult:
        c = contrast(table, weights)
        tails = (c.p_greater, c.p_less)[::sign]
        return TestResult(
            interval=_interval(metric, c),
            p_for=tails[0],
            p_against=tails[1],
            is_two_sided=True,
            distance=effect,
            spread=c.spread,
        )

    basis = replace(basis, unit=Unit(metric.scale, per))
    return decide(basis, metric.shown(effect), test, on_floor(table.mean(0), metric, cells.chance))


def within_margin(cells: Cells, metric: Metric, asked: Comparison, side: int = 0) -> Evidence:
    """Evidence that no difference is larger than the margin.

    Two one-sided tests (Schuirmann 1987) for every difference; all must pass (an intersection-union test, Berger 1982),
    so no correction is needed over them. That some difference is beyond the margin is tested with Bonferroni's
    correction. The widest is shown.

    Args:
        side: 0: of either sign; 1: none may lie below the negative margin; -1: none above the margin.
    """
    table, basis = _table(cells, metric, asked)
    if len(table) == 0:
        return no_seed(basis)
    means = {per: float((table @ weights).mean()) for per, weights in asked.differences.items()}
    widest = max(means, key=lambda per: -side * means[per] if side else abs(means[per]))

    def test() -> TestResult:
        found = [_against(table, weights, metric.margin, side) for weights in asked.differences.values()]
        weakest = max(found, key=lambda t: t.p_within)
        return TestResult(
            interval=_interval(metric, contrast(table, asked.differences[widest])),
            p_for=weakest.p_within,
            p_against=min(1.0, len(found) * min(t.p_beyond for t in found)),
            is_two_sided=False,
            distance=weakest.distance,
            spread=weakest.spread,
        )

    basis = replace(basis, unit=Unit(metric.scale, pair=widest))
    return decide(basis, metric.shown(means[widest]), test, on_floor(table.mean(0), metric, cells.chance))


@dataclass(frozen=True)
class _Against:
    """A difference against the margin: one-sided p-values, and how far from it the estimate is."""

    p_within: float
    p_beyond: float
    distance: float
    spread: float


def _against(table: Array, weights: Array, margin: float, side: int) -> _Against:
    below = contrast(table, (side or 1) * weights, -margin)
    if side:
        return _Against(below.p_greater, below.p_less, below.estimate + margin, below.spread)
    above = contrast(table, weights, margin)
    return _Against(
        max(above.p_less, below.p_greater),
        min(1.0, 2 * min(above.p_greater, below.p_less)),
        margin - abs(below.estimate),
        below.spread,
    )


def _interval(metric: Metric, c: Contrast) -> tuple[float, float]:
    return metric.shown(c.low), metric.shown(c.high)


# What evidence is based on


def _table(cells: Cells, metric: Metric, asked: Comparison) -> tuple[Array, Basis]:
    table = cells.table(metric, asked.cells)
    basis = basis_of(cells, metric, table, asked.cells)
    return table, replace(basis, batch_sizes=asked.sizes or basis.batch_sizes)


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
    if not cells.has(metric):
        attack = (
            f"no trial was attacked with {metric.attack} at ε = {metric.epsilon:g}" if metric.attack else ""
        )
        what = attack or f"{metric.name} was not measured"
    return Impossible(reason=what, invalid_trials=invalid_trials or {})


def on_floor(means: Array, metric: Metric, chance: float) -> bool:
    """Every cell mean is within the margin of 0 or of chance: nothing can be told apart."""
    if metric.scale != "points":
        return False
    near = (means <= ACCURACY_MARGIN + ZERO) | (abs(means - chance) <= ACCURACY_MARGIN + ZERO)
    return bool(near.all())
