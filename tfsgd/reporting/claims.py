"""The paper's claims, each judged on one study's trials: the sentence, its test, the verdict."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pandas as pd

from tfsgd.reporting.cells import EIGENVALUE, NATURAL, Cells, Metric, attacked
from tfsgd.reporting.eigen_evidence import both_rise, explains
from tfsgd.reporting.evidence import (
    Evidence,
    batch_constant,
    batch_trend,
    lower_at_large_batches,
    momentum_constant,
    momentum_matters_more,
    momentum_trend,
)
from tfsgd.reporting.paper import ALPHA, LARGE_BATCH_SIZE

Verdict = Literal["supported", "contradicted", "undecided", "descriptive", "not testable"]

COUNTER_EXAMPLE = ("fashion_mnist", "stdcnn")  # Section 3.2


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, in our words, and the test that judges it for one metric."""

    key: str
    group: str
    statement: str
    section: str
    expected: str
    test: str
    metric: Metric
    gather: Callable[[Cells, Metric], Evidence]


@dataclass(frozen=True)
class Judgement:
    """A claim, the evidence for it at one epsilon, and the verdict."""

    claim: Claim
    epsilon: float | None
    primary: bool  # no epsilon is involved, or it is the paper's
    evidence: Evidence
    p_holm: float | None
    verdict: Verdict
    why: str

    def as_json(self) -> dict[str, Any]:
        e = self.evidence
        return {
            "claim": self.claim.key,
            "group": self.claim.group,
            "statement": self.claim.statement,
            "section": self.claim.section,
            "expected": self.claim.expected,
            "test": self.claim.test,
            "metric": self.claim.metric.name,
            "attack": self.claim.metric.attack,
            "epsilon": self.epsilon,
            "primary": self.primary,
            "verdict": self.verdict,
            "why": self.why,
            "effect": _rounded(e.effect),
            "interval": None if e.low is None else [_rounded(e.low), _rounded(e.high)],
            "unit": e.unit,
            "detail": e.detail,
            "n": e.n,
            "seeds": e.seeds,
            "cells": e.cells,
            "p": _rounded(e.p),
            "p_holm": _rounded(self.p_holm),
        }


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.6g}")


# The claims


TREND_TEST = (
    "Slope against log2 of the batch size, seeds as paired blocks (linear contrast in a randomised block "
    "design). The interval is Student's t over one slope a seed; Page's test must find the order too."
)
CONSTANT_TEST = (
    "Equivalence: for every pair, two one-sided tests that the difference stays within ±2 points of "
    "accuracy, or within a factor of 1.5 for λ1. Seeds are paired blocks."
)
LOWER_TEST = f"Mean difference of log2 λ1 over the common batch sizes from {LARGE_BATCH_SIZE} on."
MOMENTUM_TEST = (
    "Slope against momentum, averaged over the batch sizes, seeds as paired blocks. The interval is "
    "Student's t over one slope a seed; with three or more momenta Page's test must find the order too."
)
MORE_TEST = (
    "Interaction: the slope against momentum must be larger in size under LR than under LR/BS (difference "
    "and sum of the slopes are both tested). Batch sizes where both regimes are the same trial are left out."
)
BOTH_TEST = (
    "Both slopes against log2 of the batch size must be above zero: the larger of the two p-values counts."
)
RANK_TEST = (
    "Spearman's rank correlation of log2 λ1 and accuracy over cell means; the interval is Fisher's. The "
    "seeds' own correlations must agree. Within regimes: ranks within each regime. At equal train loss: "
    "partial correlation."
)

GROUPS = (
    "Batch size under LR and Benchmark",
    "Batch size under LR/BS",
    "Momentum",
    "The counter-example of Section 3.2",
    "Does λ1 explain robustness?",
)


def claims(dataset: str, model: str, attacks: Sequence[str] = ("fgsm", "pgd")) -> list[Claim]:
    """All claims, each for every metric that it is about; an attack's epsilon is filled in later."""
    adversarial = [Metric("", f"{attack.upper()} accuracy", attack) for attack in attacks]
    accuracies = [NATURAL, *adversarial]
    exception = (dataset, model) == COUNTER_EXAMPLE
    return [
        *_batch_claims(accuracies, exception),
        *_constant_claims(accuracies),
        *_momentum_claims(accuracies),
        *_counter_claims(adversarial, exception),
        *_curvature_claims(adversarial, exception),
    ]


