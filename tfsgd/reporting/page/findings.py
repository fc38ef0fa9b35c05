"""What was found, in one form for the page, for LaTeX and for everything else that tells it.

A finding is the primary claims that stand in one sentence: the effect on λ1 or natural accuracy, and that on the smallest
epsilon, each with what the paper says of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from tfsgd.reporting.claims.evidence import Unit
from tfsgd.reporting.claims.verdicts import Judgement
from tfsgd.reporting.paper import MIN_SEEDS
from tfsgd.reporting.table.columns import SMALLEST
from tfsgd.reporting.table.studies import Study

FLIPPED = {"supported": "contradicted", "contradicted": "supported"}
NOT_MEASURED = "not measured"


@dataclass(frozen=True)
class Effect:
    """What was found of one claim.

    Attributes:
        judgement: of the claim.
        has_verdict: whether these networks allow one, see `has_verdicts`.
    """

    judgement: Judgement
    has_verdict: bool

    @property
    def brief(self) -> tuple[str, str]:
        """The effect with its interval, and what it is per, without what the finding's title says; empty: no numbers."""
        e, asked = self.judgement.evidence, self.judgement.asked
        if e.unit is None:
            return "", ""
        if asked.claim.kind == "both":
            return "as above" if e.detail else "", ""
        per = e.unit.per.removesuffix(f", {' against '.join(asked.claim.regimes)}")
        pair = e.unit.pair.removesuffix(", the widest pair")
        return e.words(Unit(e.unit.scale)), f"{per} {pair}".strip()

    @property
    def verdict(self) -> str:
        """On what the paper says; empty: these networks allow none."""
        flips = self.judgement.asked.expectation in ("fails", "opposite")
        verdict = self.judgement.verdict
        return (FLIPPED.get(verdict, verdict) if flips else verdict) if self.has_verdict else ""

    @property
    def words(self) -> str:
        """`× 1.37 [1.24, 1.51] per doubling`; empty: there are no numbers."""
        return " ".join(self.brief).strip()

    def said(self, with_per: bool = True) -> str:
        """`λ1 × 1.37 [1.24, 1.51] per doubling`."""
        doubt = " (undecided)" if self.verdict == "undecided" else ""
        words = self.words if with_per else self.brief[0]
        return f"{self.judgement.asked.names} {words or NOT_MEASURED}{doubt}"


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
        alike = len({effect.brief[1] for effect in self.effects}) == 1
        last = self.effects[-1]
        said = ", ".join(effect.said(not alike or effect is last) for effect in self.effects)
        against = " and ".join(said for said, verdict in self.verdicts if verdict == "contradicted")
        return f"{self.title}: {said}" + (f"; the paper says that {against}" if against else "")

    def words(self, robustness: bool) -> str:
        """The effects on the smallest epsilon, or the others."""
        found = ((e.judgement.asked, e.words or NOT_MEASURED) for e in self.effects)
        meant = [(of.names, words) for of, words in found if (of.metrics[0] == SMALLEST) == robustness]
        return "; ".join(words if robustness else f"{metric} {words}" for metric, words in meant)

    @property
    def verdicts(self) -> list[tuple[str, str]]:
        """What the paper says, and the verdict on it."""
        return [(e.judgement.asked.paper_says, e.verdict) for e in self.effects]

    @property
    def seeds_needed(self) -> str:
        """Of what is undecided: the number of seeds, or that there are too many."""
        open_ones = (e.judgement.seeds_needed for e in self.effects if e.verdict == "undecided")
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
            title, tuple(Effect(j, with_verdict) for j in of), all(j.asked.claim.kind == "both" for j in of)
        )
        for title, of in found.items()
    ]


def sentences_of(findings: Sequence[Finding]) -> list[str]:
    """The sentences of those that have numbers of their own."""
    return [f.sentence for f in findings if f.has_numbers and not f.is_of_others]
