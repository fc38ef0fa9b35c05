"""What the page says about a study: a summary, notes, claims, and where the numbers come from."""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import Any

from tfsgd.data.dataset import SEEN
from tfsgd.measures.spec import Measurement
from tfsgd.reporting.claims.evidence import Evidence, Impossible, Tested, p_in_words
from tfsgd.reporting.claims.verdicts import Judgement
from tfsgd.reporting.paper import ENOUGH, MIN_SEEDS, PAPER_LENGTH, UNDERTRAINED_MARGIN, attack_name, points
from tfsgd.reporting.table.regime_labels import paper_regimes
from tfsgd.reporting.table.studies import Study
from tfsgd.text import counted


def _listed(values: Any, unit: str) -> str:
    items = sorted(values)
    return f"{unit} {', '.join(f'{v:g}' for v in items)}"


def summary_of(study: Study) -> str:
    t = study.trials
    names = [regime.name for regime in study.regimes]
    trials = counted(len(t), "trial")
    if study.planned is not None:
        done = study.planned - len(study.missing) - len(study.failures)
        others = f", and {len(t) - done} that are not planned any more," if len(t) > done else ""
        trials = f"{done} of {counted(study.planned, 'planned trial')}{others}"
    return (
        f"{trials} with a record: {study.length} each; "
        f"{_listed(t['batch_size'].unique(), 'batch sizes')}; "
        f"{_listed(t['momentum'].unique(), 'momenta')}; {_listed(t['seed'].unique(), 'seeds')}; "
        f"regimes {'; '.join(names) if any(',' in name for name in names) else ', '.join(names)}."
    )


def notes_of(study: Study) -> list[str]:
    """What to know before anything is read from the numbers."""
    return [*_notes_on_settings(study), *_notes_on_gaps(study), *_notes_on_troubles(study)]


def _notes_on_settings(study: Study) -> Iterator[str]:
    for note in sorted({record.data_note for record in study.records if record.data_note}):
        if SEEN in note:
            yield f"Of {study.dataset_title}, {note}: what is measured on those is not of images that SGD has not seen."
        else:
            yield f"The images of {study.dataset_title} are {note}: numbers on them are not those of the published data."
    if study.profile == "quick":
        yield (
            "Quick profile: few images, epochs and settings. It shows that everything runs, and says nothing "
            "about the paper."
        )
    elif study.length != PAPER_LENGTH:
        yield f"The paper trains for {PAPER_LENGTH}; these trials for {study.length}."
    seeds = study.trials["seed"].nunique()
    if seeds < MIN_SEEDS:
        yield (f"With {counted(seeds, 'seed')} there are no statistics: verdicts need at least {ENOUGH}.")
    regimes = study.regimes
    for label, count in Counter(regime.label for regime in regimes).items():
        if count > 1:
            names = "; ".join(regime.name for regime in regimes if regime.label == label)
            yield f"{count} regimes are labelled {label}, each is judged and drawn by itself: {names}."
    for kind, regime in paper_regimes(regimes).items():
        if kind != regime.name:
            yield f"The regime {regime.name} does what the paper's {kind} does; the claims call it {kind}."


def _notes_on_gaps(study: Study) -> Iterator[str]:
    if study.planned is None:
        yield "There is no experiment.yaml in the folder, so this page cannot say which trials are missing."
    if study.missing or study.failures:
        failed = f" {len(study.failures)} of them failed." if study.failures else ""
        yield (
            f"Without a record yet: {counted(len(study.missing) + len(study.failures), 'planned trial')}; all numbers may "
            f"still change.{failed}"
        )
    if study.repeated:
        yield f"In more than one folder: {counted(study.repeated, 'trial')}; each counts once."


def _notes_on_troubles(study: Study) -> Iterator[str]:
    loose = int((~study.trials["converged"] & (study.trials["status"] == "completed")).sum())
    if loose:
        yield f"λ1 did not converge in {counted(loose, 'trial')}; the table marks them with ~."
    under = int(study.trials["undertrained"].sum())
    if under:
        yield (
            f"Under-trained: {counted(under, 'trial')} (train accuracy {points(UNDERTRAINED_MARGIN)} or more below "
            "the best cell's), with hollow markers."
        )


