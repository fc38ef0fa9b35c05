"""Verdicts: every claim judged on one study's trials, with Holm's correction over the claims."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
import pandas as pd

from tfsgd.reporting.claims.claims import Claim, beyond_claims, claims
from tfsgd.reporting.claims.evidence import Described, Evidence, Impossible, Tested, p_in_words
from tfsgd.reporting.paper import ALPHA, FLOOR, PAPER_ATTACKS
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.columns import Attack
from tfsgd.reporting.table.metrics import attacked
from tfsgd.reporting.table.regime_labels import rules_beyond
from tfsgd.reporting.table.studies import Study

Verdict = Literal["supported", "contradicted", "undecided", "descriptive", "not testable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

AFTER_HOLM = " after Holm's correction"


class _Reason(NamedTuple):
    verdict: Verdict
    reason: str
    is_corrected: bool = False  # it names a p-value after Holm's correction


@dataclass(frozen=True)
class Judgement:
    """A claim, the evidence for it at one epsilon, and the verdict."""

    claim: Claim
    epsilon: float | None
    primary: bool  # no epsilon is involved, or it is the paper's
    evidence: Evidence
    p_holm: float | None = None  # None: it was not tested

    @property
    def verdict(self) -> Verdict:
        return self._found.verdict

    @property
    def why(self) -> str:
        """The reason for the verdict."""
        return f"{self.why_in_short}{AFTER_HOLM * self._found.is_corrected}"

    @property
    def why_in_short(self) -> str:
        where = f"{self.evidence.range} ({self.evidence.left_out}): " if self.evidence.range else ""
        return f"{where}{self._found.reason}"

    @cached_property
    def _found(self) -> _Reason:
        return _verdict(self.evidence, self.p_holm)

    def as_json(self) -> dict[str, Any]:
        e = self.evidence
        interval = None if isinstance(e, Impossible) else e.interval
        return {
            "claim": self.claim.key,
            "group": self.claim.group,
            "statement": self.claim.statement,
            "section": self.claim.section,
            "expected": self.claim.expected,
            "paper_expects": self.claim.expectation == "holds" if self.claim.is_of_the_paper else None,
            "test": self.claim.test.prose,
            "metric": self.claim.metric.name,
            "attack": self.claim.metric.attack,
            "epsilon": self.epsilon,
            "primary": self.primary,
            "verdict": self.verdict,
            "why": self.why,
            "effect": None if isinstance(e, Impossible) else _rounded(e.effect),
            "interval": None if interval is None else [_rounded(end) for end in interval],
            "unit": str(e.unit or ""),
            "detail": e.detail,
            "doubts": e.doubts,
            "n": e.n,
            "range": {"batch_sizes": [*e.trains], "left_out": e.left_out} if e.trains else None,
            "seeds": e.seeds,
            "cells": e.cells,
            "p": _rounded(e.p) if isinstance(e, Tested) else None,
            "p_holm": None if self.p_holm is None else _rounded(self.p_holm),
        }


def _rounded(value: float) -> float | None:
    return float(f"{value:.6g}") if math.isfinite(value) else None


def judgements_of(study: Study) -> list[Judgement]:
    """Judges every claim on a study."""
    s = study
    return judge(s.trials, s.dataset, s.model, s.attacks, s.paper_epsilon, s.chance, s.snapshots)


def judge(
    trials: pd.DataFrame,
    dataset: str,
    model: str,
    attacks: Sequence[Attack],
    paper_epsilon: float | None,
    chance: float = 0.1,
    snapshots: Sequence[float] = (),
) -> list[Judgement]:
    """Judges every claim at the paper's epsilon and at every other one that was measured.

    Args:
        trials: one row a trial, with the columns of `Study.trials`. Those with rules beyond the paper's do not count.
        attacks: every (label, epsilon) that was measured. The paper's own attacks are judged in any case.
        snapshots: the train losses at which networks were kept and measured.

    Returns:
        One judgement for each claim and epsilon; claims without an attack have one, with epsilon None.
        Holm's correction runs over the claims that could be tested, family by family, see `_family`.
    """
    cells = Cells(trials[[not beyond for beyond in rules_beyond(trials)]], chance, snapshots)
    labels = list(dict.fromkeys([*PAPER_ATTACKS, *(label for label, _ in attacks)]))
    found: list[Judgement] = []
    for claim in [*claims(dataset, model, labels), *beyond_claims(dataset, model, labels)]:
        label = claim.metric.attack
        if label is None:
            found.append(Judgement(claim, None, True, claim.evidence(cells, claim.metric)))
            continue
        for epsilon in _epsilons(attacks, label, paper_epsilon):
            evidence = claim.evidence(cells, attacked(label, epsilon))
            found.append(Judgement(claim, epsilon, epsilon == paper_epsilon, evidence))
    return _corrected(found)


def _epsilons(attacks: Sequence[Attack], label: str, paper_epsilon: float | None) -> list[float]:
    """The paper's, even if it was not measured, and all others, in order."""
    measured = {epsilon for name, epsilon in attacks if name == label}
    return sorted(measured | ({paper_epsilon} if paper_epsilon is not None else set()))


