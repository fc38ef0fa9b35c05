"""A page in a minute: the paper's claims in one line each, what a sweep cannot tell, and the command that helps."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from tfsgd.reporting.claims.claims import Claim
from tfsgd.reporting.claims.verdicts import Judgement
from tfsgd.reporting.page.report_text import numbers_of
from tfsgd.reporting.paper import MIN_SEEDS
from tfsgd.reporting.table.studies import Study
from tfsgd.text import counted

MORE_SEEDS = 2


@dataclass(frozen=True)
class MetricSummary:
    """What was found about a claim for one metric."""

    metric: str
    verdict: str
    number: str
    where: str  # a range of batch sizes, another epsilon; empty: as it was asked
    n: str  # seeds and cells; empty: no numbers


@dataclass(frozen=True)
class ClaimSummary:
    """A claim of the paper, for all metrics that it is about."""

    statement: str
    found: list[MetricSummary]

    @property
    def n(self) -> str:
        """Seeds and cells, once where all metrics have the same."""
        if len({found.n for found in self.found}) == 1:
            return self.found[0].n
        return "; ".join(f"{found.metric}: {found.n or 'none'}" for found in self.found)


def lines_of(judgements: Sequence[Judgement]) -> list[ClaimSummary]:
    """The paper's claims, each statement once; under attack at the paper's epsilon, or where that is a floor at another."""
    lines: dict[str, ClaimSummary] = {}
    for judgement in judgements:
        claim = judgement.claim
        if judgement.primary and _is_of_the_paper(claim):
            shown = most_informative(judgement, judgements)
            line = lines.setdefault(claim.general, ClaimSummary(claim.general, []))
            line.found.append(_found(shown, judgement))
    return list(lines.values())


def _is_of_the_paper(claim: Claim) -> bool:
    return claim.is_of_the_paper and claim.is_on_the_papers_attacks


def most_informative(asked: Judgement, judgements: Sequence[Judgement]) -> Judgement:
    """The judgement itself, or, where it could not be tested, the one at the epsilon with the strongest evidence."""
    if asked.epsilon is None or asked.verdict != "not testable":
        return asked
    others = [j for j in judgements if j.claim.key == asked.claim.key and j.verdict != "not testable"]
    return min(others, key=lambda j: (j.p_holm is None, j.p_holm or 0.0), default=asked)


def _found(judgement: Judgement, asked: Judgement) -> MetricSummary:
    e, claim = judgement.evidence, judgement.claim
    why = "a floor" if getattr(asked.evidence, "floor", False) else "not tested"
    where = [e.range] if e.range else []
    if judgement.epsilon is not None:
        where.append(f"ε = {judgement.epsilon:g}" + ("" if judgement.primary else f", at the paper's {why}"))
    return MetricSummary(
        claim.metric.name, judgement.verdict, numbers_of(e, brief=True), "; ".join(where), e.n
    )


# What would help


@dataclass(frozen=True)
class Advice:
    """What a sweep cannot tell yet, and the command that would change that; no command: nothing is known that would."""

    lacking: str
    what: str = ""
    command: str = ""
    hours: str = ""


def advice_of(study: Study, judgements: Sequence[Judgement]) -> Advice:
    """The one step that helps most: finish the sweep, reach three seeds, or add two."""
    ours = [j for j in judgements if j.primary and _is_of_the_paper(j.claim)]
    open_claims = sum(j.verdict in ("undecided", "descriptive") for j in ours)
    seeds = sorted(int(seed) for seed in study.trials["seed"].unique())
    absent = len(study.missing) + len(study.failures)
    lacking = f"{open_claims} of {len(ours)} claims are open"
    if study.profile == "quick":
        return Advice(f"{lacking}: a quick profile decides nothing; train without --quick")
    if absent:
        return _advice(
            study,
            f"{lacking}, and {counted(absent, 'planned trial')} without a record",
            "the rest of the sweep",
            [],
            absent,
        )
    if not open_claims:
        return Advice("Every claim that these trials can test is decided")
    count = max(MIN_SEEDS - len(seeds), MORE_SEEDS if len(seeds) >= MIN_SEEDS else 0)
    more = [seed for seed in range(max(seeds) + count + 1) if seed not in seeds][:count]
    trials = round((study.planned or len(study.trials)) / len(seeds)) * count
    wanted = f"seeds=[{','.join(map(str, sorted([*seeds, *more])))}]"
    return _advice(study, lacking, counted(count, "more seed"), ["--set", wanted], trials)


def _advice(study: Study, lacking: str, what: str, options: list[str], trials: int) -> Advice:
    seconds = fmean(record.cost for record in study.records)
    folder, here = study.folders[0], Path.cwd()
    folder = folder.relative_to(here) if folder.is_relative_to(here) else folder
    logs = [] if folder.parent == Path("logs") else ["--logs", str(folder.parent)]
    name = [] if study.records[0].name == folder.name else ["--set", f"name={folder.name}"]
    config = str(folder / "experiment.yaml") if study.planned is not None else "CONFIG"
    command = shlex.join(["python", "-m", "tfsgd.sweep", config, *logs, *name, *options])
    return Advice(lacking, what, command, _time(seconds * trials))


def _time(seconds: float) -> str:
    if seconds < 5400:
        return f"{max(1, round(seconds / 60))} min"
    return f"{seconds / 3600:.0f} h"