def claim_rows(judgements: Sequence[Judgement], group: str) -> list[dict[str, Any]]:
    """The claims of a group, each with its judgements at every epsilon."""
    by_claim: dict[tuple[str, str | None], list[Judgement]] = {}
    for judgement in judgements:
        if judgement.claim.group == group:
            by_claim.setdefault((judgement.claim.key, judgement.claim.metric.attack), []).append(judgement)
    return [_claim_row(found) for found in by_claim.values()]


def _claim_row(found: Sequence[Judgement]) -> dict[str, Any]:
    claim = found[0].claim
    main = next((j for j in found if j.primary), found[0])
    return {
        "statement": claim.statement,
        "section": claim.section,
        "expected": claim.expected,
        "test": claim.test.prose,
        "attack": claim.metric.attack,
        "main": _shown_judgement(main),
        "others": _other_epsilons(main, found),
        "judgements": [_shown_judgement(j) for j in found],
    }


def _other_epsilons(main: Judgement, found: Sequence[Judgement]) -> str:
    """Where the verdicts at the other epsilons differ from the main one, in words."""
    others = [j for j in found if j is not main]
    if not others:
        return ""
    if all(j.verdict == main.verdict for j in others):
        return "The same at every other ε."
    at: dict[str, list[str]] = {}
    for j in others:
        at.setdefault(j.verdict, []).append(f"{j.epsilon:g}")
    said = "; ".join(f"{verdict} at {', '.join(epsilons)}" for verdict, epsilons in at.items())
    definite = {j.verdict for j in found} & {"supported", "contradicted"}
    return f"At other ε: {said}." + (" The verdicts disagree." if len(definite) == 2 else "")


def _shown_judgement(j: Judgement) -> dict[str, Any]:
    e = j.evidence
    return {
        "epsilon": None if j.epsilon is None else f"{j.epsilon:g}",
        "verdict": j.verdict,
        "why": j.why,
        "effect": numbers_of(e) or "none",
        "doubts": e.doubts,
        "n": e.n or "none",
        "p": p_in_words(e.p) if isinstance(e, Tested) else "none",
        "p_holm": "none" if j.p_holm is None else p_in_words(j.p_holm),
    }


def numbers_of(e: Evidence, brief: bool = False) -> str:
    """The effect and what else belongs to it; brief: without its interval, and without the pair it lies between."""
    if isinstance(e, Impossible) or e.unit is None:
        return ""
    effect = e.unit.words(e.effect, None if brief else e.interval, with_pair=not brief)
    return f"{effect}; {e.detail}" if e.detail else effect


def provenance_of(study: Study) -> list[str]:
    """Where and with what a study was made, in three lines."""
    origins = [record.provenance for record in study.records]
    commits = sorted({origin.git_commit or "unknown" for origin in origins})
    devices = sorted({f"{o.device}, {counted(o.threads, 'thread')}" for o in origins})
    hours = sum(record.cost for record in study.records) / 3600
    versions = ", ".join(f"{name} {version}" for name, version in origins[0].versions.items())
    attacks = dict.fromkeys(_attack_said(a) for record in study.records for a in record.attacks)
    tops = dict.fromkeys(
        f"λ1 on {top.examples:,} images of the {top.split} split"
        for record in study.records
        if (top := record.top_eigenvalue)
    )
    return [
        f"{study.title}: {', '.join(path.name for path in study.folders)}; {hours:.1f} hours of training and "
        "measuring",
        "; ".join([*attacks, *tops]),
        f"commit {', '.join(commits)}; {'; '.join(devices)}; {versions}",
    ]


def _attack_said(attack: Measurement) -> str:
    steps, size = attack.settings.get("steps"), attack.settings.get("step_size")
    said = "" if steps is None else f": {counted(steps, 'step')}"
    if attack.epsilon and steps and steps > 1 and size:
        said += f" of {size / attack.epsilon:.3g} ε"
    return f"{attack_name(attack.label)}{said}, {attack.examples:,} images"