def _key(*parts: str) -> str:
    return "-".join(parts).lower().replace("/", "").replace(" ", "-").replace("λ1", "eigenvalue")


def _batch_claims(accuracies: Sequence[Metric], exception: bool) -> list[Claim]:
    result = []
    for regime in ("LR", "Benchmark"):
        for metric in [*accuracies, EIGENVALUE]:
            verb, sign = ("rises", 1) if metric.is_eigenvalue else ("falls", -1)
            expected = f"{metric.name} {verb} with the batch size"
            if exception and metric.attack:
                expected = "that it falls; but for this data set and model Section 3.2 reports the opposite"
            result.append(
                Claim(
                    _key("batch", regime, metric.name),
                    GROUPS[0],
                    f"Under {regime}, {metric.name} {verb} as the batch size grows.",
                    "Section 3",
                    expected,
                    TREND_TEST,
                    metric,
                    batch_trend(regime, sign),
                )
            )
    return result


def _constant_claims(accuracies: Sequence[Metric]) -> list[Claim]:
    constant = [
        Claim(
            _key("constant-lrbs", metric.name),
            GROUPS[1],
            f"Under LR/BS, {metric.name} is almost constant, whatever the batch size.",
            "Abstract, Section 3",
            "within a factor of 1.5" if metric.is_eigenvalue else "within ±2 points",
            CONSTANT_TEST,
            metric,
            batch_constant("LR/BS"),
        )
        for metric in [*accuracies, EIGENVALUE]
    ]
    lower = [
        Claim(
            _key("lower-lrbs", other),
            GROUPS[1],
            f"At large batch sizes λ1 is lower under LR/BS than under {other}.",
            "Section 3",
            "a factor below 1",
            LOWER_TEST,
            EIGENVALUE,
            lower_at_large_batches(other),
        )
        for other in ("LR", "Benchmark")
    ]
    return constant + lower


def _momentum_claims(accuracies: Sequence[Metric]) -> list[Claim]:
    metrics = [*accuracies, EIGENVALUE]
    result = []
    for metric in metrics:
        verb, sign = ("falls", -1) if metric.is_eigenvalue else ("rises", 1)
        result += [
            Claim(
                _key("momentum-lr", metric.name),
                GROUPS[2],
                f"Under LR, {metric.name} {verb} as momentum grows.",
                "Section 4",
                f"{metric.name} {verb} with momentum",
                MOMENTUM_TEST,
                metric,
                momentum_trend("LR", sign),
            ),
            Claim(
                _key("momentum-more", metric.name),
                GROUPS[2],
                f"Momentum changes {metric.name} more under LR than under LR/BS.",
                "Abstract, Sections 4 and 5",
                "a steeper slope under LR",
                MORE_TEST,
                metric,
                momentum_matters_more,
            ),
            Claim(
                _key("momentum-lrbs-constant", metric.name),
                GROUPS[2],
                f"Under LR/BS, momentum hardly changes {metric.name}.",
                "one reading of Sections 4, 4.2 and 5",
                "the paper's sections disagree about LR/BS: this reading, or the next",
                CONSTANT_TEST,
                metric,
                momentum_constant("LR/BS"),
            ),
            Claim(
                _key("momentum-lrbs-trend", metric.name),
                GROUPS[2],
                f"Under LR/BS too, {metric.name} {verb} as momentum grows.",
                "the other reading of Sections 4, 4.2 and 5",
                "the paper's sections disagree about LR/BS: this reading, or the one before",
                MOMENTUM_TEST,
                metric,
                momentum_trend("LR/BS", sign),
            ),
        ]
    return result


def _counter_claims(adversarial: Sequence[Metric], exception: bool) -> list[Claim]:
    expected = (
        "yes: the paper's counter-example is this data set and model"
        if exception
        else "no: the paper reports it for StdCNN on Fashion-MNIST only"
    )
    return [
        Claim(
            _key("counter", regime, metric.name),
            GROUPS[3],
            f"Under {regime}, λ1 and {metric.name} both rise as the batch size grows.",
            "Section 3.2",
            expected,
            BOTH_TEST,
            metric,
            both_rise(regime),
        )
        for regime in ("LR", "Benchmark")
        for metric in adversarial
    ]


