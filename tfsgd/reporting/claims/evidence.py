"""What the trials say about one claim: it was tested, only described, or cannot be tested.

A p-value exists on `Tested` alone, so that nothing can take a missing one for a strong one.
"""

import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any, Literal

from tfsgd.reporting.paper import BAD, MIN_BATCH_SIZES, MIN_SEEDS
from tfsgd.reporting.table.cell import Cell
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
class Basis:
    """What the evidence is based on.

    Attributes:
        unit: of the effect and its interval; `None`: there are no numbers.
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

    unit: Unit | None = None
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

    @property
    def numbers(self) -> str:
        """The effect with its interval and what else belongs to it; empty: there is none."""
        return ""

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


@dataclass(frozen=True, kw_only=True)
class Impossible(Basis):
    """No numbers, and the reason."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class _Numbers(Basis):
    """An effect in `unit`; `floor`: all accuracies are so near 0 or chance that nothing can be told apart."""

    effect: float
    floor: bool
    interval: tuple[float, float] | None = None

    @property
    def numbers(self) -> str:
        assert self.unit
        return "; ".join(filter(None, (self.unit.words(self.effect, self.interval), self.detail)))


@dataclass(frozen=True, kw_only=True)
class Described(_Numbers):
    """Numbers without a test, and the reason."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class Tested(_Numbers):
    """Numbers with a 95 % interval and p-values before Holm's correction, all by Student's t of one contrast a seed.

    Attributes:
        p_for, p_against: one-sided.
        is_two_sided: the claim has a direction, so that with no effect at all either way would be an error.
        distance: of the contrast from what it has to differ from; it decides about the claim.
        spread: the standard deviation of that contrast over the seeds.
    """

    interval: tuple[float, float]
    p_for: float
    p_against: float
    is_two_sided: bool
    distance: float
    spread: float

    @property
    def p(self) -> float:
        """Of the claim being right, or wrong."""
        return min(1.0, (1 + self.is_two_sided) * min(self.p_for, self.p_against))

    def untested(self, reason: str) -> Described:
        """The same numbers, where a test would not be worth anything."""
        kept = {f.name: getattr(self, f.name) for f in fields(Described) if f.name != "reason"}
        return Described(**kept, reason=reason)


Evidence = Tested | Described | Impossible


TEST = ("interval", "p_for", "p_against", "is_two_sided", "distance", "spread")  # what `Tested` has besides


def decide(numbers: Mapping[str, Any], effect: float, test: Callable[[], tuple[Any, ...]]) -> Evidence:
    """The evidence for an effect: tested where there are enough seeds and batch sizes, else described.

    Args:
        numbers: the fields of `Basis`, and `floor`.
        effect: in the unit.
        test: gives the values of `TEST`.
    """
    needed = (
        (numbers["seeds"], MIN_SEEDS, "seeds"),
        (numbers["batch_sizes"], MIN_BATCH_SIZES, "batch sizes"),
    )
    lacking = [f"{count} of at least {least} {what}" for count, least, what in needed if count < least]
    if lacking:
        return Described(**numbers, effect=effect, reason=" and ".join(lacking))
    return Tested(**numbers, effect=effect, **dict(zip(TEST, test(), strict=True)))


class Untestable(Exception):  # noqa: N818  # no error: a claim without numbers
    """Ends a test where there are no numbers."""

    def __init__(self, evidence: Impossible) -> None:
        super().__init__(evidence.reason)
        self.evidence = evidence


def rounded(value: float) -> float | None:
    """To six digits; `None` where it is not finite."""
    return float(f"{value:.6g}") if math.isfinite(value) else None


def p_in_words(value: float) -> str:
    """`0.012`, or `< 0.0001`."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"
