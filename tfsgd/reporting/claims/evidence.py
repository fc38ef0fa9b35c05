"""What the trials say about one claim: it was tested, only described, or cannot be tested.

Tests are of contrasts of cell means: a weighted sum has a sign, or differences stay within a margin. Cells are the settings
of SGD (regime, batch size, momentum), with the seeds as paired blocks: a table of S seeds x J cells. Each seed has a
contrast of its own, and Student's t over these decides.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from tfsgd.reporting.paper import ACCURACY_MARGIN, BAD, MIN_BATCH_SIZES, MIN_SEEDS, ZERO
from tfsgd.reporting.statistics import Array, Contrast, contrast
from tfsgd.reporting.table.cells import Cell, Cells
from tfsgd.reporting.table.columns import Metric
from tfsgd.text import counted


@dataclass(frozen=True)
class Unit:
    """The unit of an effect and of its interval.

    Attributes:
        scale: points of accuracy, a factor of what is compared on its logarithm, the agreement of signs, or the metric's own.
        per: what belongs to one unit: `per doubling`.
        pair: the two levels that the effect lies between.
    """

    scale: Literal["points", "factor", "agreement", ""]
    per: str = ""
    pair: str = ""

    def __str__(self) -> str:
        return " ".join(filter(None, (self.scale, self.per, self.pair)))

    def words(self, effect: float, interval: tuple[float, float] | None) -> str:
        """An effect with its interval: `+3.3 points [+2.1, +4.5] per doubling`."""
        shape = {"factor": ".3g", "": "+.3g"}.get(self.scale, "+.2f")
        ends = f" [{interval[0]:{shape}}, {interval[1]:{shape}}]" if interval else ""
        value = {"factor": f"× {effect:{shape}}", "points": f"{effect:{shape}} points"}.get(
            self.scale, f"{effect:{shape}}"
        )
        return " ".join(filter(None, (f"{value}{ends}", self.per, self.pair)))


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """What the trials say about one claim.

    Numbers with a 95 % interval and p-values before Holm's correction, all by Student's t of one contrast a seed; or
    numbers without a test; or none.

    Attributes:
        reason: why there is no test; empty: there is one.
        unit: of the effect and its interval; `None`: there are no numbers.
        effect: in the unit.
        floor: all accuracies are so near 0 or chance that nothing can be told apart.
        interval: `None`: there is no test.
        p_for, p_against: one-sided; `None`: there is no test.
        is_two_sided: the claim has a direction, so that with no effect at all either way would be an error.
        distance: of the contrast from what it has to differ from; it decides about the claim.
        spread: the standard deviation of that contrast over the seeds.
        seeds: that have all of the cells.
        sample: the cells.
        batch_sizes: how many count towards the least that a test needs.
        invalid_trials: how many trials in the range diverged, collapsed or are doubtful, by kind.
        doubts: the checks of their robustness that trials which take part fail, in words; empty: none.
        detail: what else to know, in words.
        trains: the range of batch sizes that is judged, where others were left out; else empty.
        bad: batch size -> how many of its trials have each status, of those that were left out.
        not_judged: batch sizes outside the range that trained.
    """

    reason: str = ""
    unit: Unit | None = None
    effect: float | None = None
    floor: bool = False
    interval: tuple[float, float] | None = None
    p_for: float | None = None
    p_against: float | None = None
    is_two_sided: bool = False
    distance: float = math.nan
    spread: float = math.nan
    seeds: int = 0
    sample: tuple[Cell, ...] = ()
    batch_sizes: int = 0
    invalid_trials: Mapping[str, int] = field(default_factory=dict)
    doubts: str = ""
    detail: str = ""
    trains: tuple[int, ...] = ()
    bad: Mapping[int, Counter[str]] = field(default_factory=dict)
    not_judged: tuple[int, ...] = ()

    @property
    def p(self) -> float | None:
        """Of the claim being right, or wrong; `None`: it was not tested."""
        if self.p_for is None or self.p_against is None:
            return None
        return min(1.0, (1 + self.is_two_sided) * min(self.p_for, self.p_against))

    @property
    def n(self) -> str:
        """`3 seeds x 7 batch sizes (64-4096) x 2 regimes`; empty: there are none."""
        if not self.sample:
            return ""
        regimes, sizes, momenta = (sorted(set(values)) for values in zip(*self.sample, strict=True))
        span = (
            f"{len(sizes)} batch sizes ({sizes[0]}-{sizes[-1]})"
            if len(sizes) > 1
            else f"batch size {sizes[0]}"
        )
        parts = [counted(self.seeds, "seed"), span]
        parts += [
            f"{len(of)} {what}" for of, what in ((momenta, "momenta"), (regimes, "regimes")) if len(of) > 1
        ]
        cells = len(set(self.sample))
        is_full = cells == len(sizes) * len(momenta) * len(regimes)
        return " x ".join(parts) + ("" if is_full else f" ({cells} cells)")

    def words(self, unit: Unit | None) -> str:
        """The effect with its interval in a unit: `+3.3 points [+2.1, +4.5] per doubling`; empty: there is none."""
        return "" if unit is None or self.effect is None else unit.words(self.effect, self.interval)

    @property
    def numbers(self) -> str:
        """The effect with its interval and what else belongs to it; empty: there is none."""
        return "; ".join(filter(None, (self.words(self.unit), self.detail)))

    @property
    def range(self) -> str:
        """The range that is judged, where others were left out: `from 64 to 1024`."""
        return f"from {self.trains[0]} to {self.trains[-1]}" if self.trains else ""

    @property
    def left_out(self) -> str:
        """What is left out and why: `at 4096 3 of 3 collapsed`."""
        said = []
        for size, counts in sorted(self.bad.items()):
            of_all = sum(counts.values())
            what = " and ".join(f"{counts[kind]} of {of_all} {kind}" for kind in BAD if counts[kind])
            said.append(f"at {size} {what}")
        if self.not_judged:
            said.append(f"{', '.join(map(str, self.not_judged))} not judged")
        return "; ".join(said)

    @property
    def invalid(self) -> str:
        """The invalid trials in words; empty if there are none."""
        return ", ".join(f"{count} {kind}" for kind, count in self.invalid_trials.items())


def decide(basis: Evidence, test: Callable[[], Mapping[str, Any]]) -> Evidence:
    """The evidence for an effect: tested where there are enough seeds and batch sizes, else described.

    Args:
        basis: without a test.
        test: gives the interval, both p-values, and what else belongs to them.
    """
    needed = ((basis.seeds, MIN_SEEDS, "seeds"), (basis.batch_sizes, MIN_BATCH_SIZES, "batch sizes"))
    lacking = [f"{count} of at least {least} {what}" for count, least, what in needed if count < least]
    return replace(basis, reason=" and ".join(lacking)) if lacking else replace(basis, **test())


class Untestable(Exception):  # noqa: N818  # no error: a claim without numbers
    """Ends a test where there are no numbers."""

    def __init__(self, evidence: Evidence) -> None:
        super().__init__(evidence.reason)
        self.evidence = evidence


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

    def test() -> dict[str, Any]:
        c = contrast(table, weights)
        return has_sign(c, sign) | {"interval": _interval(metric, c)}

    return decide(replace(basis, unit=Unit(metric.scale, per), effect=metric.shown(effect)), test)


def has_sign(c: Contrast, sign: int) -> dict[str, Any]:
    """What evidence has of the test that a contrast is above (sign 1) or below (-1) zero."""
    p_for, p_against = (c.p_greater, c.p_less)[::sign]
    return {
        "p_for": p_for,
        "p_against": p_against,
        "is_two_sided": True,
        "distance": c.estimate,
        "spread": c.spread,
    }


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

    def test() -> dict[str, Any]:
        found = [_against(table, weights, metric.margin, side) for weights in asked.differences.values()]
        weakest = max(found, key=lambda t: t["p_for"])
        against = min(1.0, len(found) * min(t["p_against"] for t in found))
        interval = _interval(metric, contrast(table, asked.differences[widest]))
        return weakest | {"p_against": against, "interval": interval}

    unit = Unit(metric.scale, pair=widest)
    return decide(replace(basis, unit=unit, effect=metric.shown(means[widest])), test)


def _against(table: Array, weights: Array, margin: float, side: int) -> dict[str, float]:
    """A difference against the margin: one-sided p-values, and how far from it the estimate is."""
    below = contrast(table, (side or 1) * weights, -margin)
    p_for, p_against, distance = below.p_greater, below.p_less, below.estimate + margin
    if not side:
        above = contrast(table, weights, margin)
        p_for, p_against = max(above.p_less, p_for), min(1.0, 2 * min(above.p_greater, p_against))
        distance = margin - abs(below.estimate)
    return {"p_for": p_for, "p_against": p_against, "distance": distance, "spread": below.spread}


def _interval(metric: Metric, c: Contrast) -> tuple[float, float]:
    return metric.shown(c.low), metric.shown(c.high)


def _table(cells: Cells, metric: Metric, asked: Comparison) -> tuple[Array, Evidence]:
    """The table of cells, and of the trials behind it what evidence says; those that dropped out of the table count as
    invalid too. On the floor every cell mean is within the margin of 0 or of chance, so that nothing can be told apart."""
    table, sample = cells.table(metric, asked.cells), tuple(asked.cells)
    kinds = {(cell.regime, cell.momentum) for cell in sample}
    basis = Evidence(
        seeds=len(table),
        sample=sample,
        batch_sizes=asked.sizes or len({cell.batch_size for cell in sample}),
        invalid_trials=cells.invalid_trials(metric, lambda cell: (cell.regime, cell.momentum) in kinds),
        doubts=cells.doubts(metric, lambda cell: cell in sample),
    )
    if len(table) == 0:
        raise Untestable(replace(basis, reason="no seed has all of the cells"))
    means = table.mean(0)
    near = (means <= ACCURACY_MARGIN + ZERO) | (abs(means - cells.chance) <= ACCURACY_MARGIN + ZERO)
    return table, replace(basis, floor=metric.is_share and bool(near.all()))


def untestable(
    cells: Cells, metric: Metric, what: str, invalid_trials: Mapping[str, int] | None = None
) -> Untestable:
    """There are no numbers: the metric was not measured, or `what` else is lacking."""
    if not cells.has(metric):
        what = f"{metric.name} was not measured"
        if metric.attack:
            what = f"no trial was attacked with {metric.attack} at ε = {metric.epsilon:g}"
    return Untestable(Evidence(reason=what, invalid_trials=invalid_trials or {}))


def rounded(value: float | None) -> float | None:
    """To six digits; `None` where it is not finite."""
    return float(f"{value:.6g}") if value is not None and math.isfinite(value) else None


def p_in_words(value: float) -> str:
    """`0.012`, or `< 0.0001`."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"
