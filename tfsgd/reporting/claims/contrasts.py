"""Tests of contrasts of cell means: a weighted sum has a sign, or differences stay within a margin.

Cells are the settings of SGD (regime, batch size, momentum), with the seeds as paired blocks: a table of S seeds x J
cells. Each seed has a contrast of its own, and Student's t over these decides.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from tfsgd.reporting.claims.evidence import Evidence, Impossible, Unit, Untestable, decide
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
    [(per, weights)] = asked.differences.items()
    effect = float((table @ weights).mean())

    def test() -> tuple[Any, ...]:
        c = contrast(table, weights)
        return _interval(metric, c), *(c.p_greater, c.p_less)[::sign], True, effect, c.spread

    return decide(basis | {"unit": Unit(metric.scale, per)}, metric.shown(effect), test)


def within_margin(cells: Cells, metric: Metric, asked: Comparison, side: int = 0) -> Evidence:
    """Evidence that no difference is larger than the margin.

    Two one-sided tests (Schuirmann 1987) for every difference; all must pass (an intersection-union test, Berger 1982),
    so no correction is needed over them. That some difference is beyond the margin is tested with Bonferroni's
    correction. The widest is shown.

    Args:
        side: 0: of either sign; 1: none may lie below the negative margin; -1: none above the margin.
    """
    table, basis = _table(cells, metric, asked)
    means = {per: float((table @ weights).mean()) for per, weights in asked.differences.items()}
    widest = max(means, key=lambda per: -side * means[per] if side else abs(means[per]))

    def test() -> tuple[Any, ...]:
        found = [_against(table, weights, metric.margin, side) for weights in asked.differences.values()]
        weakest, beyond = max(found, key=lambda t: t.p_within), min(t.p_beyond for t in found)
        interval, against = _interval(metric, contrast(table, asked.differences[widest])), len(found) * beyond
        return interval, weakest.p_within, min(1.0, against), False, weakest.distance, weakest.spread

    return decide(basis | {"unit": Unit(metric.scale, pair=widest)}, metric.shown(means[widest]), test)


class _Against(NamedTuple):
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


def _table(cells: Cells, metric: Metric, asked: Comparison) -> tuple[Array, dict[str, Any]]:
    """The table of cells, and of the trials behind it what evidence says; those that dropped out of the table count as
    invalid too. On the floor every cell mean is within the margin of 0 or of chance, so that nothing can be told apart."""
    table, sample = cells.table(metric, asked.cells), tuple(asked.cells)
    kinds = {(cell.regime, cell.momentum) for cell in sample}
    basis: dict[str, Any] = {
        "seeds": len(table),
        "sample": sample,
        "batch_sizes": asked.sizes or len({cell.batch_size for cell in sample}),
        "invalid_trials": cells.invalid_trials(metric, lambda cell: (cell.regime, cell.momentum) in kinds),
        "doubts": cells.doubts(metric, lambda cell: cell in sample),
    }
    if len(table) == 0:
        raise Untestable(Impossible(**basis, reason="no seed has all of the cells"))
    means = table.mean(0)
    near = (means <= ACCURACY_MARGIN + ZERO) | (abs(means - cells.chance) <= ACCURACY_MARGIN + ZERO)
    return table, basis | {"floor": metric.is_share and bool(near.all())}


def untestable(
    cells: Cells, metric: Metric, what: str, invalid_trials: Mapping[str, int] | None = None
) -> Untestable:
    """There are no numbers: the metric was not measured, or `what` else is lacking."""
    if not cells.has(metric):
        what = f"{metric.name} was not measured"
        if metric.attack:
            what = f"no trial was attacked with {metric.attack} at ε = {metric.epsilon:g}"
    return Untestable(Impossible(reason=what, invalid_trials=invalid_trials or {}))
