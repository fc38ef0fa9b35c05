"""The page, the files beside it, and everything on it in words."""

import itertools
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tfsgd.errors import RequestError
from tfsgd.plan.reading import load_claims
from tfsgd.records.atomic import to_json, write_atomically
from tfsgd.reporting import paper
from tfsgd.reporting.claims.agreement import Entry, worst_knobs
from tfsgd.reporting.claims.verdicts import Judgement, judgements_of
from tfsgd.reporting.figures.agreement import entries_of
from tfsgd.reporting.figures.compare import compare
from tfsgd.reporting.figures.registry import draw, refuse_unknown_figures
from tfsgd.reporting.figures.style import Drawing, Drawn, Look, style_variables
from tfsgd.reporting.page.advice import advice_of
from tfsgd.reporting.page.findings import Finding, findings_of, has_verdicts, sentences_of
from tfsgd.reporting.page.output_files import (
    add_files,
    begin_report,
    refuse_unfit_target,
    remove_stale,
    report_folder,
    save_figure,
    save_tables,
)
from tfsgd.reporting.page.paper_figures import refuse_undrawn, views_of_figure
from tfsgd.reporting.page.regime_comparison import comparison_of
from tfsgd.reporting.page.report_text import claim_rows, notes_of, provenance_of, summary_of
from tfsgd.reporting.page.trial_table import trial_name, trial_table
from tfsgd.reporting.table.regime_labels import paper_regimes
from tfsgd.reporting.table.studies import Study, read_studies
from tfsgd.text import known_keys

KEPT = re.compile(r"\S+ ×|× [\d.e+-]+|\[[^\]]*\]|\S+ points")  # on one line
SECTIONS = {  # of figures -> the question that they answer
    "batch": "What does a larger batch change?",
    "momentum": "What does momentum change?",
    "agreement": "Does curvature explain robustness?",
    "edge": "Are the networks at the edge of stability?",
    "attacks": "What do attacks find?",
    "equal": "And after equal training?",
}


def write_report(
    folders: Sequence[Path],
    out: Path | None = None,
    observe: Callable[[str], None] = lambda doing: None,
    *,
    claims: Path | None = None,
    figures: Sequence[str] = (),
    look: Look | None = None,
) -> Path:
    """Writes the report of one or more log folders.

    Args:
        folders: `LOGS/NAME` each, as a sweep writes it; the sweep may still be running.
        out: where the report is written. By default it is `report/` in a folder, or, of several, `report-with-...`
            in the first with the names of the others, so that each keeps the report of its own.
        observe: is told what is being done, in a few words.
        claims: a YAML file with claims that are judged besides.
        figures: the names of those that are wanted, `all` for all; by default the page's.
        look: how large figures are, and which files they have.

    Returns:
        The path of the page, `index.html`.

    Raises:
        RequestError: a folder, a record or a claim is wrong, or the report cannot be written.
    """
    refuse_unknown_figures(figures)
    target = report_folder(folders, out)
    observe("reading the records")
    studies = _read(folders, claims)
    refuse_unfit_target(target)
    observe("judging the claims")
    judged = [judgements_of(s) for s in studies]
    findings = [*map(findings_of, studies, judged)]
    agreed = [*map(entries_of, studies)]
    with _told_in_a_line(target):
        stale = begin_report(target)
        several = len(studies) > 1
        inlined: dict[str, str] = {}

        def save(prefix: str, drawing: Drawing) -> None:
            drawing.name = f"{prefix}{drawing.name}"
            observe(f"drawing {drawing.name}, figure {len(inlined) + 1}")
            inlined[drawing.name] = save_figure(target, drawing)

        drawn = [
            draw(s, partial(save, f"{i + 1}-" if several else ""), figures, look)
            for i, s in enumerate(studies)
        ]
        compared: Drawn = compare(studies, partial(save, ""), look) if several else ([], [])
        everything = [drawing for drawings, _ in (*drawn, compared) for drawing in drawings]
        tables = save_tables(target, studies, findings, [drawings for drawings, _ in drawn])
        remove_stale(target, stale, everything, tables)
        write_atomically(
            target / "claims.json", to_json([*map(partial(_json, target), studies, judged, agreed)])
        )
        pages = [*map(_study_page, itertools.count(1), studies, judged, findings, agreed, drawn)]
        context = {"studies": pages, "compared": compared, "colours": style_variables(everything)}
        write_atomically(target / "index.html", _render(context | _common(studies, target, inlined)))
    return target / "index.html"


def _common(studies: Sequence[Study], target: Path, inlined: Mapping[str, str]) -> dict[str, Any]:
    """What the page has of all studies together."""
    return {
        "titles": list(dict.fromkeys(study.title for study in studies)),
        # The SVGs were drawn here, their texts are escaped.
        "inlined": {name: Markup(svg) for name, svg in inlined.items()},
        "table": trial_table(studies, target),
        "facts": paper.FACTS,
        "provenance": [line for study in studies for line in provenance_of(study)],
    }


