"""Which regimes the trials hold: a label, and behind it the rule for the learning rate.

A label says little: two sweeps may both call a regime LR and train at different rates. So a regime
of the report is a label together with its rule (a constant rate, or a constant ratio of it to the
batch size), its decay and how long it trains. With batch size and momentum that is a cell, whole.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import pandas as pd

from tfsgd.plan.length import Length
from tfsgd.plan.settings import Setting, plain, settings
from tfsgd.reporting.paper import HALVE_EVERY_EPOCHS, PAPER_LENGTH, PAPER_VALUE, REGIMES

Quantity = Literal["rate", "ratio", "rates"]  # what is constant; "rates": each batch size has its own
Point = tuple[int, float]  # batch size, learning rate

NOBODY: Mapping[str, str] = MappingProxyType({})
TOLERANCE = 1e-9  # relative; between rates that are equal on paper


@dataclass(frozen=True)
class Rule:
    """How a regime's learning rate follows from the batch size, how it decays, and how long it trains."""

    quantity: Quantity
    value: float  # the rate or the ratio; 0 where each batch size has its own
    halve_every_epochs: int | None
    length: Length
    beyond: str = ""  # rules that the paper has not, see `rules_beyond`

    def fits(self, settings: _Settings) -> bool:
        if (self.halve_every_epochs, self.length, self.beyond) != settings[2:]:
            return False
        return self.quantity == "rates" or _same(
            _value(self.quantity, settings.batch_size, settings.learning_rate), self.value
        )


@dataclass(frozen=True)
class LabelledRegime:
    """A label with one rule; `kind` is the regime of the paper that has such a rule, or "other"."""

    label: str
    rule: Rule
    kind: str
    name: str  # the label, and what sets it apart where several regimes have that label
    is_chosen: bool = False  # whether the config says that it plays the paper's


class _Settings(NamedTuple):
    """What a trial trains with besides its momentum and seed."""

    batch_size: int
    learning_rate: float
    halve_every_epochs: int | None
    length: Length
    beyond: str


def _value(quantity: Quantity, batch_size: int, learning_rate: float) -> float:
    """The rate itself, or its ratio to the batch size."""
    return learning_rate / batch_size if quantity == "ratio" else learning_rate


def _same(a: float, b: float) -> bool:
    return math.isclose(a, b, rel_tol=TOLERANCE)


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

    One that the config says plays it is taken first. All train equally long: as the paper does, or the longest, in epochs where some do. Where several do the same at different
    rates, the one with the paper's rate is taken, then the one with the paper's label, then the first.
    """
    of_kind = [regime for regime in regimes if regime.kind in REGIMES]
    lengths = {regime.rule.length for regime in of_kind}
    length = PAPER_LENGTH if PAPER_LENGTH in lengths else max(lengths, key=_longer, default=PAPER_LENGTH)

    def strangeness(regime: LabelledRegime) -> tuple[bool, bool, bool, bool]:
        rule = regime.rule
        other_decay = regime.kind == "Benchmark" and rule.halve_every_epochs != HALVE_EVERY_EPOCHS
        other_rate = not _same(rule.value, PAPER_VALUE[regime.kind])
        return not regime.is_chosen, other_rate, other_decay, regime.label != regime.kind

    chosen = {}
    for kind in REGIMES:
        candidates = [r for r in of_kind if r.kind == kind and r.rule.length == length]
        if candidates:
            chosen[kind] = min(candidates, key=strangeness)
    return chosen


def expand_by_regime(trials: pd.DataFrame, regimes: Sequence[LabelledRegime]) -> pd.DataFrame:
    """The trials, once for every regime that they belong to: `regime` is then that regime's name."""
    rows, names = [], []
    for i, found in enumerate(_memberships(trials, regimes)):
        for regime in found:
            rows.append(i)
            names.append(regime.name)
    return trials.drop(columns="regimes").iloc[rows].reset_index(drop=True).assign(regime=names)


def with_first_regime(trials: pd.DataFrame, regimes: Sequence[LabelledRegime]) -> pd.DataFrame:
    """The trials, each once: `regime` is the name of the first regime that it belongs to."""
    first = []
    for label, found in zip(trials["regime"], _memberships(trials, regimes), strict=True):
        stored = [regime for regime in found if regime.label == label]
        first.append((stored or found)[0].name)
    return trials.assign(regime=first)


def _memberships(trials: pd.DataFrame, regimes: Sequence[LabelledRegime]) -> Iterator[list[LabelledRegime]]:
    """For each trial the regimes that it belongs to, in the order of its labels."""
    known: dict[tuple[str, _Settings], list[LabelledRegime]] = {}
    for labels, trained in zip(trials["regimes"], _settings(trials), strict=True):
        found: list[LabelledRegime] = []
        for label in labels:
            if (label, trained) not in known:
                fitting = [r for r in regimes if r.label == label and r.rule.fits(trained)]
                known[label, trained] = fitting
            found += known[label, trained]
        yield found


