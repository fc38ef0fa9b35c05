"""The page, the files beside it, and everything on it in words."""

import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import jinja2
import pandas as pd
from markupsafe import Markup

from tfsgd.errors import RequestError
from tfsgd.measures.spec import Measurement
from tfsgd.records.files import to_json, write_atomically
from tfsgd.reporting.cells import paper_regimes
from tfsgd.reporting.claims import GROUPS, Judgement, judge
from tfsgd.reporting.drawing import Drawing, inline, style_variables
from tfsgd.reporting.figures import draw
from tfsgd.reporting.paper import PAPER_EPOCHS
from tfsgd.reporting.studies import Study, attack_column, read_studies

VERDICTS = ("supported", "contradicted", "undecided", "descriptive", "not testable")


def write_report(folders: Sequence[Path]) -> Path:
    """Writes the report of one or more log folders into `report/` of the first.

    Args:
        folders: `LOGS/NAME` each, as a sweep writes it; the sweep may still be running.

    Returns:
        The path of the page, `report/index.html`.

    Raises:
        RequestError: a folder or a record is wrong, or the report cannot be written.
    """
    studies = read_studies(folders)
    target = folders[0].resolve() / "report"
    judged = [judge(s.trials, s.dataset, s.model, s.paper_epsilon, s.chance) for s in studies]
    drawn = [draw(study) for study in studies]
    try:
        pages = [
            _study_page(i, study, judgements, *_save_figures(target, i, len(studies), *figures))
            for i, (study, judgements, figures) in enumerate(zip(studies, judged, drawn, strict=True))
        ]
        _remove_stale(target, {d.name for page in pages for d in page["figures"]})
        write_atomically(target / "records.csv", _records_csv(studies, target))
        write_atomically(target / "claims.json", to_json(_claims_json(studies, judged, target)))
        write_atomically(target / "index.html", _render(studies, pages, target))
    except OSError as error:
        raise RequestError(f"{error.filename or target}: cannot be written: {error.strerror}") from None
    return target / "index.html"


@dataclass(frozen=True)
class _Shown:
    """A figure as the page needs it."""

    id: str
    name: str
    title: str
    caption: str
    extra: bool  # shown folded
    first: bool  # shown before the claims
    svg: Markup
    values: list[dict[str, str]]


def _save_figures(
    target: Path, index: int, studies: int, drawings: Sequence[Drawing], undrawn: list[str]
) -> tuple[list[_Shown], list[str]]:
    shown = []
    for drawing in drawings:
        first = drawing.name in ("regimes-fgsm", "regimes-pgd", "regimes-natural")
        if studies > 1:
            drawing.name = f"{index + 1}-{drawing.name}"
        svg = drawing.svg()
        write_atomically(target / "figures" / f"{drawing.name}.svg", svg)
        (target / "figures" / f"{drawing.name}.png").write_bytes(drawing.png())
        picture = Markup(inline(drawing, svg))  # drawn here, its texts are escaped
        shown.append(
            _Shown(
                id=f"figure-{drawing.name}",
                name=drawing.name,
                title=drawing.title,
                caption=drawing.caption,
                extra=drawing.extra,
                first=first,
                svg=picture,
                values=drawing.values,
            )
        )
    return shown, undrawn


def _remove_stale(target: Path, names: set[str]) -> None:
    """Removes figures of an earlier report that this one does not have."""
    for pattern in ("*.png", "*.svg"):
        for path in (target / "figures").glob(pattern):
            if path.stem not in names:
                path.unlink()


def _records_csv(studies: Sequence[Study], target: Path) -> str:
    table = pd.concat([study.trials for study in studies], ignore_index=True)
    table["regimes"] = table["regimes"].map(";".join)
    table["folder"] = [os.path.relpath(path, target) for path in table["folder"]]
    return str(table.to_csv(index=False))


def _claims_json(
    studies: Sequence[Study], judged: Sequence[Sequence[Judgement]], target: Path
) -> list[dict[str, Any]]:
    return [
        {
            "dataset": study.dataset,
            "model": study.model,
            "profile": study.profile,
            "epochs": study.epochs,
            "folders": [os.path.relpath(path, target) for path in study.folders],
            "paper_epsilon": study.paper_epsilon,
            "recorded": len(study.trials),
            "planned": study.planned,
            "missing": [*study.missing],
            "failed": [failure.trial for failure in study.failures],
            "claims": [judgement.as_json() for judgement in judgements],
        }
        for study, judgements in zip(studies, judged, strict=True)
    ]


