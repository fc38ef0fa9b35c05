"""The page, the files beside it, and everything on it in words."""

import os
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tfsgd.data.dataset import SEEN
from tfsgd.errors import RequestError
from tfsgd.plan.reading import load_claims
from tfsgd.records.atomic import to_json, write_atomically
from tfsgd.reporting import paper
from tfsgd.reporting.claims.agreement import entries_of, worst_knobs
from tfsgd.reporting.claims.evidence import p_in_words
from tfsgd.reporting.claims.verdicts import Judgement, judgements_of
from tfsgd.reporting.figures.compare import compare
from tfsgd.reporting.figures.registry import SECTIONS, draw, refuse_unknown_figures
from tfsgd.reporting.figures.style import DARK, Drawing, Drawn, Look
from tfsgd.reporting.page import output_files as files
from tfsgd.reporting.page.findings import Finding, findings_of, has_verdicts, sentences_of
from tfsgd.reporting.page.paper_figures import refuse_undrawn, views_of_figure
from tfsgd.reporting.page.report_text import ROLES, advice_of, provenance_of, seeds_apart
from tfsgd.reporting.page.trial_table import comparison_of, trial_name, trial_table
from tfsgd.reporting.table.studies import Study, read_studies
from tfsgd.text import counted, known_keys

KEPT = re.compile(r"\S+ ×|× [\d.e+-]+|\[[^\]]*\]|\S+ points")  # on one line


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
    target = files.report_folder(folders, out)
    observe("reading the records")
    studies = _read(folders, claims)
    files.refuse_unfit_target(target)
    observe("judging the claims")
    judged = [judgements_of(s) for s in studies]
    findings = [*map(findings_of, studies, judged)]
    inlined: dict[str, Markup] = {}

    def save(drawing: Drawing, prefix: str = "") -> None:
        drawing.name = f"{prefix}{drawing.name}"
        observe(f"drawing {drawing.name}, figure {len(inlined) + 1}")
        inlined[drawing.name] = Markup(files.save_figure(target, drawing))  # its texts are escaped

    with _told_in_a_line(target):
        stale = files.begin_report(target)
        prefixes = files.prefixes(studies)
        drawn = [draw(s, partial(save, prefix=prefixes[s]), figures, look) for s in studies]
        compared: Drawn = compare(studies, save, look) if len(studies) > 1 else ([], [])
        drawings = [drawing for of, _ in (*drawn, compared) for drawing in of]
        tables = files.save_tables(target, studies, findings, [of for of, _ in drawn])
        files.remove_stale(target, stale, drawings, tables)
        write_atomically(target / "claims.json", to_json([*map(partial(_json, target), studies, judged)]))
        context = {
            "studies": [*map(_study_page, range(1, 1 + len(studies)), studies, judged, findings, drawn)],
            "compared": compared,
            "colours": {**DARK, **{c: dark for drawing in drawings for c, dark in drawing.dark.items()}},
            "inlined": inlined,
            "table": trial_table(studies, target),
            "provenance": [line for study in studies for line in provenance_of(study)],
        }
        write_atomically(target / "index.html", _render(context))
    return target / "index.html"


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
    studies, target = read_studies(folders), files.report_folder(folders, out)
    files.refuse_unfit_target(target)
    written: list[Drawing] = []

    def save(drawing: Drawing, prefix: str) -> None:
        if drawing.name in {view.file for view in views}:
            drawing.name = f"{prefix}{drawing.name}"
            files.save_figure(target, drawing)
            written.append(drawing)

    with _told_in_a_line(target):
        for study, prefix in files.prefixes(studies).items():
            draw(study, partial(save, prefix=prefix), [view.figure for view in views], look)
        if not written:
            refuse_undrawn(number, studies[0])
        return files.add_files(target, written)


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
    known = {name for s in studies for name in (*(r.name for r in s.regimes), *s.paper_regimes)}
    for key, claim in claims.items():
        for regime in claim.regimes:
            if regime not in known:
                raise RequestError(
                    f"{file}: claims.{key}.regimes: no trial has the regime '{regime}'{known_keys(regime, sorted(known))}"
                )
    return studies


def _json(target: Path, study: Study, judgements: Sequence[Judgement]) -> dict[str, Any]:
    """A study in claims.json."""
    return {
        "dataset": study.dataset,
        "model": study.model,
        "profile": study.profile,
        **{unit: study.length.count if study.length.unit == unit else None for unit in ("epochs", "updates")},
        "folders": [os.path.relpath(path, target) for path in study.folders],
        "paper_epsilon": study.paper_epsilon,
        "recorded": len(study.trials),
        "planned": study.planned,
        "missing": [*study.missing],
        "failed": [*study.failures],
        "claims": [judgement.as_json() for judgement in judgements],
        "agreement": [entry.as_json() for entry in entries_of(study)],
    }


def _render(context: dict[str, Any]) -> Iterator[str]:
    """The page in pieces: it is large."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfsgd.reporting.page", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    environment.globals |= {"facts": paper.FACTS, "paper": paper, "questions": SECTIONS, "seen": SEEN}
    environment.filters["kept"] = lambda text: KEPT.sub(lambda found: found[0].replace(" ", "\u00a0"), text)
    environment.filters |= {"p": p_in_words, "counted": counted}
    return environment.get_template("page.html.j2").generate(context)


def _study_page(
    number: int, study: Study, judgements: Sequence[Judgement], findings: Sequence[Finding], drawn: Drawn
) -> dict[str, Any]:
    bad = study.trials[study.trials["status"] != "completed"]
    by_heading = groupby(judgements, lambda j: j.asked.group or ROLES[j.asked.role])
    drawings, undrawn = drawn
    return {
        "id": f"study-{number}",
        "study": study,
        "has_verdicts": has_verdicts(study),
        "sentences": sentences_of(findings),
        "findings": [f for f in findings if f.has_numbers],
        "unmeasured": [f.title for f in findings if not f.has_numbers],
        "advice": advice_of(study, judgements),
        "seeds_apart": [*seeds_apart(study)],
        "absent": [*study.failures.items(), *((name, "") for name in study.missing)],
        "bad": [(trial_name(row), row["status"]) for row in bad.to_dict("records")],
        "sections": {key: [d for d in drawings if d.section == key] for key in SECTIONS},
        "worst": [*worst_knobs(entries_of(study))] if has_verdicts(study) else [],
        "claims": {heading: [*of] for heading, of in by_heading},
        "comparison": comparison_of(study),
        "undrawn": undrawn,
    }
