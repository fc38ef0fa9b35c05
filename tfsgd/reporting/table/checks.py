"""Is a trial's robustness real? Signs of an attack that failed, read from what its record holds.

After Carlini et al. 2019 (arXiv:1902.06705, section 4), the flags of AutoAttack (Croce and Hein 2020) and
Pintor et al. 2022 (arXiv:2106.09947). A check that fails says that an accuracy under attack may be too high; one
that passes proves nothing.
"""

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import combinations
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.attack import SOFTMAX
from tfsgd.measures.spec import Measurement
from tfsgd.measures.zero_gradients import MISDIRECTED
from tfsgd.plan.yaml_io import read_yaml
from tfsgd.records.record import Record
from tfsgd.reporting.paper import COMMON, attack_name

GRADIENT = ("pgd", "bim", "apgd")  # many steps up the gradient of a loss
# Find more the longer they look: a larger ball holds all that a smaller one does.
SEARCH = (*GRADIENT, "square")
WEAKER = ("fgsm", "noise", "square", "transfer")  # in this order of what they say about PGD
CONTROLS = ("noise", "transfer")  # they look for no image's worst case
LARGE = 0.5  # epsilon at which every image can be made grey
ZERO_GRADIENTS = 0.1  # share of the images
RISES = MORE_STEPS = 0.005  # of accuracy: with epsilon, with fewer steps
LAST_RISE = 0.01  # nats: what the last step may still add to the loss
WORST_CASE = 0.01  # of accuracy: what an attack may leave beyond `robust`, on the same images


Sign = Literal["masked gradients", "weak attack", "float32"]

Outcomes = Mapping[str, NDArray[Any]]  # identity of a measurement -> what `tfsgd.records.outcomes` keeps

CHECKS: Mapping[str, Any] = read_yaml(Path(__file__).with_suffix(".yaml"))


@dataclass(frozen=True)
class Check:
    """What one check says of a trial.

    Attributes:
        name: of checks.yaml.
        passed: `None`: what it needs was not measured.
        figure: the worst one, in accuracy or as a share of the images.
        limit: what the figure may be at most, where it is the worst.
        where: the measurements that gave it.
        attacks: the labels of those whose accuracy is in doubt, with the worst figure of each; none: of every attack.
    """

    name: str
    passed: bool | None = None
    figure: float | None = None
    limit: float | None = None
    where: str = ""
    attacks: Mapping[str, float] = field(default_factory=dict)

    @property
    def sign(self) -> Sign:
        """Of what a failure is a sign."""
        return CHECKS[self.name]["sign"]

    @property
    def said(self) -> str:
        """A failure in words, with its figure: `more steps of PGD find more: 0.8 points (pgd at 0.05, 40 and 80 steps)`."""
        of = CHECKS[self.name]
        if self.figure is None:
            return of["said"]
        figure = (
            f"by {self.figure:.2g} nats" if of["unit"] == "nats" else f"{100 * self.figure:.1f} {of['unit']}"
        )
        return f"{of['said']}: {figure} ({self.where})"

    def concerns(self, attack: str) -> bool:
        """Whether the accuracy under an attack, by its label, is in doubt where this fails."""
        return self.sign == "masked gradients" or attack in self.attacks


class _Comparison(NamedTuple):
    """One figure of a check, and its limit."""

    figure: float
    limit: float
    where: str
    attack: str = ""


def checks(record: Record, outcomes: Outcomes | None = None) -> list[Check]:
    """All checks of one trial, always the same ones in the same order: those of checks.yaml, which says when each passes.

    Attacks by `softmax_cross_entropy` are judged by all checks where there are no others, else by the last one alone.

    Args:
        record: of the trial.
        outcomes: what became of every image, as far as it is kept.
    """
    known = [m for m in record.attacks if m.accuracy is not None and m.epsilon is not None]
    softmax = [m for m in known if m.settings.get("loss") == SOFTMAX]
    exact = [m for m in known if m.settings.get("loss") != SOFTMAX]
    attacks = exact if any("loss" in m.settings for m in exact) else known
    worst_case = _worst("worst_case", _beyond_worst_case(attacks, outcomes or {}))
    found = [
        worst_case,
        *(_worst(f"pgd_vs_{name}", _against(attacks, name)) for name in WEAKER),
        _worst("epsilon", _rises(attacks)),
        _worst("large_epsilon", _at_large_epsilon(attacks, record.classes)),
        _worst("steps", _with_more_steps(attacks)),
        _worst("loss_rises", _rising_at_the_end(attacks)),
        _worst("temperature", _at_temperatures(attacks)),
        _worst("zero_gradients", _of_gradients(record, "fraction", ZERO_GRADIENTS)),
        _worst(
            "float32",
            (f for m in softmax for f in _of_gradients(record, "misdirected", MISDIRECTED, m.label)),
        ),
    ]
    if worst_case.passed is None:
        return found
    return [Check(c.name) if c.sign == "weak attack" and c is not worst_case else c for c in found]


