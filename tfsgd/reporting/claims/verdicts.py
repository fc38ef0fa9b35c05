"""Judged claims: evidence, Holm's correction over a family, and a verdict with its reason.

Families are corrected apart: the primary claims, the paper's others, those beyond it, a user's own; and of each role those
under attack at one epsilon.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, get_args

import pandas as pd

from tfsgd.reporting.claims.agreement import agreement  # noqa: F401  # registers its kind
from tfsgd.reporting.claims.claims import Role, StatedClaim, own_claims, paper_attacks, shipped_claims
from tfsgd.reporting.claims.evidence import Evidence, p_in_words, rounded
from tfsgd.reporting.claims.kinds import KINDS, evidence, prose_of
from tfsgd.reporting.paper import ALPHA, FLOOR
from tfsgd.reporting.statistics import holm, seeds_needed
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.columns import Attack
from tfsgd.reporting.table.regime_labels import NO_RULES, Rules, of_the_paper
from tfsgd.reporting.table.studies import Study

Verdict = Literal["supported", "contradicted", "undecided", "descriptive", "not testable"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

AFTER_HOLM = " after Holm's correction"


@dataclass(frozen=True)
class Judgement:
    """A claim, the evidence for it, and the verdict.

    Attributes:
        asked: the claim.
        evidence: what the networks say.
        p_holm: `None`: it was not tested.
        family: how many claims were corrected with it.
        stated: of a user's own claim, whether it was stated before the data, in words.
    """

    asked: StatedClaim
    evidence: Evidence
    p_holm: float | None = None
    family: int = 0
    stated: str = ""

    @property
    def test(self) -> str:
        """How it is tested, in words."""
        return prose_of(KINDS[self.asked.claim.kind])

    @property
    def verdict(self) -> Verdict:
        return _verdict(self.evidence, self.p_holm)[0]

    @property
    def why(self) -> str:
        """The reason for the verdict."""
        where = f"{self.evidence.range} ({self.evidence.left_out}): " if self.evidence.range else ""
        return f"{where}{_verdict(self.evidence, self.p_holm)[1]}"

    @property
    def seeds_needed(self) -> int | None:
        """How many seeds would decide an undecided claim, if more gave the same; `None`: more than 100, or it is decided."""
        e = self.evidence
        if self.verdict != "undecided":
            return None
        return seeds_needed(e.distance, e.spread, max(self.family, 1), e.is_two_sided)

    def as_json(self) -> dict[str, Any]:
        asked, e = self.asked, self.evidence
        attack, epsilon = asked.attack or (None, None)
        return {
            "claim": asked.key,
            "role": asked.role,
            "group": asked.group,
            "statement": asked.claim.statement,
            "source": asked.claim.source,
            "kind": asked.claim.kind,
            "paper_expects": asked.expectation,
            "test": self.test,
            "metrics": [m.column for m in asked.metrics],
            "attack": attack,
            "epsilon": epsilon,
            "verdict": self.verdict,
            "why": self.why,
            "effect": rounded(e.effect),
            "interval": e.interval and [rounded(end) for end in e.interval],
            "unit": str(e.unit or ""),
            "detail": e.detail,
            "doubts": e.doubts,
            "n": e.n,
            "range": {"batch_sizes": [*e.trains], "left_out": e.left_out} if e.trains else None,
            "seeds": e.seeds,
            "seeds_needed": self.seeds_needed,
            "cells": len(e.sample),
            "p": rounded(e.p),
            "p_holm": rounded(self.p_holm),
            "family": self.family or None,
            "stated": self.stated or None,
        }


def judgements_of(study: Study, attacks: Sequence[Attack] | None = None) -> list[Judgement]:
    """Judges every claim on a study: the shipped ones, and its own.

    Args:
        study: the trials.
        attacks: (label, epsilon) of those that are judged; by default the paper's at its epsilon.
    """
    s = study
    asked = shipped_claims(s.dataset, s.model, paper_attacks(s.paper_epsilon) if attacks is None else attacks)
    own = own_claims({key: claim for key, (claim, _) in s.claims.items()}, s.columns, "claims")
    found = judge(s.trials, [*asked, *own], s.chance, s.rules)
    return [replace(j, stated=s.claims[j.asked.key][1]) if j.asked.role == "own" else j for j in found]


def judge(
    trials: pd.DataFrame,
    asked: Sequence[StatedClaim],
    chance: float = 0.1,
    rules: Rules = NO_RULES,
) -> list[Judgement]:
    """Judges claims on trials.

    Args:
        trials: one row a trial, with the columns of `Study.trials`. For shipped claims those with rules beyond the paper's
            do not count, unless their regime plays one of the paper's.
        asked: the claims.
        chance: the accuracy of guessing.
        rules: as of `regimes_of`.
    """
    papers, everything = Cells(of_the_paper(trials, rules), chance, rules), Cells(trials, chance, rules)
    found = [Judgement(a, _evidence(everything if a.role == "own" else papers, a)) for a in asked]
    return _corrected(found)


def _evidence(cells: Cells, asked: StatedClaim) -> Evidence:
    """A regime is the paper's where it does what that does, else the first with the label."""
    known = {cell.regime for cell in cells.all_cells}
    regimes = tuple(r if r in known else cells.of_label.get(r, r) for r in asked.claim.regimes)
    return evidence(cells, asked.metrics, asked.claim.model_copy(update={"regimes": regimes}))


def _corrected(found: Sequence[Judgement]) -> list[Judgement]:
    """With Holm's correction within each family."""
    families: dict[tuple[Role, float | None], dict[int, float]] = {}
    for i, j in enumerate(found):
        if (p := j.evidence.p) is not None and not j.evidence.floor:
            family = (j.asked.role, j.asked.attack[1] if j.asked.attack else None)
            families.setdefault(family, {})[i] = p
    result = list(found)
    for p_values in families.values():
        for i, p in zip(p_values, holm([*p_values.values()]), strict=True):
            result[i] = replace(found[i], p_holm=p, family=len(p_values))
    return result


def _verdict(e: Evidence, p_holm: float | None) -> tuple[Verdict, str]:
    """The verdict on the batch sizes that the evidence is about, and why."""
    if e.unit is None:
        return "not testable", e.reason + (f" ({e.invalid})" if e.invalid else "")
    if e.floor:
        return "not testable", f"floor: every cell is {FLOOR}"
    if e.p_for is None or e.p_against is None:
        return "descriptive", f"the numbers are shown, but there is no test: {e.reason}"
    assert p_holm is not None  # every test that is not on the floor was corrected
    toward, said = e.p_for <= e.p_against, p_in_words(p_holm)
    p = f"p {said}{AFTER_HOLM}" if said.startswith("<") else f"p = {said}{AFTER_HOLM}"
    if p_holm >= ALPHA:
        return "undecided", f"the evidence {'for' if toward else 'against'} it is too weak: {p}"
    if e.invalid:
        return "undecided", f"the range holds trials that cannot be counted: {e.invalid}"
    return "supported" if toward else "contradicted", p
