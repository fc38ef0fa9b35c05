"""What the trials say about one claim: it was tested, only described, or cannot be said.

A p-value exists on `Tested` alone, so that nothing can take a missing one for a strong one.
"""

from __future__ import annotations

from dataclasses import dataclass, fields


@dataclass(frozen=True, kw_only=True)
class Basis:
    """On what evidence stands, in any case.

    Attributes:
        unit: of the effect and its interval, such as `points per doubling`.
        n: seeds and cells in words; empty where there are none.
        spoilt: diverged, collapsed or doubtful trials in the range, in words; empty if there are none.
        detail: what else to know, in words.
        batch_sizes: how many count towards the least that a test needs.
        trains: the range of batch sizes that is judged, where others were left out; else empty.
        left_out: what was left out, in words.
        doubts: trials that take part and fail a check of their robustness, in words; empty if there are none.
    """

    unit: str = ""
    seeds: int = 0
    cells: int = 0
    n: str = ""
    spoilt: str = ""
    detail: str = ""
    batch_sizes: int = 0
    trains: tuple[int, ...] = ()
    left_out: str = ""
    doubts: str = ""

    @property
    def range(self) -> str:
        """The range that is judged, where others were left out: `from 64 to 1024`."""
        return f"from {self.trains[0]} to {self.trains[-1]}" if self.trains else ""


@dataclass(frozen=True, kw_only=True)
class Impossible(Basis):
    """No numbers, and the reason."""

    reason: str


@dataclass(frozen=True, kw_only=True)
class _Numbers(Basis):
    """Numbers in `unit`: points of accuracy, a factor of the eigenvalue, or a rank correlation.

    `floor`: all accuracies are so near 0 or guessing that nothing can be told apart.
    """

    effect: float
    floor: bool


@dataclass(frozen=True, kw_only=True)
class Described(_Numbers):
    """Numbers without a test, and the reason."""

    reason: str
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class Tested(_Numbers):
    """Numbers with one-sided p-values, before Holm's correction.

    `agrees_for` and `agrees_against`: the seeds' own intervals show it too.
    """

    interval: tuple[float, float]  # 95 %
    p_for: float
    p_against: float
    agrees_for: bool
    agrees_against: bool

    @property
    def p(self) -> float:
        """Two-sided: the claim may be right or wrong."""
        return min(1.0, 2 * min(self.p_for, self.p_against))

    def untested(self, reason: str) -> Described:
        """The same numbers, where a test would not be worth anything."""
        kept = {
            field.name: getattr(self, field.name) for field in fields(Described) if field.name != "reason"
        }
        return Described(**kept, reason=reason)


Evidence = Tested | Described | Impossible


# In words


def effect_in_words(effect: float, interval: tuple[float, float] | None, unit: str) -> str:
    """An effect with its interval: `+3.3 points [+2.1, +4.5] per doubling`."""
    kind, _, rest = unit.partition(" ")
    shape = ".3g" if kind == "factor" else "+.2f"
    value = {"points": f"{effect:{shape}} points", "factor": f"factor {effect:{shape}}"}
    ends = f" [{interval[0]:{shape}}, {interval[1]:{shape}}]" if interval else ""
    return f"{value.get(kind, f'{effect:{shape}}')}{ends} {rest if kind in value else ''}".strip()


def p_in_words(value: float) -> str:
    """`0.012`, or `< 0.0001`."""
    return "< 0.0001" if value < 1e-4 else f"{value:.2g}"