def _render(studies: Sequence[Study], pages: list[dict[str, Any]], target: Path) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfsgd.reporting", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
    )
    light, dark = style_variables()
    columns, trials = _trial_table(studies, target)
    return environment.get_template("page.html.j2").render(
        titles=list(dict.fromkeys(study.title for study in studies)),
        studies=pages,
        columns=columns,
        trials=trials,
        light=light,
        dark=dark,
        provenance=[line for study in studies for line in _provenance(study)],
    )


def _study_page(
    index: int, study: Study, judgements: Sequence[Judgement], figures: list[_Shown], undrawn: list[str]
) -> dict[str, Any]:
    tally: Counter[str] = Counter(j.verdict for j in judgements if j.primary)
    bad = study.trials[study.trials["status"] != "completed"]
    return {
        "id": f"study-{index + 1}",
        "title": study.title,
        "profile": study.profile,
        "summary": _summary(study),
        "notes": _notes(study),
        "tally": [(verdict, tally[verdict]) for verdict in VERDICTS if tally[verdict]],
        "paper_epsilon": study.paper_epsilon,
        "absent": [(f.trial, f.error) for f in study.failures] + [(name, "") for name in study.missing],
        "bad": [(_trial_name(row), row["status"]) for row in bad.to_dict("records")],
        "figures": figures,
        "extra": sum(figure.extra for figure in figures),
        "undrawn": undrawn,
        "claims_note": (
            "Every claim is judged at the paper's ε and at the others that were measured. Holm's correction "
            "runs over the claims at the paper's ε together with those without an attack, and over the "
            "claims at each other ε."
        ),
        "groups": [(group, rows) for group in GROUPS if (rows := _claim_rows(judgements, group))],
    }


def _listed(values: Any, unit: str) -> str:
    items = sorted(values)
    return f"{unit} {', '.join(f'{v:g}' for v in items)}"


def _summary(study: Study) -> str:
    t = study.trials
    trials = f"{len(t)} trials"
    if study.planned is not None:
        done = study.planned - len(study.missing) - len(study.failures)
        others = f", and {len(t) - done} that are not planned any more," if len(t) > done else ""
        trials = f"{done} of {study.planned} planned trials{others}"
    return (
        f"{trials} have a record: {study.epochs} epochs each; "
        f"{_listed(t['batch_size'].unique(), 'batch sizes')}; "
        f"{_listed(t['momentum'].unique(), 'momenta')}; {_listed(t['seed'].unique(), 'seeds')}; "
        f"regimes {', '.join(dict.fromkeys(r for regimes in t['regimes'] for r in regimes))}."
    )


def _notes(study: Study) -> list[str]:
    notes = []
    if study.profile == "quick":
        notes.append(
            "Quick profile: few images, epochs and settings. It shows that everything runs, and says nothing "
            "about the paper."
        )
    elif study.epochs != PAPER_EPOCHS:
        notes.append(f"The paper trains for {PAPER_EPOCHS} epochs; these trials have {study.epochs}.")
    seeds = study.trials["seed"].nunique()
    if seeds < 3:
        notes.append(
            f"With {seeds} {'seed' if seeds == 1 else 'seeds'} there are no statistics: verdicts need at "
            "least 3 seeds and 3 batch sizes."
        )
    for kind, label in paper_regimes(study.trials).items():
        if kind != label:
            notes.append(f"The regime {label} does what the paper's {kind} does; the claims call it {kind}.")
    if study.planned is None:
        notes.append(
            "There is no experiment.yaml in the folder, so this page cannot say which trials are missing."
        )
    if study.missing or study.failures:
        failed = f" {len(study.failures)} of them failed." if study.failures else ""
        notes.append(
            f"{len(study.missing) + len(study.failures)} planned trials have no record yet; all numbers may "
            f"still change.{failed}"
        )
    if study.repeated:
        notes.append(f"{study.repeated} trials lie in more than one folder; each counts once.")
    loose = int((~study.trials["converged"] & (study.trials["status"] == "completed")).sum())
    if loose:
        notes.append(f"λ1 did not converge in {loose} trials; the table marks them with ~.")
    under = int(study.trials["undertrained"].sum())
    if under:
        notes.append(
            f"{under} trials are under-trained (train accuracy 2 points or more below the best cell's); "
            "their markers are hollow."
        )
    return notes