def _settings(trials: pd.DataFrame) -> Iterator[_Settings]:
    names = ["batch_size", "learning_rate", "halve_every_epochs", "epochs", "budget"]
    columns = [*(trials[name] for name in names), rules_beyond(trials)]
    for size, rate, halve, epochs, budget, beyond in zip(*columns, strict=True):
        length = Length("epochs", int(epochs)) if pd.isna(budget) else Length("updates", int(budget))
        yield _Settings(int(size), float(rate), None if pd.isna(halve) else int(halve), length, beyond)


def rules_beyond(trials: pd.DataFrame) -> list[str]:
    """Of each trial the settings in use that the paper has not, such as `weight decay 0.0005`; empty: none."""
    later = [s for s in settings() if s.is_beyond and s.parts_cells and s.name in trials]
    said = [[_said(s, value) for value in trials[s.name]] for s in later]
    return [", ".join(filter(None, of_trial)) for of_trial in zip(*said, strict=True)] or [""] * len(trials)


def _said(setting: Setting, value: Any) -> str:
    if value == plain(setting.default) or pd.isna(value):
        return ""
    return setting.title if value is True else f"{setting.title} {value}"


# Rules


def _regimes(label: str, settings: Iterable[_Settings], plays: Mapping[str, str]) -> list[LabelledRegime]:
    """One label's regimes, by value, decay, length and rules beyond the paper's."""
    groups: dict[tuple[int | None, Length, str], set[Point]] = {}
    for s in settings:
        groups.setdefault(s[2:], set()).add(s[:2])
    found = []
    for (halve, length, beyond), points in groups.items():
        for quantity, value, sizes in _fewest_rules(label, sorted(points)):
            rule = Rule(quantity, value, halve, length, beyond)
            found.append((rule, plays.get(label) or _kind(label, rule, sizes)))
    found.sort(key=lambda item: _order(item[0]))
    rules = [rule for rule, _ in found]
    is_chosen = label in plays
    return [LabelledRegime(label, rule, kind, _name(label, rule, rules), is_chosen) for rule, kind in found]


def _order(rule: Rule) -> tuple[float, int, tuple[bool, int], str]:
    return rule.value, rule.halve_every_epochs or 0, _longer(rule.length), rule.beyond


def _longer(length: Length) -> tuple[bool, int]:
    return length.unit == "epochs", length.count


def _kind(label: str, rule: Rule, sizes: int) -> str:
    if rule.beyond:
        return "other"
    if rule.halve_every_epochs is not None:
        return "Benchmark" if rule.quantity == "rate" or sizes == 1 else "other"
    if sizes == 1:  # a constant rate or a constant ratio: only the label can tell
        return label if label in ("LR", "LR/BS") else "other"
    return {"rate": "LR", "ratio": "LR/BS", "rates": "other"}[rule.quantity]


def _name(label: str, rule: Rule, rules: Sequence[Rule]) -> str:
    """The label, and what tells this rule from the others of the same label."""
    parts = [label]
    if len({(r.quantity, r.value) for r in rules}) > 1:
        parts.append(f"{rule.quantity} {rule.value:.10g}" if rule.value else "rates of its own")
    if len({r.halve_every_epochs for r in rules}) > 1:
        parts.append(f"halved every {rule.halve_every_epochs}" if rule.halve_every_epochs else "not halved")
    if len({r.length for r in rules}) > 1:
        parts.append(str(rule.length))
    if rule.beyond:
        parts.append(rule.beyond)
    return ", ".join(parts)


_Found = tuple[Quantity, float, int]  # a rule's quantity and value, and at how many batch sizes it is seen


def _fewest_rules(label: str, points: Sequence[Point]) -> list[_Found]:
    """The fewest constant rates, constant ratios, or both, that account for all points."""
    order: tuple[Quantity, Quantity] = ("ratio", "rate") if label == "LR/BS" else ("rate", "ratio")
    rules = min((_pure(quantity, points) for quantity in order), key=len)
    if len(rules) > 1:
        rules = min(rules, _mixed(order, points), key=len)
    if 2 < len(rules) == len(points) == len({size for size, _ in points}):
        return [("rates", 0.0, len(points))]
    return rules


def _pure(quantity: Quantity, points: Sequence[Point]) -> list[_Found]:
    """Rules of one quantity."""
    found: dict[float, list[int]] = {}
    for size, rate in points:
        value = _value(quantity, size, rate)
        known = next((other for other in found if _same(other, value)), value)
        found.setdefault(known, []).append(size)
    return [(quantity, value, len(set(sizes))) for value, sizes in found.items()]


def _mixed(order: Sequence[Quantity], points: Sequence[Point]) -> list[_Found]:
    """Rules of both quantities: again and again the one that accounts for most of what is left."""
    rules, left = [], list(points)
    while left:
        best = max((rule for quantity in order for rule in _pure(quantity, left)), key=lambda rule: rule[2])
        quantity, value, _ = best
        rules.append(best)
        left = [point for point in left if not _same(_value(quantity, *point), value)]
    return rules