def failed(record: Record, outcomes: Outcomes | None = None) -> list[Check]:
    """The checks that a trial fails; empty: none, or nothing was measured."""
    return [check for check in checks(record, outcomes) if check.passed is False]


def common_marks(failed: Sequence[Sequence[Check]], attacks: Iterable[str]) -> dict[str, int]:
    """Attack -> how many networks fail a check that concerns it, of those of which more than two thirds do.

    Args:
        failed: the checks that each network fails.
        attacks: labels.
    """
    count = Counter(a for a in dict.fromkeys(attacks) for of in failed if any(c.concerns(a) for c in of))
    return {attack: number for attack, number in count.items() if number > COMMON * len(failed)}


def said_of_common(failed: Sequence[Sequence[Check]], attacks: Iterable[str]) -> list[str]:
    """The same in words, a line an attack: what the check says that most of them fail, with its median figure."""
    lines = []
    for attack, number in common_marks(failed, attacks).items():
        names = Counter(c.name for of in failed for c in of if c.concerns(attack))
        [(name, _)] = names.most_common(1)
        worst = [c for of in failed for c in of if c.name == name and c.concerns(attack)]
        figures = [c.attacks.get(attack, c.figure or 0.0) for c in worst]
        said = replace(worst[0], figure=float(np.median(figures)), where="in the median").said
        lines.append(
            f"{attack_name(attack)}: {number} of {len(failed)} networks fail a check, so no figure marks it: {said}"
        )
    return lines


def standard_error(accuracy: float, images: int) -> float:
    """Binomial, of an accuracy on so many images; at least one image."""
    return math.sqrt(max(accuracy * (1 - accuracy), 1 / images) / images)


def _worst(name: str, found: Iterable[_Comparison]) -> Check:
    """The worst figure of a check, and every attack that fails it, where it leaves most."""
    figures = sorted(found, key=lambda f: -f.figure) if name == "worst_case" else list(found)
    worst = max(figures, key=lambda f: f.figure - f.limit, default=None)
    if worst is None:
        return Check(name)
    failed: dict[str, _Comparison] = {}
    for f in (f for f in figures if f.attack and f.figure > f.limit):
        failed[f.attack] = max(failed.get(f.attack, f), f, key=lambda f: f.figure)
    said = ", ".join(f.where for f in failed.values()) * (name == "worst_case")
    attacks = {attack: f.figure for attack, f in failed.items()}
    return Check(name, worst.figure <= worst.limit, worst.figure, worst.limit, said or worst.where, attacks)


def _against(attacks: list[Measurement], name: str) -> Iterator[_Comparison]:
    for weaker in attacks:
        for pgd in attacks:
            if (pgd.name, weaker.name) == ("pgd", name) and (pgd.epsilon, pgd.split) == (
                weaker.epsilon,
                weaker.split,
            ):
                limit = standard_error(_accuracy(weaker), weaker.examples)
                if pgd.examples != weaker.examples:  # images in common make that less
                    limit = 3 * math.hypot(limit, standard_error(_accuracy(pgd), pgd.examples))
                where = f"{_said(pgd)}, {_said(weaker)}"
                yield _Comparison(_accuracy(pgd) - _accuracy(weaker), limit, where, pgd.label)


def _beyond_worst_case(attacks: list[Measurement], outcomes: Outcomes) -> Iterator[_Comparison]:
    kept = [m for m in attacks if m.identity in outcomes and m.name not in CONTROLS]
    for robust in (m for m in kept if m.name == "robust"):
        worst = outcomes[robust.identity]
        together = worst.copy()
        for m in (m for m in kept if m is not robust and _is_beside(m, robust)):
            left = outcomes[m.identity][: len(worst)]
            left = left > (robust.epsilon or 0) if left.dtype == np.float32 else left
            together[: len(left)] &= left
            yield _beyond(m, robust, left, worst[: len(left)])
        yield _beyond(robust, robust, worst, together)


