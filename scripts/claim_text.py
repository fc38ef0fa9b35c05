"""A judged claim in the words of README.md and docs/results, and their tables."""

import functools
from collections.abc import Iterable, Iterator
from pathlib import Path

from tfsgd.reporting.claims.claims import Expectation
from tfsgd.reporting.claims.evidence import Unit
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


def number(judgement: Judgement) -> str:
    """`+5.48 points [3.10, 7.90]`, `× 1.37 [1.2, 1.6]`."""
    e = judgement.evidence
    return e.words(e.unit and Unit(e.unit.scale))


def effect(judgement: Judgement) -> str:
    """The same, and what belongs to one unit of it: `× 1.37 [1.2, 1.6] per doubling`."""
    return judgement.evidence.words(judgement.evidence.unit)


def verdict_and_number(judgement: Judgement) -> str:
    """`**as in the paper**<br>-2.02 [-2.73, -1.31]`; what cannot be told is not bold."""
    words = said(judgement.verdict, judgement.asked.expectation)
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
