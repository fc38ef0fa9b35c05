"""The paper's claims as data: each a sentence in our words, what the paper expects, and the test that judges it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from tfsgd.data.load import DATASETS
from tfsgd.models.paper import MODELS
from tfsgd.reporting.claims.batch_evidence import batch_constant, batch_trend, lower_at_large_batches
from tfsgd.reporting.claims.claim_test import ClaimTest
from tfsgd.reporting.claims.correlation_evidence import both_rise, explains
from tfsgd.reporting.claims.evidence import Evidence
from tfsgd.reporting.claims.momentum_evidence import momentum_constant, momentum_matters_more, momentum_trend
from tfsgd.reporting.paper import COUNTER_EXAMPLE, PAPER_ATTACKS
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import EIGENVALUE, NATURAL, Metric, attacked

# What the paper says of a claim: it holds, it does not, it reports the opposite; `None`: the paper does not make it.
Expectation = Literal["holds", "fails", "opposite"] | None

GROUPS = (
    "Batch size under LR and Benchmark",
    "Batch size under LR/BS",
    "Momentum",
    "The counter-example of Section 3.2",
    "Does λ1 explain robustness?",
)
ACCURACIES = ("natural", "attacks")
ALL = (*ACCURACIES, "eigenvalue")


@dataclass(frozen=True)
class Claim:
    """A sentence of the paper, in our words, and the test that judges it for one metric.

    Attributes:
        key: of `claims.json`.
        group: the heading under which it stands.
        statement: the sentence.
        general: the same sentence for all metrics that it is about.
        section: of the paper.
        expected: what the paper expects, in words.
        expectation: what the paper says of it, for this data set and network.
        test: judges it.
        metric: what is judged: an accuracy, or λ1.
        parameters: of the test.
    """

    key: str
    group: str
    statement: str
    general: str
    section: str
    expected: str
    expectation: Expectation
    test: ClaimTest
    metric: Metric
    parameters: Mapping[str, Any]

    @property
    def is_on_the_papers_attacks(self) -> bool:
        """Whether it is about no attack, or one of the paper's."""
        return self.metric.attack in (None, *PAPER_ATTACKS)

    @property
    def is_of_the_paper(self) -> bool:
        """Whether the paper makes it."""
        return self.expectation is not None

    def evidence(self, cells: Cells, metric: Metric) -> Evidence:
        """What the cells of a study say about it, for its metric at one epsilon."""
        return self.test(cells, metric, **self.parameters)


@dataclass(frozen=True)
class Entry:
    """A row of the table of claims; it makes a claim for each metric that it is about.

    `key`, `statement` and `expected` may name {metric}, {regime} (a parameter of the test), {verb} and {margin}.

    Attributes:
        on: the kinds of metrics, or one metric.
        accuracy: whether the accuracy rises (1) or falls (-1), the eigenvalue the other way; the test's `sign`.
        of_exception: what the paper says under attack for its own counter-example, if it is something else.
    """

    key: str
    group: str
    statement: str
    section: str
    expected: str
    test: ClaimTest
    parameters: Mapping[str, Any] = field(default_factory=dict)
    on: tuple[str, ...] | Metric = ALL
    accuracy: int = 0
    expectation: Expectation = "holds"
    of_exception: tuple[str, Expectation] | None = None

    def metrics(self, attacks: Sequence[str]) -> list[Metric]:
        """Those that it is about; an attack's epsilon is filled in later."""
        if isinstance(self.on, Metric):
            return [self.on]
        known = {"natural": [NATURAL], "attacks": [*map(attacked, attacks)], "eigenvalue": [EIGENVALUE]}
        return [metric for kind in self.on for metric in known[kind]]

    def claim(self, metric: Metric, is_exception: bool) -> Claim:
        """The claim on one metric."""
        sign = -self.accuracy if metric.is_log else self.accuracy
        facts = {
            **self.parameters,
            "metric": metric.name,
            "Metric": metric.name[0].upper() + metric.name[1:],
            "verb": {1: "rises", -1: "falls"}.get(sign, ""),
            "margin": metric.margin_in_words,
        }
        expected, expectation = self.expected, self.expectation
        if is_exception and metric.attack and self.of_exception:
            expected, expectation = self.of_exception
        general = "accuracy" if NATURAL in self.metrics(()) else "accuracy under attack"
        return Claim(
            _slug(self.key.format(**facts)),
            self.group,
            self.statement.format(**facts),
            self.statement.format(**facts | {"metric": "λ1" if metric.is_log else general}),
            self.section,
            expected.format(**facts),
            expectation,
            self.test,
            metric,
            {**self.parameters, **({"sign": sign} if sign else {})},
        )


def _slug(key: str) -> str:
    return key.lower().replace("/", "").replace(" ", "-").replace("λ1", "eigenvalue")


