"""Which regimes the trials hold: a label, and behind it the rule for the learning rate.

A label says little: two sweeps may both call a regime LR and train at different rates. So a regime
of the report is a label together with its rule (a constant rate, or a constant ratio of it to the
batch size), its decay and how long it trains. With batch size and momentum that is a cell, whole.
"""

import functools
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Literal, NamedTuple

import pandas as pd

from tfsgd.plan.length import Length
from tfsgd.plan.settings import plain, settings
from tfsgd.reporting.paper import HALVE_EVERY_EPOCHS, PAPER_LENGTH, PAPER_VALUE, REGIMES

Quantity = Literal["rate", "ratio", "rates"]  # what is constant; "rates": each batch size has its own
Point = tuple[int, float]  # batch size, learning rate

NOBODY: Mapping[str, str] = MappingProxyType({})
TOLERANCE = 1e-9  # relative; between rates that are equal on paper


class _Settings(NamedTuple):
    """What a trial trains with besides its momentum and seed."""

    batch_size: int
    learning_rate: float
    halve_every_epochs: int | None
    length: Length
    beyond: str


@dataclass(frozen=True)
class LabelledRegime:
    """A label with one rule: how the learning rate follows from the batch size, how it decays, and how long it trains.

    Attributes:
        label: of the config.
        quantity: what is constant.
        value: the rate or the ratio; 0 where each batch size has its own.
        halve_every_epochs: `None`: the rate does not decay.
        length: of each training.
        beyond: rules that the paper has not, see `rules_beyond`.
        is_chosen: whether the config says that it plays the paper's.
        kind: the regime of the paper that has such a rule, or "other".
        name: the label, and what sets it apart where several regimes have that label.
    """

    label: str
    quantity: Quantity
    value: float
    halve_every_epochs: int | None
    length: Length
    beyond: str
    is_chosen: bool
    kind: str = "other"
    name: str = ""

    def has(self, trained: _Settings) -> bool:
        """Whether a trial follows the rule."""
        if (self.halve_every_epochs, self.length, self.beyond) != trained[2:]:
            return False
        return self.quantity == "rates" or _same(_value(self.quantity, *trained[:2]), self.value)


def _value(quantity: Quantity, batch_size: int, learning_rate: float) -> float:
    """The rate itself, or its ratio to the batch size."""
    return learning_rate / batch_size if quantity == "ratio" else learning_rate


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=TOLERANCE)


def _longer(length: Length) -> tuple[bool, int]:
    return length.unit == "epochs", length.count


# Regimes


def regimes_of(trials: pd.DataFrame, plays: Mapping[str, str] = NOBODY) -> list[LabelledRegime]:
    """The regimes of a study's trials (see `Study.trials`), in the order in which their labels appear.

    Args:
        trials: of a study.
        plays: which labels stand for which regime of the paper, whatever they do.
    """
    by_label: dict[str, set[_Settings]] = {}
    for labels, trained in zip(trials["regimes"], _settings(trials), strict=True):
        for label in labels:
            by_label.setdefault(label, set()).add(trained)
    return [regime for label, found in by_label.items() for regime in _regimes(label, found, plays)]


def paper_regimes(regimes: Sequence[LabelledRegime]) -> dict[str, LabelledRegime]:
    """The regimes that stand for the paper's LR, LR/BS and Benchmark, by what they do.

    One that the config says plays it is taken first. All train equally long: as the paper does, or the longest, in epochs
    where some do. Where several do the same at different rates, the one with the paper's rate is taken, then the one with
    the paper's label, then the first.
    """
    of_kind = [regime for regime in regimes if regime.kind in REGIMES]
    lengths = {regime.length for regime in of_kind}
    length = PAPER_LENGTH if PAPER_LENGTH in lengths else max(lengths, key=_longer, default=PAPER_LENGTH)

    def strangeness(regime: LabelledRegime) -> tuple[bool, bool, bool, bool]:
        other_decay = regime.kind == "Benchmark" and regime.halve_every_epochs != HALVE_EVERY_EPOCHS
        other_rate = not _same(regime.value, PAPER_VALUE[regime.kind])
        return not regime.is_chosen, other_rate, other_decay, regime.label != regime.kind

    candidates = {kind: [r for r in of_kind if (r.kind, r.length) == (kind, length)] for kind in REGIMES}
    return {kind: min(found, key=strangeness) for kind, found in candidates.items() if found}


def expand_by_regime(trials: pd.DataFrame, regimes: Sequence[LabelledRegime]) -> pd.DataFrame:
    """The trials, once for every regime that they belong to: `regime` is then that regime's name."""
    found = [(i, r.name) for i, of in enumerate(_memberships(trials, regimes)) for r in of]
    rows, names = [i for i, _ in found], [name for _, name in found]
    return trials.drop(columns="regimes").iloc[rows].reset_index(drop=True).assign(regime=names)


def with_first_regime(trials: pd.DataFrame, regimes: Sequence[LabelledRegime]) -> pd.DataFrame:
    """The trials, each once: `regime` is the name of the first regime that it belongs to, under its label if it can be."""
    found = zip(trials["regime"], _memberships(trials, regimes), strict=True)
    return trials.assign(regime=[min(of, key=lambda r: r.label != label).name for label, of in found])


