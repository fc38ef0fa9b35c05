"""A judged claim in the words of README.md and docs/results, and their tables."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from tfsgd.reporting.claims.claims import Expectation
from tfsgd.reporting.claims.evidence import Impossible, Unit
from tfsgd.reporting.claims.verdicts import Judgement, Verdict, judgements_of
from tfsgd.reporting.table.studies import read_studies

VERDICTS: dict[Expectation, dict[Verdict, str]] = {  # by what the paper says of the claim
    "holds": {"supported": "as in the paper", "contradicted": "not as in the paper"},
    "fails": {
        "supported": "not as in the paper: so here too",
        "contradicted": "as in the paper: not so here",
    },
    "opposite": {
        "supported": "not as Section 3.2 says of this network",
        "contradicted": "the opposite, as Section 3.2 says of this network",
    },
    None: {"supported": "holds", "contradicted": "does not hold"},
}


@functools.lru_cache
def claims(folder: Path) -> list[Judgement]:
    """The judged claims of a study."""
    [study] = read_studies([folder])
    return judgements_of(study)


def said(verdict: Verdict, expectation: Expectation) -> str:
    """A verdict beside what the paper says."""
    return VERDICTS[expectation].get(verdict, "cannot be told")


def elsewhere(judgement: Judgement, judged: Iterable[Judgement]) -> str:
    """The other epsilons at which the claim is decided otherwise."""
    found: dict[str, list[str]] = {}
    for other in judged:
        decided = other.verdict in ("supported", "contradicted")
        if other.claim.key == judgement.claim.key and decided and other.verdict != judgement.verdict:
            found.setdefault(other.verdict, []).append(f"{other.epsilon:g}")
    return "".join(f"; {verdict} at ε = {', '.join(epsilons)}" for verdict, epsilons in found.items())


def number(judgement: Judgement) -> str:
    """`+5.48 [3.1, 7.9]`, `× 1.37 [1.2, 1.6]`."""
    e = judgement.evidence
    if isinstance(e, Impossible) or e.unit is None:
        return ""
    is_factor = e.unit.scale == "factor"
    sign = "" if is_factor else "+"
    ends = f" [{e.interval[0]:{sign}.3g}, {e.interval[1]:{sign}.3g}]" if e.interval else ""
    return f"{'× ' * is_factor}{e.effect:{sign}.3g}{ends}"


def effect(judgement: Judgement) -> str:
    """`+5.48 [3.1, 7.9] points per doubling`, `× 1.37 [1.2, 1.6] per doubling`."""
    shown, unit = number(judgement), judgement.evidence.unit
    return f"{shown} {_without_factor(unit)}" if shown and unit else ""


def _without_factor(unit: Unit) -> str:
    return " ".join(filter(None, (unit.per, unit.pair))) if unit.scale == "factor" else str(unit)


def verdict_and_number(judgement: Judgement) -> str:
    """`**as in the paper**<br>-2.02 [-2.73, -1.31]`; what cannot be told is not bold."""
    words = said(judgement.verdict, judgement.claim.expectation)
    decided = judgement.verdict in ("supported", "contradicted")
    lines = (f"**{words}**" if decided else words, number(judgement))
    return "<br>".join(line for line in lines if line)


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    """A table of Markdown."""
    columns = [*head]
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield f"| {' | '.join(row)} |"
