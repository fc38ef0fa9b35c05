"""Claims that the paper does not make: what may lie behind its observations, fixed before any result was seen."""

from collections.abc import Sequence

from tfsgd.reporting.claims.claims import Claim, Entry, made_of
from tfsgd.reporting.claims.correlation_evidence import both_rise_at_equal_loss, follows_confidence
from tfsgd.reporting.claims.edge_evidence import below_ceiling, ceiling_falls, momentum_is_rate
from tfsgd.reporting.paper import EIGENVALUE_FACTOR, PAPER_ATTACKS
from tfsgd.reporting.table.metrics import EIGENVALUE, LARGEST_RATIO, RATIO, Metric

BEYOND = "Beyond the paper"


def _ceiling(key: str, regime: str, metric: Metric, when: str = "") -> Entry:
    return Entry(
        f"ceiling-{key}",
        BEYOND,
        f"Under {{regime}}, λ1 stays below its ceiling 2(1+γ)/η{when}.",
        "Cohen et al. 2021",
        "below 1, and near 1 at large batch sizes and rates",
        below_ceiling,
        {"regime": regime},
        metric,
        expectation=None,
    )


def _at_equal_loss(regime: str) -> Entry:
    return Entry(
        "equal-loss-counter-{regime}-{metric}",
        BEYOND,
        "Under {regime}, λ1 and {metric} both rise as the batch size grows, also at equal train loss.",
        "on Section 3.2",
        "no: the paper reports both for another data set and model, after equal epochs",
        both_rise_at_equal_loss,
        {"regime": regime},
        ("attacks",),
        expectation=None,
        of_exception=(
            "open: the paper reports both for this data set and model, after equal epochs",
            None,
        ),
    )


BEYOND_CLAIMS = (
    _ceiling("lr", "LR", RATIO),
    _ceiling("lr-bs", "LR/BS", RATIO),
    _ceiling("benchmark", "Benchmark", LARGEST_RATIO, " in every epoch in which it was recorded"),
    Entry(
        "ceiling-falls-lr-bs",
        BEYOND,
        "At large batch sizes λ1 under LR/BS is as low as its ceiling is: λ1 η is almost constant.",
        "Cohen et al. 2021",
        f"within a factor of {EIGENVALUE_FACTOR:g}, though the rate grows with the batch size",
        ceiling_falls,
        on=RATIO,
        expectation=None,
    ),
    _at_equal_loss("LR"),
    _at_equal_loss("Benchmark"),
    Entry(
        "momentum-is-rate-eigenvalue",
        BEYOND,
        "Momentum γ under LR does to λ1 what the rate η/(1−γ) does without momentum.",
        "on Section 4",
        f"within a factor of {EIGENVALUE_FACTOR:g}, if momentum is nothing but a larger rate",
        momentum_is_rate,
        on=EIGENVALUE,
        expectation=None,
    ),
    Entry(
        "confidence-{metric}",
        BEYOND,
        "{Metric} follows the network's confidence more closely than λ1.",
        "on Section 3",
        "open: a network that is unsure leaves an attack less to gain, whatever its λ1",
        follows_confidence,
        on=("attacks",),
        expectation=None,
    ),
)


def beyond_claims(dataset: str, model: str, attacks: Sequence[str] = PAPER_ATTACKS) -> list[Claim]:
    """The claims beyond the paper, each for every metric that it is about."""
    return [*made_of([[entry] for entry in BEYOND_CLAIMS], dataset, model, attacks)]