def _memberships(trials: pd.DataFrame, regimes: Sequence[LabelledRegime]) -> Iterator[list[LabelledRegime]]:
    """For each trial the regimes that it belongs to, in the order of its labels."""

    @functools.cache
    def having(label: str, trained: _Settings) -> list[LabelledRegime]:
        return [r for r in regimes if r.label == label and r.has(trained)]

    for labels, trained in zip(trials["regimes"], _settings(trials), strict=True):
        yield [regime for label in labels for regime in having(label, trained)]


def _settings(trials: pd.DataFrame) -> Iterator[_Settings]:
    names = ["batch_size", "learning_rate", "halve_every_epochs", "epochs", "budget"]
    columns = [*(trials[name] for name in names), rules_beyond(trials)]
    for size, rate, halve, epochs, budget, beyond in zip(*columns, strict=True):
        length = Length("epochs", int(epochs)) if pd.isna(budget) else Length("updates", int(budget))
        yield _Settings(int(size), float(rate), None if pd.isna(halve) else int(halve), length, beyond)


def rules_beyond(trials: pd.DataFrame) -> list[str]:
    """Of each trial the settings in use that the paper has not, such as `weight decay 0.0005`; empty: none."""
    said: list[list[str]] = [[] for _ in range(len(trials))]
    for s in (s for s in settings() if s.is_beyond and s.parts_cells and s.name in trials):
        for of_trial, value in zip(said, trials[s.name], strict=True):
            if value != plain(s.default) and not pd.isna(value):
                of_trial.append(s.title if value is True else f"{s.title} {value}")
    return [", ".join(of_trial) for of_trial in said]


# Rules


def _regimes(label: str, trained: Iterable[_Settings], plays: Mapping[str, str]) -> list[LabelledRegime]:
    """One label's regimes, by value, decay, length and rules beyond the paper's."""
    groups: dict[tuple[int | None, Length, str], set[Point]] = {}
    for s in trained:
        groups.setdefault(s[2:], set()).add(s[:2])
    found = []
    for how, points in groups.items():
        for quantity, value, sizes in _fewest_rules(label, sorted(points)):
            regime = LabelledRegime(label, quantity, value, *how, label in plays)
            found.append(replace(regime, kind=plays.get(label) or _kind(regime, sizes)))
    found.sort(key=lambda r: (r.value, r.halve_every_epochs or 0, _longer(r.length), r.beyond))
    return [replace(regime, name=_name(regime, found)) for regime in found]


def _kind(regime: LabelledRegime, sizes: int) -> str:
    if regime.beyond:
        return "other"
    if regime.halve_every_epochs is not None:
        return "Benchmark" if regime.quantity == "rate" or sizes == 1 else "other"
    if sizes == 1:  # a constant rate or a constant ratio: only the label can tell
        return regime.label if regime.label in ("LR", "LR/BS") else "other"
    return {"rate": "LR", "ratio": "LR/BS", "rates": "other"}[regime.quantity]


def _name(regime: LabelledRegime, others: Sequence[LabelledRegime]) -> str:
    """The label, and what tells this regime from the others of the same label."""
    parts, halve = [regime.label], regime.halve_every_epochs
    if len({(r.quantity, r.value) for r in others}) > 1:
        parts.append(f"{regime.quantity} {regime.value:.10g}" if regime.value else "rates of its own")
    if len({r.halve_every_epochs for r in others}) > 1:
        parts.append(f"halved every {halve}" if halve else "not halved")
    if len({r.length for r in others}) > 1:
        parts.append(str(regime.length))
    return ", ".join(filter(None, [*parts, regime.beyond]))


_Found = tuple[Quantity, float, int]  # a rule's quantity and value, and at how many batch sizes it is seen


def _fewest_rules(label: str, points: Sequence[Point]) -> list[_Found]:
    """The fewest constant rates, constant ratios, or both, that account for all points."""
    order: tuple[Quantity, Quantity] = ("ratio", "rate") if label == "LR/BS" else ("rate", "ratio")
    rules = min(*(_pure(quantity, points) for quantity in order), _mixed(order, points), key=len)
    if 2 < len(rules) == len(points) == len({size for size, _ in points}):
        return [("rates", 0.0, len(points))]
    return rules


def _pure(quantity: Quantity, points: Sequence[Point]) -> list[_Found]:
    """Rules of one quantity."""
    found: dict[float, set[int]] = {}
    for size, rate in points:
        value = _value(quantity, size, rate)
        known = next((other for other in found if _same(other, value)), value)
        found.setdefault(known, set()).add(size)
    return [(quantity, value, len(sizes)) for value, sizes in found.items()]


def _mixed(order: Sequence[Quantity], points: Sequence[Point]) -> list[_Found]:
    """Rules of both quantities: again and again the one that accounts for most of what is left."""
    rules, left = [], list(points)
    while left:
        best = max((rule for quantity in order for rule in _pure(quantity, left)), key=lambda rule: rule[2])
        rules.append(best)
        left = [point for point in left if not _same(_value(best[0], *point), best[1])]
    return rules
