"""Claims that the paper does not make: what may lie behind its observations, fixed before any result was seen."""

from collections.abc import Sequence

from tfsgd.reporting.claims.claims import Claim
from tfsgd.reporting.claims.edge_evidence import below_ceiling, ceiling_falls, momentum_is_rate
from tfsgd.reporting.claims.loss_evidence import both_rise_at_equal_loss, follows_confidence
from tfsgd.reporting.claims.on_trained_range import where_it_trains
from tfsgd.reporting.paper import (
    CEILING_TOLERANCE,
    COUNTER_EXAMPLE,
    EIGENVALUE_FACTOR,
    LARGE_BATCH_SIZE,
    PAPER_ATTACKS,
)
from tfsgd.reporting.table.cells import EIGENVALUE, Metric, adversarial, at_base_momentum

BEYOND = "Beyond the paper"

RATIO = Metric("stability_ratio", "λ1 η / 2(1+γ)")
LARGEST_RATIO = Metric("stability_ratio_max", "λ1 η / 2(1+γ)")

CEILING_TEST = (
    f"In every cell, one-sided: the mean of log2 of λ1 over its ceiling 2(1+γ)/η lies below log2 {CEILING_TOLERANCE:g}, "
    "since λ1 hovers just above a ceiling that it has reached. All cells must pass; that one lies above is tested "
    "with Bonferroni's correction."
)
FALLS_TEST = (
    f"Equivalence of λ1 η over the batch sizes from {LARGE_BATCH_SIZE} on: for every pair, two one-sided tests that "
    f"it stays within a factor of {EIGENVALUE_FACTOR:g}. Seeds are paired blocks."
)
EQUAL_LOSS_TEST = (
    "Where networks were kept at equal train loss: both slopes there must be above zero, as in Section 3.2. Else: both "
    "partial rank correlations with the batch size, given the train loss, must be above zero. The larger p-value counts."
)
RATE_TEST = (
    "Equivalence: for each momentum γ of LR, two one-sided tests that λ1 stays within a factor of "
    f"{EIGENVALUE_FACTOR:g} of that of trials without momentum at the rate η/(1−γ), at the same batch sizes. Seeds "
    "are paired blocks."
)
FOLLOWS_TEST = (
    "Sizes of two Spearman correlations over the same cell means, of accuracy with mean confidence and with λ1. The "
    "p-value is the share of all exchanges of the two, cell by cell, that differ as much. The seeds' own differences, "
    "whose mean and interval are shown, must agree by Student's t."
)


def beyond_claims(dataset: str, model: str, attacks: Sequence[str] = PAPER_ATTACKS) -> list[Claim]:
    """All of them, each for every metric that it is about; an attack's epsilon is filled in later."""
    under_attack = [adversarial(attack) for attack in attacks]
    return [
        *_edge_claims(),
        *_equal_loss_claims(under_attack, (dataset, model) == COUNTER_EXAMPLE),
        _rate_claim(),
        *_confidence_claims(under_attack),
    ]


def _edge_claims() -> list[Claim]:
    below = [
        Claim(
            f"ceiling-{regime.lower().replace('/', '-')}",
            BEYOND,
            f"Under {regime}, λ1 stays below its ceiling 2(1+γ)/η{when}.",
            "Cohen et al. 2021",
            "below 1, and near 1 at large batch sizes and rates",
            CEILING_TEST,
            metric,
            below_ceiling(regime),
        )
        for regime, metric, when in (
            ("LR", RATIO, ""),
            ("LR/BS", RATIO, ""),
            ("Benchmark", LARGEST_RATIO, " in every epoch in which it was recorded"),
        )
    ]
    falls = Claim(
        "ceiling-falls-lr-bs",
        BEYOND,
        "At large batch sizes λ1 under LR/BS is as low as its ceiling is: λ1 η is almost constant.",
        "Cohen et al. 2021",
        f"within a factor of {EIGENVALUE_FACTOR:g}, though the rate grows with the batch size",
        FALLS_TEST,
        RATIO,
        where_it_trains(ceiling_falls, at_base_momentum("LR/BS")),
    )
    return [*below, falls]


def _equal_loss_claims(under_attack: Sequence[Metric], exception: bool) -> list[Claim]:
    expected = "no: the paper reports both for another data set and model, after equal epochs"
    if exception:
        expected = "open: the paper reports both for this data set and model, after equal epochs"
    return [
        Claim(
            f"equal-loss-counter-{regime.lower()}-{metric.attack}-accuracy",
            BEYOND,
            f"Under {regime}, λ1 and {metric.name} both rise as the batch size grows, also at equal train loss.",
            "on Section 3.2",
            expected,
            EQUAL_LOSS_TEST,
            metric,
            both_rise_at_equal_loss(regime),
        )
        for regime in ("LR", "Benchmark")
        for metric in under_attack
    ]


def _rate_claim() -> Claim:
    return Claim(
        "momentum-is-rate-eigenvalue",
        BEYOND,
        "Momentum γ under LR does to λ1 what the rate η/(1−γ) does without momentum.",
        "on Section 4",
        f"within a factor of {EIGENVALUE_FACTOR:g}, if momentum is nothing but a larger rate",
        RATE_TEST,
        EIGENVALUE,
        momentum_is_rate,
    )


def _confidence_claims(under_attack: Sequence[Metric]) -> list[Claim]:
    return [
        Claim(
            f"confidence-{metric.attack}-accuracy",
            BEYOND,
            f"{metric.name[0].upper()}{metric.name[1:]} follows the network's confidence more closely than λ1.",
            "on Section 3",
            "open: a network that is unsure leaves an attack less to gain, whatever its λ1",
            FOLLOWS_TEST,
            metric,
            where_it_trains(follows_confidence, lambda _: True),
        )
        for metric in under_attack
    ]