def _claim_rows(judgements: Sequence[Judgement], group: str) -> list[dict[str, Any]]:
    by_claim: dict[str, list[Judgement]] = {}
    for judgement in judgements:
        if judgement.claim.group == group:
            by_claim.setdefault(judgement.claim.key, []).append(judgement)
    return [_claim_row(found) for found in by_claim.values()]


def _claim_row(found: Sequence[Judgement]) -> dict[str, Any]:
    claim = found[0].claim
    main = next((j for j in found if j.primary), found[0])
    return {
        "statement": claim.statement,
        "section": claim.section,
        "expected": claim.expected,
        "test": claim.test,
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
        "effect": _effect(e.effect, e.low, e.high, e.unit),
        "detail": e.detail,
        "n": e.n or "none",
        "p": _number(e.p),
        "p_holm": _number(j.p_holm),
    }


def _effect(effect: float | None, low: float | None, high: float | None, unit: str) -> str:
    if effect is None:
        return "none"
    number, _, rest = unit.partition(" ")
    shape = "+.2f" if number == "points" else ".3g" if number == "factor" else "+.2f"
    value = {"points": f"{effect:{shape}} points", "factor": f"factor {effect:{shape}}"}.get(
        number, f"{effect:{shape}}"
    )
    interval = "" if low is None or high is None else f" [{low:{shape}}, {high:{shape}}]"
    return f"{value}{interval} {rest if number in ('points', 'factor') else ''}".strip()


def _number(value: float | None) -> str:
    return "none" if value is None else "< 0.0001" if value < 1e-4 else f"{value:.2g}"


def _provenance(study: Study) -> list[str]:
    origins = [record.provenance for record in study.records]
    commits = sorted({origin.git_commit or "unknown" for origin in origins})
    devices = sorted(
        {f"{o.device}, {o.threads} {'thread' if o.threads == 1 else 'threads'}" for o in origins}
    )
    hours = sum(study.trials[f"seconds_{key}"].sum() for key in ("train", "attacks", "hessian")) / 3600
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
    said = "" if steps is None else f": {steps} {'step' if steps == 1 else 'steps'}"
    if attack.epsilon and steps and steps > 1 and size:
        said += f" of {size / attack.epsilon:.3g} ε"
    return f"{attack.label.upper()}{said}, {attack.examples:,} images"


@dataclass(frozen=True)
class _Cell:
    text: str
    number: float | str | None = None  # for sorting; "": there is no value
    link: str = ""


def _trial_table(studies: Sequence[Study], target: Path) -> tuple[list[str], list[list[_Cell]]]:
    attacks = sorted({attack for study in studies for attack in study.attacks})
    several = len(studies) > 1
    columns = [
        "trial",
        *(["study"] if several else []),
        "regimes",
        "batch size",
        "momentum",
        "learning rate",
        "seed",
    ]
    columns += [
        "status",
        "train loss",
        "train",
        "test",
        *(f"{name.upper()} {e:g}" for name, e in attacks),
        "λ1",
    ]
    rows = []
    for study in studies:
        for row in study.trials.to_dict("records"):
            rows.append(
                [
                    _Cell(_trial_name(row), link=quote(os.path.relpath(str(row["folder"]), target)) + "/"),
                    *([_Cell(study.title)] if several else []),
                    _Cell(", ".join(row["regimes"])),
                    *(_plain(row[key]) for key in ("batch_size", "momentum", "learning_rate", "seed")),
                    _Cell(row["status"] + (", under-trained" if row["undertrained"] else "")),
                    _plain(row["train_loss"]),
                    *(_percent(row.get(key)) for key in ("train_accuracy", "test_accuracy")),
                    *(_percent(row.get(attack_column(name, e))) for name, e in attacks),
                    _plain(row["eigenvalue"], mark="" if row["converged"] else "~"),
                ]
            )
    return columns, rows


def _trial_name(row: dict[Any, Any]) -> str:
    path = Path(str(row["folder"]))
    return f"{path.parent.name}/{path.name}"


def _plain(value: Any, mark: str = "") -> _Cell:
    return _Cell("none", "") if pd.isna(value) else _Cell(f"{mark}{value:.4g}", float(value))


def _percent(value: Any) -> _Cell:
    return _Cell("none", "") if value is None or pd.isna(value) else _Cell(f"{100 * value:.1f}", float(value))
