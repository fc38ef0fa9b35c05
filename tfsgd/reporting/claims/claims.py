"""The paper's claims, each a sentence in our words, what the paper expects, and the test that judges it."""

from collections.abc import Sequence
from dataclasses import dataclass

from tfsgd.data.load import DATASETS
from tfsgd.models.paper import MODELS
from tfsgd.reporting.claims.batch_evidence import batch_constant, batch_trend, lower_at_large_batches
from tfsgd.reporting.claims.eigen_evidence import both_rise, explains
from tfsgd.reporting.claims.momentum_evidence import momentum_constant, momentum_matters_more, momentum_trend
from tfsgd.reporting.claims.on_trained_range import Gather
from tfsgd.reporting.paper import (
    ACCURACY_MARGIN,
    COUNTER_EXAMPLE,
    EIGENVALUE_FACTOR,
    LARGE_BATCH_SIZE,
    PAPER_ATTACKS,
    points,
)
from tfsgd.reporting.table.cells import EIGENVALUE, NATURAL, Metric, adversarial


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, in our words, and the test that judges it for one metric.

    Attributes:
        key: of `claims.json`.
        group: the heading under which it stands.
        statement: the sentence.
        section: of the paper.
        expected: what the paper expects.
        test: the test, in words.
        metric: what is judged: an accuracy, or λ1.
        gather: takes the evidence from the cells of a study.
        expects: whether the paper expects it to hold for this data set and network.
    """

    key: str
    group: str
    statement: str
    section: str
    expected: str
    test: str
    metric: Metric
    gather: Gather
    expects: bool = True

    @property
    def is_on_the_papers_attacks(self) -> bool:
        """Whether it is about no attack, or one of the paper's."""
        return self.metric.attack in (None, *PAPER_ATTACKS)


TREND_TEST = (
    "Slope against log2 of the batch size, seeds as paired blocks (linear contrast in a randomised block "
    "design). The interval is Student's t over one slope a seed; Page's test must find the order too."
)
CONSTANT_TEST = (
    "Equivalence: for every pair, two one-sided tests that the difference stays within "
    f"±{points(ACCURACY_MARGIN)} of accuracy, or within a factor of {EIGENVALUE_FACTOR:g} for λ1. Seeds are "
    "paired blocks."
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
    "Spearman's rank correlation of log2 λ1 and accuracy over cell means; the interval is Fisher's, the p-value "
    "that of a permutation test. The seeds' own correlations must agree. Within regimes: ranks, and "
    "permutations, within each regime. At equal train loss: partial correlation."
)

GROUPS = (
    "Batch size under LR and Benchmark",
    "Batch size under LR/BS",
    "Momentum",
    "The counter-example of Section 3.2",
    "Does λ1 explain robustness?",
)


def claims(dataset: str, model: str, attacks: Sequence[str] = PAPER_ATTACKS) -> list[Claim]:
    """All claims, each for every metric that it is about; an attack's epsilon is filled in later."""
    under_attack = [adversarial(attack) for attack in attacks]
    accuracies = [NATURAL, *under_attack]
    exception = (dataset, model) == COUNTER_EXAMPLE
    return [
        *_batch_claims(accuracies, exception),
        *_constant_claims(accuracies),
        *_momentum_claims(accuracies),
        *_counter_claims(under_attack, exception),
        *_curvature_claims(under_attack, exception),
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
                    expects=not (exception and metric.attack),
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
            f"within a factor of {EIGENVALUE_FACTOR:g}"
            if metric.is_eigenvalue
            else f"within ±{points(ACCURACY_MARGIN)}",
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


def _counter_claims(under_attack: Sequence[Metric], exception: bool) -> list[Claim]:
    dataset, model = COUNTER_EXAMPLE
    expected = (
        "yes: the paper's counter-example is this data set and model"
        if exception
        else f"no: the paper reports it for {MODELS[model].title} on {DATASETS[dataset].title} only"
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
            expects=exception,
        )
        for regime in ("LR", "Benchmark")
        for metric in under_attack
    ]


def _curvature_claims(under_attack: Sequence[Metric], exception: bool) -> list[Claim]:
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
        for metric in under_attack
        for within in (False, True)
        for given in (False, True)
    ]
