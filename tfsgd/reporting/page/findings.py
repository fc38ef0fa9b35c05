"""What was found, in one form for the page, for LaTeX and for everything else that tells it.

A finding is the primary claims that stand in one sentence: the effect on λ1 or natural accuracy, and that on the smallest
epsilon, each with what the paper says of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tfsgd.reporting.claims.claims import StatedClaim
from tfsgd.reporting.claims.evidence import Evidence, Impossible, Unit
from tfsgd.reporting.claims.verdicts import Judgement
from tfsgd.reporting.paper import MIN_SEEDS
from tfsgd.reporting.table.metrics import SMALLEST
from tfsgd.reporting.table.studies import Study

FLIPPED = {"supported": "contradicted", "contradicted": "supported"}
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Effect:
    """What was found of one claim.

    Attributes:
        metric: for people.
        is_robustness: it is about the smallest epsilon.
        value: the effect with its interval; empty: there are no numbers.
        per: what one unit of it is, or between which levels it lies.
        paper_says: what the paper says of it, in a few words.
        verdict: on what the paper says; empty: these networks allow none, see `has_verdicts`.
        seeds_needed: how many would decide it; `None`: it is decided, or more than 100.
        n: seeds and cells, in words.
    """

    metric: str
    is_robustness: bool
    value: str
    per: str
    paper_says: str
    verdict: str
    seeds_needed: int | None
    n: str

    @property
    def words(self) -> str:
        """`× 1.37 [1.24, 1.51] per doubling`; empty: there are no numbers."""
        return f"{self.value} {self.per}".strip()

    def said(self, with_per: bool = True) -> str:
        """`λ1 × 1.37 [1.24, 1.51] per doubling`."""
        doubt = " (undecided)" if self.verdict == "undecided" else ""
        return f"{self.metric} {(self.words if with_per else self.value) or NOT_MEASURED}{doubt}"


@dataclass(frozen=True)
class Finding:
    """The primary claims of one sentence.

    Attributes:
        title: how the sentence begins.
        effects: one or two.
        is_of_others: its numbers are those of other findings, so that it has no sentence of its own.
    """

    title: str
    effects: tuple[Effect, ...]
    is_of_others: bool = False

    @property
    def has_numbers(self) -> bool:
        return any(effect.words for effect in self.effects)

    @property
    def sentence(self) -> str:
        """The effects; and what the paper says, where it says something else."""
        alike = len({effect.per for effect in self.effects}) == 1
        last = self.effects[-1]
        said = ", ".join(effect.said(not alike or effect is last) for effect in self.effects)
        against = " and ".join(e.paper_says for e in self.effects if e.verdict == "contradicted")
        return f"{self.title}: {said}" + (f"; the paper says that {against}" if against else "")

    def words(self, robustness: bool) -> str:
        """The effects on the smallest epsilon, or the others."""
        meant = [(e.metric, e.words or NOT_MEASURED) for e in self.effects if e.is_robustness == robustness]
        return "; ".join(words if robustness else f"{metric} {words}" for metric, words in meant)

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        """What the paper says, and the verdict on it."""
        return [(e.paper_says, e.verdict) for e in self.effects]

    @property
    def seeds_needed(self) -> str:
        """Of what is undecided: the number of seeds, or that there are too many."""
        open_ones = (e.seeds_needed for e in self.effects if e.verdict == "undecided")
        return ", ".join(dict.fromkeys(f"{seeds}" if seeds else "> 100" for seeds in open_ones))


def has_verdicts(study: Study) -> bool:
    """Whether a study is more than a description: no quick profile, and three seeds."""
    return study.profile != "quick" and study.trials["seed"].nunique() >= MIN_SEEDS


def findings_of(study: Study, judgements: Sequence[Judgement]) -> list[Finding]:
    """The findings of a study, in the order of the claims.

    Args:
        study: the trials.
        judgements: of them, see `judgements_of`; the primary ones count.
    """
    found: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        if judgement.asked.role == "primary":
            found.setdefault(judgement.asked.finding, []).append(judgement)
    with_verdict = has_verdicts(study)
    return [
        Finding(
            title, tuple(_effect(j, with_verdict) for j in of), all(j.asked.claim.kind == "both" for j in of)
        )
        for title, of in found.items()
    ]


def sentences_of(findings: Sequence[Finding]) -> list[str]:
    """The sentences of those that have numbers of their own."""
    return [f.sentence for f in findings if f.has_numbers and not f.is_of_others]


def _effect(judgement: Judgement, with_verdict: bool) -> Effect:
    asked, e = judgement.asked, judgement.evidence
    value, per = _brief(e, asked)
    flips = asked.expectation in ("fails", "opposite")  # the verdict is on what the paper says
    verdict = FLIPPED.get(judgement.verdict, judgement.verdict) if flips else judgement.verdict
    return Effect(
        asked.names,
        asked.metrics[0] == SMALLEST,
        value,
        per,
        asked.paper_says,
        verdict if with_verdict else "",
        judgement.seeds_needed,
        e.n,
    )


def _brief(e: Evidence, asked: StatedClaim) -> tuple[str, str]:
    """The effect, and what it is per, without what the finding's title says already."""
    if isinstance(e, Impossible) or e.unit is None:
        return "", ""
    if asked.claim.kind == "both":
        return "as above" if e.detail else "", ""
    per = e.unit.per.removesuffix(f", {' against '.join(asked.claim.regimes)}")
    pair = e.unit.pair.removesuffix(", the widest pair")
    return Unit(e.unit.scale).words(e.effect, e.interval), f"{per} {pair}".strip()