def _corrected(found: Sequence[Judgement]) -> list[Judgement]:
    families: dict[Any, dict[int, float]] = {}
    for i, j in enumerate(found):
        if isinstance(j.evidence, Tested) and not j.evidence.floor:
            families.setdefault(_family(j), {})[i] = j.evidence.p
    adjusted: dict[int, float] = {}
    for p_values in families.values():
        adjusted |= dict(zip(p_values, holm([*p_values.values()]), strict=True))
    return [replace(j, p_holm=adjusted.get(i)) for i, j in enumerate(found)]


def _family(j: Judgement) -> tuple[bool, bool, float | None]:
    """Claims that Holm's correction weighs together.

    Those of the paper without an attack, or about its attacks at its epsilon, are one family; at every other epsilon
    another one. What is measured besides changes no verdict on them: claims about other attacks, and claims beyond
    the paper, have families of their own.
    """
    epsilon = None if j.primary and j.claim.is_on_the_papers_attacks else j.epsilon
    return not j.claim.is_of_the_paper, j.claim.is_on_the_papers_attacks, epsilon


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979): adjusted p-values, in the given order."""
    order = np.argsort(p_values, kind="stable")
    count = len(p_values)
    adjusted = np.empty(count)
    adjusted[order] = np.maximum.accumulate([(count - i) * p_values[j] for i, j in enumerate(order)])
    return [float(p) for p in np.minimum(adjusted, 1.0)]


def _verdict(e: Evidence, p_holm: float | None) -> _Reason:
    """The verdict on the batch sizes that the evidence is about, and why."""
    if isinstance(e, Impossible):
        return _Reason("not testable", e.reason + (f" ({e.invalid})" if e.invalid else ""))
    if e.floor:
        return _Reason("not testable", f"floor: every cell is {FLOOR}")
    if isinstance(e, Described):
        return _Reason("descriptive", f"the numbers are shown, but there is no test: {e.reason}")
    assert p_holm is not None  # every test that is not on the floor was corrected
    return _tested(e, p_holm)


def _tested(e: Tested, p_holm: float) -> _Reason:
    toward = e.p_for <= e.p_against
    agrees, direction = (e.agrees_for, "for") if toward else (e.agrees_against, "against")
    if p_holm >= ALPHA:
        return _Reason("undecided", f"the evidence {direction} it is too weak: {_p(p_holm)}", True)
    if not agrees:
        reason = f"the tests {direction} it disagree: {_p(p_holm)}, but not consistent over seeds or order"
        return _Reason("undecided", reason)
    if e.invalid:
        return _Reason("undecided", f"the range holds trials that cannot be counted: {e.invalid}")
    return _Reason("supported" if toward else "contradicted", _p(p_holm), True)


def _p(value: float) -> str:
    said = p_in_words(value)
    return f"p {said}" if said.startswith("<") else f"p = {said}"