def _is_beside(m: Measurement, robust: Measurement) -> bool:
    """Whether its outcomes say what it leaves in the same ball of the same images."""
    same = [(a.split, a.settings.get("norm", "Linf")) for a in (m, robust)]
    at = m.epsilon == robust.epsilon or ("censored" in m.values and (m.epsilon or 0) >= (robust.epsilon or 0))
    return same[0] == same[1] and at


def _beyond(m: Measurement, robust: Measurement, left: NDArray[Any], worst: NDArray[Any]) -> _Comparison:
    figure = float(left.mean() - worst.mean())
    where = f"{m.label} at {robust.epsilon:g}: {100 * figure:.1f}"
    return _Comparison(figure, WORST_CASE, where, m.label)


def _rises(attacks: list[Measurement]) -> Iterator[_Comparison]:
    for alike in _groups((m for m in attacks if m.name in SEARCH), "epsilon", "step_size"):
        by_epsilon = sorted(alike, key=lambda m: m.epsilon or 0.0)
        for small, large in combinations(by_epsilon, 2):
            limit = max(standard_error(_accuracy(small), small.examples), RISES)
            yield _Comparison(_accuracy(large) - _accuracy(small), limit, f"{_said(small)}, {_said(large)}")


def _at_large_epsilon(attacks: list[Measurement], classes: int) -> Iterator[_Comparison]:
    for alike in _groups((m for m in attacks if m.name in GRADIENT), "epsilon", "step_size"):
        largest = max(alike, key=lambda m: m.epsilon or 0.0)
        if (largest.epsilon or 0.0) >= LARGE:
            limit = 1 / classes + standard_error(1 / classes, largest.examples)
            yield _Comparison(_accuracy(largest), limit, _said(largest))


def _with_more_steps(attacks: list[Measurement]) -> Iterator[_Comparison]:
    for alike in _groups((m for m in attacks if m.name == "pgd"), "steps"):
        for few, many in combinations(sorted(alike, key=lambda m: int(m.settings["steps"])), 2):
            if many.settings["steps"] >= 2 * few.settings["steps"]:
                where = f"{_said(few)}, {few.settings['steps']} and {many.settings['steps']} steps"
                yield _Comparison(_accuracy(few) - _accuracy(many), MORE_STEPS, where, few.label)


def _rising_at_the_end(attacks: list[Measurement]) -> Iterator[_Comparison]:
    for m in attacks:
        plain = m.settings.get("loss") in ("cross_entropy", SOFTMAX) and _temperature(m) == 1
        rise = m.values.get("last_rise")
        if m.name == "pgd" and plain and rise is not None:
            yield _Comparison(rise, LAST_RISE, _said(m), m.label)


def _at_temperatures(attacks: list[Measurement]) -> Iterator[_Comparison]:
    for alike in _groups((m for m in attacks if m.name == "pgd"), "temperature"):
        for plain in (m for m in alike if _temperature(m) == 1):
            for m in alike:
                if _temperature(m) != 1:
                    limit = standard_error(_accuracy(m), m.examples)
                    yield _Comparison(_accuracy(plain) - _accuracy(m), limit, f"{_said(plain)}, {_said(m)}")


def _temperature(attack: Measurement) -> float:
    return float(attack.settings.get("temperature", 1))


def _of_gradients(record: Record, share: str, limit: float, attack: str = "") -> Iterator[_Comparison]:
    for m in record.measurements:
        if m.name == "zero_gradients" and m.values.get(share) is not None:
            yield _Comparison(m.values[share], limit, m.label, attack)


def _groups(attacks: Iterable[Measurement], *free: str) -> Iterable[list[Measurement]]:
    """Those that differ in these settings alone; not in images or seed."""
    found: dict[str, list[Measurement]] = defaultdict(list)
    for m in attacks:
        settings = {key: value for key, value in m.settings.items() if key not in free}
        found[json.dumps([m.name, settings, m.split, m.examples, m.seed], sort_keys=True)].append(m)
    return found.values()


def _accuracy(attack: Measurement) -> float:
    return float(attack.values["accuracy"])


def _said(attack: Measurement) -> str:
    return f"{attack.label} at {attack.epsilon:g}"
