"""The kinds of claims: each a function of the cells, the metrics and the claim, found by its name.

A function's docstring is the prose that the page shows. A new kind is a function here and its name in
`tfsgd.plan.claim.Kind`.
"""

import functools
import inspect
import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from tfsgd.plan.claim import Claim
from tfsgd.reporting.claims.evidence import (
    Comparison,
    Evidence,
    Untestable,
    directional,
    untestable,
    within_margin,
)
from tfsgd.reporting.paper import BASE_MOMENTUM, FACTS, MIN_BATCH_SIZES
from tfsgd.reporting.statistics import Array, slope_weights
from tfsgd.reporting.table.cells import Cell, CellFilter, Cells
from tfsgd.reporting.table.columns import Metric

Test = Callable[[Cells, Sequence[Metric], Claim], Evidence]
KINDS: dict[str, Test] = {}


def kind(test: Test) -> Test:
    """Registers a kind by the function's name."""

    @functools.wraps(test)
    def tested(cells: Cells, metrics: Sequence[Metric], claim: Claim) -> Evidence:
        try:
            return test(cells, metrics, claim)
        except Untestable as reason:
            return reason.evidence

    KINDS[test.__name__] = tested
    return tested


def prose_of(test: Test) -> str:
    """The docstring with the margins filled in."""
    return " ".join((inspect.getdoc(test) or "").split()).format(**FACTS)


@dataclass(frozen=True)
class _Levels:
    """The levels of the knob that all regimes have, in equal order.

    Attributes:
        cells: of each regime, level by level.
        values: the levels.
        x: the same on the scale of the slope.
        per: what one unit of the slope is.
        members: `(levels, cells)`; row i averages the cells of level i.
        what: batch sizes or momenta.
    """

    cells: Sequence[Sequence[Cell]]
    values: Sequence[float]
    x: Array
    per: str
    members: Array
    what: str

    @property
    def slope(self) -> Array:
        """Weights of a regime's cells."""
        return slope_weights(self.x) @ self.members

    def pairs(self, *pairs: tuple[int, int]) -> Comparison:
        """Level j against level i of the first regime, for each i and j."""
        said = {
            f"between {self.what} {self.values[i]:g} and {self.values[j]:g}, the widest pair": self.members[j]
            - self.members[i]
            for i, j in pairs
        }
        return Comparison(self.cells[0], said)

    def means(self, cells: Cells, claim: Claim) -> Comparison:
        """The first regime's mean less the second's."""
        first, second = self.cells
        weights = np.repeat([1.0, -1.0], len(first)) / len(first)
        trained = ({*cells.batch_sizes(c.regime, c.momentum)} for c in (first[0], second[0]))
        per = f"under {' against '.join(claim.regimes)}"
        return Comparison([*first, *second], {per: weights}, len(set.intersection(*trained)))


@kind
def trend(cells: Cells, metrics: Sequence[Metric], claim: Claim) -> Evidence:
    """The slope against log2 of the batch size, or against momentum, seed by seed; Student's t over the seeds."""
    found = _levels(cells, metrics, claim)
    return directional(cells, metrics[0], Comparison(found.cells[0], {found.per: found.slope}), claim.sign)


@kind
def interaction(cells: Cells, metrics: Sequence[Metric], claim: Claim) -> Evidence:
    """The difference of two regimes' slopes at the same settings, seed by seed; Student's t over the seeds."""
    found = _levels(cells, metrics, claim)
    weights = {f"{found.per}, {' against '.join(claim.regimes)}": np.concatenate([found.slope, -found.slope])}
    return directional(cells, metrics[0], Comparison([*found.cells[0], *found.cells[1]], weights), claim.sign)


@kind
def difference(cells: Cells, metrics: Sequence[Metric], claim: Claim) -> Evidence:
    """The difference of two regimes' means over their common batch sizes, seed by seed; Student's t over the seeds."""
    found = _levels(cells, metrics, claim, least=1)
    return directional(cells, metrics[0], found.means(cells, claim), claim.sign)


@kind
def equivalent(cells: Cells, metrics: Sequence[Metric], claim: Claim) -> Evidence:
    """For every pair of levels, two one-sided t tests over the seeds that the difference stays within the margin:
    {constant} of accuracy, a factor of {constant_factor} of λ1, of {epsilon_factor} of the smallest ε, unless the claim
    says another. All must pass. Of two regimes it is the difference of their means over common batch sizes."""
    two = len(claim.regimes) == 2
    found = _levels(cells, metrics, claim, least=1 if two else 2)
    pairs = itertools.combinations(range(len(found.values)), 2)
    return within_margin(cells, metrics[0], found.means(cells, claim) if two else found.pairs(*pairs))