def _curvature_claims(adversarial: Sequence[Metric], exception: bool) -> list[Claim]:
    expected = "a negative correlation"
    if exception:
        expected += "; Section 3.2 reports an exception for this data set and model"
    return [
        Claim(
            _key(
                "curvature", "within" if within else "across", "given-loss" if given else "plain", metric.name
            ),
            GROUPS[4],
            f"{'Within regimes' if within else 'Over all settings'}, a higher λ1 goes with a lower "
            f"{metric.name}{', also at equal train loss' if given else ''}.",
            "Sections 1 and 3",
            expected,
            RANK_TEST,
            metric,
            explains(within, given),
        )
        for metric in adversarial
        for within in (False, True)
        for given in (False, True)
    ]


# Verdicts


def judge(
    trials: pd.DataFrame, dataset: str, model: str, paper_epsilon: float | None, chance: float = 0.1
) -> list[Judgement]:
    """Judges every claim at the paper's epsilon and at every other one that was measured.

    Args:
        trials: one row a trial, with the columns of `results.trial_row`.

    Returns:
        One judgement for each claim and epsilon; claims without an attack have one, with epsilon None.
        Holm's correction runs over the claims that could be tested: over all of those without an attack
        or at the paper's epsilon together, and over those at each other epsilon by itself.
    """
    cells = Cells(trials, chance)
    found: list[tuple[Claim, float | None, bool, Evidence]] = []
    for claim in claims(dataset, model):
        if claim.metric.attack is None:
            found.append((claim, None, True, claim.gather(cells, claim.metric)))
            continue
        for epsilon in _epsilons(trials, claim.metric.attack, paper_epsilon):
            metric = attacked(claim.metric.attack, epsilon)
            found.append((claim, epsilon, epsilon == paper_epsilon, claim.gather(cells, metric)))
    return _corrected(found)


def _epsilons(trials: pd.DataFrame, attack: str, paper_epsilon: float | None) -> list[float]:
    """The paper's, even if it was not measured, and all others, in order."""
    columns = [str(column) for column in trials if str(column).startswith(f"{attack}_")]
    measured = {float(column.removeprefix(f"{attack}_")) for column in columns}
    return sorted(measured | ({paper_epsilon} if paper_epsilon is not None else set()))


def _corrected(found: list[tuple[Claim, float | None, bool, Evidence]]) -> list[Judgement]:
    families: dict[Any, list[int]] = {}
    for i, (_, epsilon, primary, e) in enumerate(found):
        if e.p is not None and not e.floor:
            families.setdefault("primary" if primary else epsilon, []).append(i)
    adjusted: dict[int, float] = {}
    for members in families.values():
        adjusted |= dict(zip(members, holm([found[i][3].p or 0.0 for i in members]), strict=True))
    return [
        Judgement(claim, epsilon, primary, e, adjusted.get(i), *_verdict(e, adjusted.get(i)))
        for i, (claim, epsilon, primary, e) in enumerate(found)
    ]


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down correction (Holm 1979): adjusted p-values, in the given order."""
    order = np.argsort(p_values, kind="stable")
    count = len(p_values)
    adjusted = np.empty(count)
    adjusted[order] = np.maximum.accumulate([(count - i) * p_values[j] for i, j in enumerate(order)])
    return [float(p) for p in np.minimum(adjusted, 1.0)]


def _verdict(e: Evidence, p_holm: float | None) -> tuple[Verdict, str]:
    if e.floor:
        return "not testable", "floor: every cell is within 2 points of 0 or of guessing"
    if e.effect is None:
        return "not testable", e.obstacle + (f" ({e.spoilt})" if e.spoilt else "")
    if e.obstacle:
        return "descriptive", f"the numbers are shown, but there is no test: {e.obstacle}"
    assert p_holm is not None
    toward = (e.p_for or 0.0) <= (e.p_against or 0.0)
    agrees = e.agrees_for if toward else e.agrees_against
    direction = "for" if toward else "against"
    if p_holm >= ALPHA:
        return "undecided", f"the evidence {direction} it is too weak: {_p(p_holm)} after Holm's correction"
    if not agrees:
        return (
            "undecided",
            f"the tests {direction} it disagree: {_p(p_holm)}, but not consistent over seeds or order",
        )
    if e.spoilt:
        return "undecided", f"the range holds trials that cannot be counted: {e.spoilt}"
    return ("supported" if toward else "contradicted"), f"{_p(p_holm)} after Holm's correction"


def _p(value: float) -> str:
    return f"p = {value:.2g}" if value >= 1e-4 else "p < 0.0001"
