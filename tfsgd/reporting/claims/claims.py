"""The shipped claims (claims.yaml), and those of a config or a file, each with its metrics and what the paper says."""

import functools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, cast

from tfsgd.errors import RequestError
from tfsgd.plan.claim import WITHIN_MARGIN, Claim
from tfsgd.plan.config import Experiment
from tfsgd.plan.yaml_io import read_yaml
from tfsgd.reporting.paper import COUNTER_EXAMPLE, PAPER_ATTACKS
from tfsgd.reporting.table.columns import (
    SHIPPED,
    SMALLEST,
    Attack,
    Column,
    Metric,
    asked_columns,
    attacked,
    metric_names,
    metric_of,
)
from tfsgd.text import known_keys

# What the paper says of a claim: it holds, it does not, it reports the opposite; `None`: the paper does not make it.
Expectation = Literal["holds", "fails", "opposite"] | None
Role = Literal["primary", "secondary", "beyond", "own"]

OWN_GROUP = "Your claims"
EXTRA = ("key", "finding", "on", "each", "paper", "exception")


@dataclass(frozen=True)
class StatedClaim:
    """A claim with its metrics, and where it stands.

    Attributes:
        key: of `claims.json`.
        role: the primary ones answer for the paper; `own`: of the config or of a file.
        group: the heading under which it stands.
        finding: the beginning of the sentence in which it stands; empty: in none.
        claim: what is judged.
        metrics: its columns and their scales.
        expectation: what the paper says of it, for this data set and network.
    """

    key: str
    role: Role
    group: str
    finding: str
    claim: Claim
    metrics: tuple[Metric, ...]
    expectation: Expectation

    @property
    def attack(self) -> Attack | None:
        """The attack that it is about."""
        return next(((m.attack, m.epsilon or 0.0) for m in self.metrics if m.attack), None)

    @property
    def names(self) -> str:
        """Its metrics, in a sentence."""
        return " and ".join(f"the {m.name}" if m.name == SMALLEST.name else m.name for m in self.metrics)

    @property
    def paper_says(self) -> str:
        """What the paper says of it, in a few words; empty: nothing."""
        if self.expectation is None:
            return ""
        fails, rises = self.expectation == "fails", self.claim.sign > 0
        verb = "rises" if rises != (self.expectation == "opposite") else "falls"
        said = {
            "trend": verb,
            "interaction": f"{verb} more",
            "difference": f"is {'higher' if rises else 'lower'}",
            "equivalent": "hardly changes",
            "non_inferior": "is kept",
            "both": "do not both rise" if fails else "both rise",
        }.get(self.claim.kind)
        sentence = f"{self.names} {said}" if said else self.claim.statement
        return f"it does not hold that {sentence}" if fails and self.claim.kind != "both" else sentence


def shipped_claims(dataset: str, model: str, attacks: Sequence[Attack]) -> list[StatedClaim]:
    """The shipped claims on a data set and network, those about attacks for each of these."""
    is_exception = (dataset, model) == COUNTER_EXAMPLE
    return [
        claim
        for role, groups in _table().items()
        for group, entries in (groups if isinstance(groups, dict) else {"": groups}).items()
        for entry in entries
        for claim in _expanded(role, group, entry, attacks, is_exception)
    ]


@functools.cache
def _table() -> Mapping[Role, Any]:
    return cast(Mapping[Role, Any], read_yaml(Path(__file__).with_name("claims.yaml")))


def _expanded(
    role: Role, group: str, entry: Mapping[str, Any], attacks: Sequence[Attack], is_exception: bool
) -> Iterator[StatedClaim]:
    """An entry's claims: one for each regime and metric that it speaks of."""
    block = {key: value for key, value in entry.items() if key not in EXTRA}
    for regime in entry.get("each", [""]):
        for metric, expected in _metrics(entry.get("on", {}), attacks):
            name = metric.name if metric else ""
            words = {"regime": regime or entry.get("regimes", [""])[0], "metric": name}
            words |= {"Metric": name[:1].upper() + name[1:], "verb": expected or ""}
            fields = {"expected": expected, "metric": metric.column} if metric else {}
            said = {"statement": entry["statement"].format(**words)}
            regimes = [text.format(**words) for text in entry.get("regimes", [regime])]
            claim = Claim(**block | fields | said | {"regimes": regimes})
            metrics = (metric,) if metric else tuple(SHIPPED[of] for of in claim.metric)
            if claim.margin:
                metrics = (replace(metrics[0], allowed=claim.margin),)
            is_robustness = any(m.attack or m == SMALLEST for m in metrics)
            paper = None if role == "beyond" else entry.get("paper", "holds")
            yield StatedClaim(
                entry["key"].format(**{key: _slug(word) for key, word in words.items()}),
                role,
                group,
                entry.get("finding", "").format(**words),
                claim,
                metrics,
                entry.get("exception", paper) if is_exception and is_robustness else paper,
            )


def _metrics(on: Any, attacks: Sequence[Attack]) -> Iterator[tuple[Metric | None, str | None]]:
    """Each metric with its direction."""
    if not on:
        yield None, None
    for name, expected in on.items() if isinstance(on, dict) else ((name, None) for name in on):
        for metric in [attacked(*key) for key in attacks] if name == "attacks" else [SHIPPED[name]]:
            yield metric, expected


def _slug(name: str) -> str:
    plain = name.lower().replace("/", "").replace(" ", "-")
    return plain.replace("λ1", "eigenvalue").replace("ε", "epsilon")


def own_claims(claims: Mapping[str, Claim], columns: Mapping[str, Column], where: str) -> list[StatedClaim]:
    """A user's own claims.

    Args:
        claims: by their keys.
        columns: of the study, besides those that every study has.
        where: the file that has them, for refusals.

    Raises:
        RequestError: a metric is no column of numbers.
    """
    found = []
    for key, claim in claims.items():
        place, metrics = f"{where}: claims.{key}", []
        for name in claim.metric:
            metric = metric_of(name, columns)
            if metric is None:
                near = known_keys(name, metric_names(columns))
                raise RequestError(f"{place}.metric: no column of numbers '{name}'{near}")
            if claim.margin:
                metric = replace(metric, allowed=claim.margin)
            if claim.kind in WITHIN_MARGIN and not metric.allowed:
                raise RequestError(f"{place}.margin: missing; {name} has none of its own")
            metrics.append(metric)
        found.append(StatedClaim(key, "own", OWN_GROUP, "", claim, tuple(metrics), None))
    return found


def refuse_unknown_metrics(experiment: Experiment, where: str) -> None:
    """Refuses claims of a config about what it does not measure, before anything is trained.

    Raises:
        RequestError: a metric is no column of numbers that the sweep will have.
    """
    own_claims(experiment.claims, asked_columns(experiment), where)


def paper_attacks(epsilon: float | None) -> list[Attack]:
    """The paper's attacks at its epsilon; none where it has none for the data."""
    return [] if epsilon is None else [(attack, epsilon) for attack in PAPER_ATTACKS]