def _batch_trend(regime: str) -> Entry:
    return Entry(
        "batch-{regime}-{metric}",
        GROUPS[0],
        "Under {regime}, {metric} {verb} as the batch size grows.",
        "Section 3",
        "{metric} {verb} with the batch size",
        batch_trend,
        {"regime": regime},
        accuracy=-1,
        of_exception=(
            "that it falls; but for this data set and model Section 3.2 reports the opposite",
            "opposite",
        ),
    )


def _lower(other: str) -> Entry:
    return Entry(
        "lower-lrbs-{other}",
        GROUPS[1],
        "At large batch sizes λ1 is lower under LR/BS than under {other}.",
        "Section 3",
        "a factor below 1",
        lower_at_large_batches,
        {"other": other},
        EIGENVALUE,
    )


def _counter(regime: str) -> Entry:
    dataset, model = COUNTER_EXAMPLE
    return Entry(
        "counter-{regime}-{metric}",
        GROUPS[3],
        "Under {regime}, λ1 and {metric} both rise as the batch size grows.",
        "Section 3.2",
        f"no: the paper reports it for {MODELS[model].title} on {DATASETS[dataset].title} only",
        both_rise,
        {"regime": regime},
        ("attacks",),
        expectation="fails",
        of_exception=("yes: the paper's counter-example is this data set and model", "holds"),
    )


def _explains(within: bool, given_loss: bool) -> Entry:
    return Entry(
        f"curvature-{'within' if within else 'across'}-{'given-loss' if given_loss else 'plain'}-{{metric}}",
        GROUPS[4],
        f"{'Within regimes' if within else 'Over all settings'}, a higher λ1 goes with a lower {{metric}}"
        f"{', also at equal train loss' if given_loss else ''}.",
        "Sections 1 and 3",
        "a negative correlation",
        explains,
        {"within": within, "given_loss": given_loss},
        ("attacks",),
        of_exception=(
            "a negative correlation; Section 3.2 reports an exception for this data set and model",
            "holds",
        ),
    )


MOMENTUM = (
    Entry(
        "momentum-lr-{metric}",
        GROUPS[2],
        "Under LR, {metric} {verb} as momentum grows.",
        "Section 4",
        "{metric} {verb} with momentum",
        momentum_trend,
        {"regime": "LR"},
        accuracy=1,
    ),
    Entry(
        "momentum-more-{metric}",
        GROUPS[2],
        "Momentum changes {metric} more under LR than under LR/BS.",
        "Abstract, Sections 4 and 5",
        "a steeper slope under LR",
        momentum_matters_more,
    ),
    Entry(
        "momentum-lrbs-constant-{metric}",
        GROUPS[2],
        "Under LR/BS, momentum hardly changes {metric}.",
        "one reading of Sections 4, 4.2 and 5",
        "the paper's sections disagree about LR/BS: this reading, or the next",
        momentum_constant,
        {"regime": "LR/BS"},
    ),
    Entry(
        "momentum-lrbs-trend-{metric}",
        GROUPS[2],
        "Under LR/BS too, {metric} {verb} as momentum grows.",
        "the other reading of Sections 4, 4.2 and 5",
        "the paper's sections disagree about LR/BS: this reading, or the one before",
        momentum_trend,
        {"regime": "LR/BS"},
        accuracy=1,
    ),
)

CONSTANT = Entry(
    "constant-lrbs-{metric}",
    GROUPS[1],
    "Under LR/BS, {metric} is almost constant, whatever the batch size.",
    "Abstract, Section 3",
    "within {margin}",
    batch_constant,
    {"regime": "LR/BS"},
)

# Each row has the entries of one metric, then those of the next.
PAPER_CLAIMS: Sequence[Sequence[Entry]] = (
    *([_batch_trend(regime)] for regime in ("LR", "Benchmark")),
    [CONSTANT],
    *([_lower(other)] for other in ("LR", "Benchmark")),
    MOMENTUM,
    *([_counter(regime)] for regime in ("LR", "Benchmark")),
    [_explains(within, given) for within in (False, True) for given in (False, True)],
)


def claims(dataset: str, model: str, attacks: Sequence[str] = PAPER_ATTACKS) -> list[Claim]:
    """The paper's claims, each for every metric that it is about."""
    return [*made_of(PAPER_CLAIMS, dataset, model, attacks)]


def made_of(
    rows: Sequence[Sequence[Entry]], dataset: str, model: str, attacks: Sequence[str]
) -> Iterator[Claim]:
    """The claims of a table."""
    for entries in rows:
        for metric in entries[0].metrics(attacks):
            for entry in entries:
                yield entry.claim(metric, (dataset, model) == COUNTER_EXAMPLE)