@kind
def non_inferior(cells: Cells, metrics: Sequence[Metric], claim: Claim) -> Evidence:
    """For every level, a one-sided t test over the seeds that it lies no further below the smallest level than the
    margin: {constant} of accuracy, a factor of {epsilon_factor} of the smallest ε, unless the claim says another. All must
    pass."""
    found = _levels(cells, metrics, claim)
    pairs = ((0, j) for j in range(1, len(found.values)))
    return within_margin(cells, metrics[0], found.pairs(*pairs), side=1)


@kind
def below(cells: Cells, metrics: Sequence[Metric], claim: Claim) -> Evidence:
    """In every cell, a one-sided t test over the seeds that the metric lies below the margin. All must pass. A cell is left
    out that did not train, and not its batch size: those next to a collapse come close to a ceiling."""
    [metric], [regime] = metrics, claim.regimes
    wanted = [
        c for m in cells.momenta(regime) for c in cells.measured(metric, regime, m) if _counts(claim, c)
    ]
    if not wanted:
        what = f"no {metric.name} of {regime} that can be set against the margin"
        raise _too_few(cells, metric, claim, what)
    named = (f"at batch size {b} and momentum {m:g}, the highest" for _, b, m in wanted)
    found = within_margin(
        cells, metric, Comparison(wanted, dict(zip(named, np.eye(len(wanted)), strict=True))), side=-1
    )
    bad, sample = cells.bad_trials(lambda cell: cell.regime == regime), set(wanted)
    found = replace(found, invalid_trials=cells.invalid_trials(metric, sample.__contains__))
    return replace(found, trains=tuple(sorted({c.batch_size for c in sample})), bad=bad) if bad else found


@kind
def both(cells: Cells, metrics: Sequence[Metric], claim: Claim) -> Evidence:
    """Both slopes must have the direction: of their p-values the larger one counts. That one has the other direction is
    tested with Bonferroni's correction."""
    one, other = (trend(cells, [metric], claim) for metric in metrics)
    if other.unit:
        one = replace(one, detail=f"{metrics[1].name}: {other.words(other.unit)}")
    if one.p_for is None or one.p_against is None:
        return one
    if other.p_for is None or other.p_against is None:
        return replace(one, p_for=None, p_against=None, reason=other.reason)
    return replace(
        one,
        invalid_trials={**one.invalid_trials, **other.invalid_trials},
        p_for=max(one.p_for, other.p_for),
        p_against=min(1.0, 2 * min(one.p_against, other.p_against)),
        is_two_sided=False,
        distance=(one if one.p_for >= other.p_for else other).distance,
        spread=(one if one.p_for >= other.p_for else other).spread,
    )


# Which cells


def concerns(claim: Claim) -> CellFilter:
    """Which cells a claim is about."""

    def is_meant(cell: Cell) -> bool:
        at = None if claim.knob == "momentum" else base_momentum(claim, cell.regime)
        inside = claim.kind == "difference" or _counts(claim, cell)  # where one trains is seen at all sizes
        return cell.regime in claim.regimes and inside and at in (None, cell.momentum)

    return is_meant


def _counts(claim: Claim, cell: Cell) -> bool:
    return (claim.at_least or 0) <= cell.batch_size <= (claim.at_most or cell.batch_size)


def base_momentum(claim: Claim, regime: str) -> float | None:
    """The momentum at which batch sizes are compared; `None`: the regime's lowest."""
    said = claim.momentum_of(regime)
    return BASE_MOMENTUM.get(regime) if said is None else said


def _levels(cells: Cells, metrics: Sequence[Metric], claim: Claim, least: int = 2) -> _Levels:
    """The levels of the claim's knob.

    Raises:
        Untestable: there are fewer than `least`.
    """
    make = _momentum_levels if claim.knob == "momentum" else _batch_sizes
    return make(cells, metrics, claim, least)


def _too_few(cells: Cells, metric: Metric, claim: Claim, what: str) -> Untestable:
    return untestable(cells, metric, what, cells.invalid_trials(metric, concerns(claim)))


