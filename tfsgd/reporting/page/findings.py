"""What was found, in one form for the page, for LaTeX and for everything else that tells it.

A finding is the primary claims that stand in one sentence: the effect on λ1 or natural accuracy, and that on the smallest
epsilon, each with what the paper says of it.
"""

from __future__ import annotations

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
        where: the batch sizes that are judged, where others are left out.
    """

    metric: str
    is_robustness: bool
    value: str
    per: str
    paper_says: str
    verdict: str
    seeds_needed: int | None
    n: str
    where: str

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
    def sentence(self) -> str:
        """The effects; and what the paper says, where it says something else."""
        alike = len({effect.per for effect in self.effects}) == 1
        last = self.effects[-1]
        said = ", ".join(effect.said(not alike or effect is last) for effect in self.effects)
        against = [e.paper_says for e in self.effects if e.verdict == "contradicted"]
        return f"{self.title}: {said}" + (f"; the paper says that {' and '.join(against)}" if against else "")

    def words(self, robustness: bool) -> str:
        """The effects on the smallest epsilon, or the others."""
        return "; ".join(
            (e.words or NOT_MEASURED) if robustness else f"{e.metric} {e.words or NOT_MEASURED}"
            for e in self.effects
            if e.is_robustness == robustness
        )

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        """What the paper says, and the verdict on it."""
        return [(e.paper_says, e.verdict) for e in self.effects]

    @property
    def seeds_needed(self) -> str:
        """Of what is undecided: the number of seeds, or that there are too many."""
        open_ones = [e for e in self.effects if e.verdict == "undecided"]
        found = dict.fromkeys(f"{e.seeds_needed}" if e.seeds_needed else "> 100" for e in open_ones)
        return ", ".join(found)


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
    return [
        Finding(
            title,
            tuple(_effect(j, has_verdicts(study)) for j in of),
            all(j.asked.claim.kind == "both" for j in of),
        )
        for title, of in found.items()
    ]


def sentences_of(findings: Sequence[Finding]) -> list[str]:
    """The sentences of those that have numbers of their own."""
    return [f.sentence for f in findings if not f.is_of_others and any(e.words for e in f.effects)]


def verdict_on_the_paper(judgement: Judgement) -> str:
    """The verdict on what the paper says, which may be that a claim fails, or that the opposite holds."""
    flips = judgement.asked.expectation in ("fails", "opposite")
    return FLIPPED.get(judgement.verdict, judgement.verdict) if flips else judgement.verdict


def _effect(judgement: Judgement, with_verdict: bool) -> Effect:
    asked, e = judgement.asked, judgement.evidence
    value, per = _brief(e, asked)
    return Effect(
        metric=" and ".join(the(metric.name) for metric in asked.metrics),
        is_robustness=asked.metrics[0] == SMALLEST,
        value=value,
        per=per,
        paper_says=paper_says(asked),
        verdict=verdict_on_the_paper(judgement) if with_verdict else "",
        seeds_needed=judgement.seeds_needed,
        n=e.n,
        where=e.range,
    )


def the(metric: str) -> str:
    """A metric in a sentence."""
    return f"the {metric}" if metric == SMALLEST.name else metric


def paper_says(asked: StatedClaim) -> str:
    """What the paper says of a claim, in a few words; empty: nothing."""
    claim, names = asked.claim, " and ".join(the(metric.name) for metric in asked.metrics)
    if not asked.is_of_the_paper:
        return ""
    directions = ("rises", "falls")[:: -1 if asked.expectation == "opposite" else 1]
    verb = directions[0] if claim.sign > 0 else directions[1]
    fails = asked.expectation == "fails"
    said = {
        "trend": f"{names} {verb}",
        "interaction": f"{names} {verb} more",
        "difference": f"{names} is {'higher' if claim.sign > 0 else 'lower'}",
        "equivalent": f"{names} hardly changes",
        "non_inferior": f"{names} is kept",
        "both": f"{names} {'do not both rise' if fails else 'both rise'}",
    }.get(claim.kind, asked.statement)
    return f"it does not hold that {said}" if fails and claim.kind != "both" else said


def _brief(e: Evidence, asked: StatedClaim) -> tuple[str, str]:
    """The effect, and what it is per, without what the finding's title says already."""
    if isinstance(e, Impossible) or e.unit is None:
        return "", ""
    if asked.claim.kind == "both":
        return "as above" if e.detail else "", ""
    per = e.unit.per.removesuffix(f", {' against '.join(asked.claim.regimes)}")
    pair = e.unit.pair.removesuffix(", the widest pair")
    return Unit(e.unit.scale).words(e.effect, e.interval), f"{per} {pair}".strip()
