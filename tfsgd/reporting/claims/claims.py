"""The claims: each a sentence in our words, what the paper expects, and the test that judges it; see claims.yaml."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from tfsgd.data.load import DATASETS
from tfsgd.models.paper import MODELS
from tfsgd.plan.yaml_io import read_yaml
from tfsgd.reporting.claims import batch_evidence, correlation_evidence, edge_evidence, momentum_evidence
from tfsgd.reporting.claims.claim_test import ClaimTest
from tfsgd.reporting.claims.evidence import Evidence
from tfsgd.reporting.paper import COUNTER_EXAMPLE, PAPER_ATTACKS
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import EIGENVALUE, LARGEST_RATIO, NATURAL, RATIO, Metric, attacked

# What the paper says of a claim: it holds, it does not, it reports the opposite; `None`: the paper does not make it.
Expectation = Literal["holds", "fails", "opposite"] | None

BEYOND = "Beyond the paper"
TESTS: Mapping[str, ClaimTest] = {
    name: test
    for module in (batch_evidence, momentum_evidence, correlation_evidence, edge_evidence)
    for name, test in vars(module).items()
    if isinstance(test, ClaimTest)
}
METRICS = {"natural": NATURAL, "eigenvalue": EIGENVALUE, "ratio": RATIO, "largest_ratio": LARGEST_RATIO}
SIGNS = {"rises": 1, "falls": -1}


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
        metric: what is judged: an accuracy, or λ1; an attack's epsilon is filled in later.
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


@functools.cache
def _table() -> Mapping[str, Sequence[Mapping[str, Any]]]:
    return read_yaml(Path(__file__).with_name("claims.yaml"))


def groups() -> list[str]:
    """The headings of the paper's claims."""
    return [group for group in _table() if group != BEYOND]


def claims(dataset: str, model: str, attacks: Sequence[str] = PAPER_ATTACKS) -> list[Claim]:
    """The paper's claims, each for every metric that it is about."""
    made = (_claims_of(group, attacks, (dataset, model) == COUNTER_EXAMPLE) for group in groups())
    return [*itertools.chain.from_iterable(made)]


def beyond_claims(dataset: str, model: str, attacks: Sequence[str] = PAPER_ATTACKS) -> list[Claim]:
    """The claims beyond the paper, each for every metric that it is about."""
    return [*_claims_of(BEYOND, attacks, (dataset, model) == COUNTER_EXAMPLE)]


def _claims_of(group: str, attacks: Sequence[str], is_exception: bool) -> Iterator[Claim]:
    """The claims of a group: entries with a parameter for each of its values, the others metric by metric."""
    for (each, on), entries in itertools.groupby(_table()[group], lambda e: (e.get("each"), e["on"])):
        together = [*entries]
        [(parameter, values)] = (each or {"": [None]}).items()
        for value in values:
            for metric in _metrics(on, attacks):
                for entry in together:
                    parameters = entry.get("with", {}) | ({parameter: value} if each else {})
                    yield _claim(group, entry, parameters, metric, is_exception)


def _metrics(kinds: Sequence[str], attacks: Sequence[str]) -> list[Metric]:
    return [m for kind in kinds for m in (map(attacked, attacks) if kind == "attacks" else [METRICS[kind]])]


def _claim(
    group: str, entry: Mapping[str, Any], parameters: Mapping[str, Any], metric: Metric, is_exception: bool
) -> Claim:
    """An entry's claim on one metric; `is_exception`: of the paper's own counter-example."""
    sign = SIGNS.get(entry.get("accuracy", ""), 0) * (-1 if metric.is_log else 1)
    dataset, model = COUNTER_EXAMPLE
    facts = {
        **parameters,
        "metric": metric.name,
        "Metric": metric.name[0].upper() + metric.name[1:],
        "verb": {1: "rises", -1: "falls"}.get(sign, ""),
        "margin": metric.margin_in_words,
        "counter_example": f"{MODELS[model].title} on {DATASETS[dataset].title}",
    }
    said = {"expected": entry["expected"], "paper": entry.get("paper", None if group == BEYOND else "holds")}
    if is_exception and metric.attack:
        said |= entry.get("exception", {})
    several = "accuracy" if "natural" in entry["on"] else "accuracy under attack"
    return Claim(
        entry["key"].format(**{name: _slug(str(value)) for name, value in facts.items()}),
        group,
        entry["statement"].format(**facts),
        entry["statement"].format(**facts | {"metric": "λ1" if metric.is_log else several}),
        entry["section"],
        said["expected"].format(**facts),
        said["paper"],
        TESTS[entry["test"]],
        metric,
        {**parameters, **({"sign": sign} if sign else {})},
    )


def _slug(name: str) -> str:
    return name.lower().replace("/", "").replace(" ", "-").replace("λ1", "eigenvalue")