def _batch_sizes(cells: Cells, metrics: Sequence[Metric], claim: Claim, least: int) -> _Levels:
    of: list[Mapping[int, Cell]] = []
    for regime in claim.regimes:
        at = base_momentum(claim, regime)
        momentum = at if at is not None else min(cells.momenta(regime), default=0.0)
        measured = (cells.measured(metric, regime, momentum) for metric in metrics)
        of.append({c.batch_size: c for c in set.intersection(*map(set, measured)) if _counts(claim, c)})
    sizes = sorted(set.intersection(*map(set, of)))
    if len(sizes) < least:
        both = " and ".join(claim.regimes)
        lacking = f"{both}: {len(sizes)} of at least {max(least, MIN_BATCH_SIZES)} batch sizes"
        raise _too_few(cells, metrics[0], claim, lacking if sizes else f"no trial of {both}")
    found = [[of_regime[b] for b in sizes] for of_regime in of]
    return _Levels(found, sizes, np.log2(sizes), "per doubling", np.eye(len(sizes)), "batch sizes")


def _momentum_levels(cells: Cells, metrics: Sequence[Metric], claim: Claim, least: int) -> _Levels:
    sizes, momenta = momentum_grid(cells, metrics[0], claim)
    if not sizes or len(momenta) < least:
        both = f"{' and '.join(claim.regimes)}: {len(momenta)} of at least {least} momenta"
        raise _too_few(
            cells, metrics[0], claim, f"{both} at {len(sizes)} of at least {MIN_BATCH_SIZES} batch sizes"
        )
    found = [[Cell(r, b, m) for m in momenta for b in sizes] for r in claim.regimes]
    members = np.kron(np.eye(len(momenta)), np.full(len(sizes), 1 / len(sizes)))
    return _Levels(found, momenta, 10 * np.array(momenta), "per 0.1 of momentum", members, "momenta")


def momentum_grid(cells: Cells, metric: Metric, claim: Claim) -> tuple[list[int], list[float]]:
    """The batch sizes and momenta that all of the regimes have under enough seeds, each size with each momentum.

    Where two regimes are one and the same trial, there is nothing to compare: that is left out.
    """
    regimes = claim.regimes

    def there(b: int, m: float) -> bool:
        if len(regimes) > 1 and cells.is_shared(b, m):
            return False
        return all(_counts(claim, c) and cells.enough(metric, c) for c in (Cell(r, b, m) for r in regimes))

    momenta = sorted(set.intersection(*(set(cells.momenta(r)) for r in regimes)))
    sizes = sorted({b for r in regimes for m in momenta for b in cells.batch_sizes(r, m)})
    need = min(MIN_BATCH_SIZES, max((sum(there(b, m) for b in sizes) for m in momenta), default=0))
    momenta = [m for m in momenta if need and sum(there(b, m) for b in sizes) >= need]
    return [b for b in sizes if all(there(b, m) for m in momenta)], momenta


# On which range


def evidence(cells: Cells, metrics: Sequence[Metric], claim: Claim) -> Evidence:
    """What the cells say about a claim, on the largest range of batch sizes that trains.

    A batch size at which any trial that the claim concerns diverged or collapsed is left out. What is left falls into
    ranges of adjoining batch sizes. The one with the most batch sizes for the claim is taken; of equally large ones that
    with more seeds, then that of the smaller batch sizes. The choice sees which trials trained and were measured, and none
    of their numbers.

    Where no range has enough batch sizes, the evidence is that of all of them, with its invalid trials.
    """
    test, meant = KINDS[claim.kind], concerns(claim)
    whole, bad = test(cells, metrics, claim), cells.bad_trials(meant)
    if not bad or test is below:
        return whole
    trained = sorted({cell.batch_size for cell in cells.all_cells if meant(cell)})
    every = [(sizes, test(cells.only(sizes), metrics, claim)) for sizes in adjoining(trained, bad)]
    enough = [(sizes, e) for sizes, e in every if e.unit and e.batch_sizes >= MIN_BATCH_SIZES]
    if not enough:
        return replace(whole, invalid_trials=whole.invalid_trials or cells.invalid_trials(metrics[0], meant))
    sizes, best = max(enough, key=lambda item: (item[1].batch_sizes, item[1].seeds))  # the first of equals
    others = tuple(size for size in trained if size not in sizes and size not in bad)
    return replace(best, trains=tuple(sizes), bad=bad, not_judged=others)


def adjoining(trained: Sequence[int], bad: Mapping[int, object]) -> list[list[int]]:
    """The ranges of adjoining batch sizes between the bad ones, from small to large."""
    ranges = itertools.groupby(sorted(trained), lambda size: size in bad)
    return [[*sizes] for is_bad, sizes in ranges if not is_bad]
