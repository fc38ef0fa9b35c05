"""Which regimes the trials hold: a label, and behind it the rule for the learning rate.

A label says little: two sweeps may both call a regime LR and train at different rates. So a regime
of the report is a label together with its rule, its decay and how long it trains. With batch size and
momentum that is a cell, whole.

The rules are those of the configs. A trial that follows none of them, as without an experiment.yaml, has the rate that its
record says, or under the label LR/BS its ratio to the batch size, and is the paper's by its label alone.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from types import MappingProxyType
from typing import Any, NamedTuple

import pandas as pd

from tfsgd.plan.length import Length
from tfsgd.plan.regimes import Regime
from tfsgd.plan.settings import plain, settings
from tfsgd.reporting.paper import HALVE_EVERY_EPOCHS, PAPER_LENGTH, PAPER_VALUE, REGIMES

Rules = Mapping[str, Sequence[Regime]]  # label -> its blocks in the configs

NO_RULES: Rules = MappingProxyType({})
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
        quantity: what is constant: the rate, its ratio to the batch size, or that to its square root (`sqrt`).
        value: the constant.
        halve_every_epochs: `None`: the rate does not decay.
        length: of each training.
        beyond: rules that the paper has not, see `rules_beyond`.
        kind: the regime of the paper that has such a rule, or that the config says it plays, or "other".
        is_chosen: whether the config says so.
        name: the label, and what sets it apart where several regimes have that label.
    """

    label: str
    quantity: str
    value: float
    halve_every_epochs: int | None
    length: Length
    beyond: str
    kind: str = "other"
    is_chosen: bool = False
    name: str = ""


def regimes_of(trials: pd.DataFrame, rules: Rules = NO_RULES) -> list[LabelledRegime]:
    """The regimes of a study's trials (see `Study.trials`), in the order in which their labels appear.

    Args:
        trials: of a study.
        rules: of its configs.
    """
    return [*chain.from_iterable(_by_label(_memberships(trials, rules)).values())]


def expand_by_regime(trials: pd.DataFrame, rules: Rules = NO_RULES) -> pd.DataFrame:
    """The trials, once for every regime that they belong to: `regime` is then that regime's name."""
    names = [[regime.name for regime in of] for of in _memberships(trials, rules)]
    return trials.drop(columns="regimes").assign(regime=names).explode("regime", ignore_index=True)


def with_first_regime(trials: pd.DataFrame, rules: Rules = NO_RULES) -> pd.DataFrame:
    """The trials, each once: `regime` is the name of the first regime that it belongs to, under its label if it can be."""
    found = zip(trials["regime"], _memberships(trials, rules), strict=True)
    return trials.assign(regime=[min(of, key=lambda r: r.label != label).name for label, of in found])


def of_the_paper(trials: pd.DataFrame, rules: Rules) -> pd.DataFrame:
    """The trials without rules beyond the paper's, and those whose regime plays one of the paper's."""
    plays = {label for label, of in rules.items() if any(rule.plays for rule in of)}
    beyond = zip(rules_beyond(trials), trials["regimes"], strict=True)
    return trials[[not said or not plays.isdisjoint(labels) for said, labels in beyond]]


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
        other_rate = not math.isclose(regime.value, PAPER_VALUE[regime.kind], rel_tol=TOLERANCE)
        return not regime.is_chosen, other_rate, other_decay, regime.label != regime.kind

    candidates = {kind: [r for r in of_kind if (r.kind, r.length) == (kind, length)] for kind in REGIMES}
    return {kind: min(found, key=strangeness) for kind, found in candidates.items() if found}


# The regimes of each trial


def _memberships(trials: pd.DataFrame, rules: Rules) -> list[list[LabelledRegime]]:
    """In the order of its labels."""
    labelled = zip(trials["regimes"], _settings(trials), strict=True)
    found = [[r for label in labels for r in _followed(label, s, rules)] for labels, s in labelled]
    named = {r: replace(r, name=_name(r, of)) for of in _by_label(found).values() for r in of}
    return [[named[regime] for regime in of_trial] for of_trial in found]


def _by_label(found: Iterable[Iterable[LabelledRegime]]) -> dict[str, list[LabelledRegime]]:
    """Each label's regimes, by value, decay, length and rules beyond the paper's."""
    by_label: dict[str, set[LabelledRegime]] = {}
    for regime in chain.from_iterable(found):
        by_label.setdefault(regime.label, set()).add(regime)

    def order(r: LabelledRegime) -> tuple[Any, ...]:
        return r.value, r.halve_every_epochs or 0, _longer(r.length), r.beyond

    return {label: sorted(of, key=order) for label, of in by_label.items()}


def _followed(label: str, trained: _Settings, rules: Rules) -> Iterator[LabelledRegime]:
    """What a trial is under one of its labels."""
    (size, rate), how = trained[:2], trained[2:]
    blocks = rules.get(label, ())
    known = [block for block in blocks if math.isclose(block.rate(size), rate, rel_tol=TOLERANCE)]
    plays = next((block.plays for block in blocks if block.plays), None)
    for quantity, value in dict.fromkeys(map(_rule, known)):
        regime = LabelledRegime(label, quantity, value, *how, is_chosen=plays is not None)
        yield replace(regime, kind=plays or _kind(regime))
    if not known:  # ten digits: ratios that are equal on paper are equal here
        ratio = float(f"{rate / size:.10g}")
        quantity, value = ("ratio", ratio) if label == "LR/BS" else ("rate", rate)
        regime = LabelledRegime(label, quantity, value, *how)
        yield replace(regime, kind=label if label == _kind(regime) else "other")


def _rule(block: Regime) -> tuple[str, float]:
    if block.ratio is None and block.scale is None:
        return "rate", block.rate(1)
    return "sqrt" if block.scale == "sqrt" else "ratio", block.rate(1)


def _kind(regime: LabelledRegime) -> str:
    if regime.beyond or regime.quantity == "sqrt":
        return "other"
    if regime.halve_every_epochs is not None:
        return "Benchmark" if regime.quantity == "rate" else "other"
    return "LR" if regime.quantity == "rate" else "LR/BS"


def _name(regime: LabelledRegime, others: Sequence[LabelledRegime]) -> str:
    """The label, and what tells this regime from the others of the same label."""
    parts, halve = [regime.label], regime.halve_every_epochs
    if len({(r.quantity, r.value) for r in others}) > 1:
        parts.append(f"{regime.quantity} {regime.value:.10g}")
    if len({r.halve_every_epochs for r in others}) > 1:
        parts.append(f"halved every {halve}" if halve else "not halved")
    if len({r.length for r in others}) > 1:
        parts.append(str(regime.length))
    return ", ".join(filter(None, [*parts, regime.beyond]))


def _longer(length: Length) -> tuple[bool, int]:
    return length.unit == "epochs", length.count


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