def write_paper_figure(
    folders: Sequence[Path], number: int, out: Path | None = None, look: Look | None = None
) -> list[Path]:
    """Draws a figure of the paper from the records, and nothing else.

    Args:
        folders: as for `write_report`.
        number: of the paper's figure.
        out: as for `write_report`.
        look: as for `write_report`.

    Returns:
        The paths of its files.

    Raises:
        RequestError: the records do not hold what it shows, which the line names with the command that would.
    """
    views = views_of_figure(number)
    studies, target = read_studies(folders), report_folder(folders, out)
    refuse_unfit_target(target)
    wanted = {view.file for view in views}
    written: list[Drawing] = []
    with _told_in_a_line(target):

        def save(prefix: str, drawing: Drawing) -> None:
            if drawing.name in wanted:
                drawing.name = f"{prefix}{drawing.name}"
                save_figure(target, drawing)
                written.append(drawing)

        for i, study in enumerate(studies):
            prefix = f"{i + 1}-" if len(studies) > 1 else ""
            draw(study, partial(save, prefix), [view.figure for view in views], look)
        refuse_undrawn(number, studies, [drawing.name for drawing in written])
        return add_files(target, written)


@contextmanager
def _told_in_a_line(target: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise RequestError(f"{error.filename or target}: cannot be written: {error.strerror}") from None


def _read(folders: Sequence[Path], file: Path | None) -> list[Study]:
    """The studies, with the claims of a file; refuses one about a regime that no study has."""
    claims = load_claims(file) if file else {}
    studies = read_studies(folders, claims)
    known = {name for s in studies for name in (*(r.name for r in s.regimes), *paper_regimes(s.regimes))}
    for key, claim in claims.items():
        for regime in claim.regimes:
            if regime not in known:
                raise RequestError(
                    f"{file}: claims.{key}.regimes: no trial has the regime '{regime}'{known_keys(regime, sorted(known))}"
                )
    return studies


def _json(
    target: Path, study: Study, judgements: Sequence[Judgement], agreed: Sequence[Entry]
) -> dict[str, Any]:
    """A study in claims.json."""
    return {
        "dataset": study.dataset,
        "model": study.model,
        "profile": study.profile,
        "epochs": study.length.count if study.length.unit == "epochs" else None,
        "updates": study.length.count if study.length.unit == "updates" else None,
        "folders": [os.path.relpath(path, target) for path in study.folders],
        "paper_epsilon": study.paper_epsilon,
        "recorded": len(study.trials),
        "planned": study.planned,
        "missing": [*study.missing],
        "failed": [failure.trial for failure in study.failures],
        "claims": [judgement.as_json() for judgement in judgements],
        "agreement": [
            {
                "measure": entry.measure,
                "knob": entry.knob,
                **{key: float(f"{getattr(entry.found, key):.6g}") for key in ("value", "low", "high", "p")},
                "pairs": entry.found.pairs,
                "p_holm": float(f"{entry.p_holm:.6g}"),
            }
            for entry in agreed
        ],
    }


def _render(context: dict[str, Any]) -> Iterator[str]:
    """The page in pieces: it is large."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfsgd.reporting.page", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.filters["kept"] = lambda text: KEPT.sub(lambda found: found[0].replace(" ", "\u00a0"), text)
    return environment.get_template("page.html.j2").generate(context)


def _study_page(
    number: int,
    study: Study,
    judgements: Sequence[Judgement],
    findings: Sequence[Finding],
    agreed: Sequence[Entry],
    drawn: Drawn,
) -> dict[str, Any]:
    bad = study.trials[study.trials["status"] != "completed"]
    with_verdicts = has_verdicts(study)
    rows = claim_rows(judgements, with_verdicts)
    drawings, undrawn = drawn
    return {
        "id": f"study-{number}",
        "title": study.title,
        "profile": study.profile,
        "has_verdicts": with_verdicts,
        "summary": summary_of(study),
        "sentences": sentences_of(findings),
        "findings": [f for f in findings if any(e.words for e in f.effects)],
        "unmeasured": [f.title for f in findings if not any(e.words for e in f.effects)],
        "advice": advice_of(study, judgements),
        "notes": notes_of(study),
        "absent": [(f.trial, f.error) for f in study.failures] + [(name, "") for name in study.missing],
        "bad": [(trial_name(row), row["status"]) for row in bad.to_dict("records")],
        "overview": [d for d in drawings if d.section == "overview"],
        "sections": {key: _of(drawings, key) for key in SECTIONS},
        "questions": SECTIONS,
        "worst": [*worst_knobs(agreed)] if with_verdicts else [],
        "claims": rows,
        "comparison": comparison_of(study),
        "undrawn": undrawn,
    }


def _of(drawings: Sequence[Drawing], section: str) -> list[Drawing]:
    return [drawing for drawing in drawings if drawing.section == section]
