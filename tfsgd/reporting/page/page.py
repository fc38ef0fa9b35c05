"""The page, the files beside it, and everything on it in words."""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tfsgd.errors import RequestError
from tfsgd.records.atomic import to_json, write_atomically
from tfsgd.reporting import paper
from tfsgd.reporting.claims.claims import BEYOND, groups
from tfsgd.reporting.claims.verdicts import VERDICTS, Judgement, judgements_of
from tfsgd.reporting.figures.compare import compare
from tfsgd.reporting.figures.registry import draw
from tfsgd.reporting.figures.style import Drawing, Drawn, style_variables
from tfsgd.reporting.page.output_files import (
    FigureWriter,
    begin_report,
    refuse_unfit_target,
    remove_stale,
    report_folder,
    save_tables,
)
from tfsgd.reporting.page.report_text import claim_rows, notes_of, provenance_of, summary_of
from tfsgd.reporting.page.summary import advice_of, lines_of
from tfsgd.reporting.page.trial_table import trial_name, trial_table
from tfsgd.reporting.table.studies import Study, read_studies


def write_report(
    folders: Sequence[Path], out: Path | None = None, observe: Callable[[str], None] = lambda doing: None
) -> Path:
    """Writes the report of one or more log folders.

    Args:
        folders: `LOGS/NAME` each, as a sweep writes it; the sweep may still be running.
        out: where the report is written. By default it is `report/` in a folder, or, of several, `report-with-...`
            in the first with the names of the others, so that each keeps the report of its own.
        observe: is told what is being done, in a few words.

    Returns:
        The path of the page, `index.html`.

    Raises:
        RequestError: a folder or a record is wrong, or the report cannot be written.
    """
    target = report_folder(folders, out)
    observe("reading the records")
    studies = read_studies(folders)
    refuse_unfit_target(target)
    observe("judging the claims")
    judged = [judgements_of(s) for s in studies]
    try:
        stale = begin_report(target)
        several = len(studies) > 1
        with FigureWriter(target) as figures:
            drawn = [
                _drawn(figures, f"{i + 1}-" if several else "", partial(draw, s), observe)
                for i, s in enumerate(studies)
            ]
            compared = _drawn(figures, "", partial(compare, studies), observe) if several else ([], [])
        everything = [drawing for drawings, _ in (*drawn, compared) for drawing in drawings]
        tables = save_tables(target, studies, judged, [drawings for drawings, _ in drawn])
        remove_stale(target, stale, {drawing.name for drawing in everything}, tables)
        write_atomically(target / "claims.json", to_json(_claims_json(studies, judged, target)))
        context = {
            "titles": list(dict.fromkeys(study.title for study in studies)),
            "studies": [*map(_study_page, itertools.count(1), studies, judged, drawn)],
            "compared": _figures(compared),
            # The SVGs were drawn here, their texts are escaped.
            "inlined": {name: Markup(svg) for name, svg in figures.inlined.items()},
            "colours": style_variables(everything),
            "table": trial_table(studies, target),
            "facts": paper.FACTS,
            "provenance": [line for study in studies for line in provenance_of(study)],
        }
        write_atomically(target / "index.html", _render(context))
    except OSError as error:
        raise RequestError(f"{error.filename or target}: cannot be written: {error.strerror}") from None
    return target / "index.html"


def _drawn(
    figures: FigureWriter,
    prefix: str,
    drawer: Callable[[Callable[[Drawing], None]], Drawn],
    observe: Callable[[str], None],
) -> Drawn:
    """Draws and saves figures one by one; their names begin with the prefix."""
    count = itertools.count(1)

    def save(drawing: Drawing) -> None:
        drawing.name = f"{prefix}{drawing.name}"
        observe(f"drawing {drawing.name}, figure {next(count)}")
        figures.save(drawing)

    return drawer(save)


def _claims_json(
    studies: Sequence[Study], judged: Sequence[Sequence[Judgement]], target: Path
) -> list[dict[str, Any]]:
    return [
        {
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
        }
        for study, judgements in zip(studies, judged, strict=True)
    ]


def _render(context: dict[str, Any]) -> Iterator[str]:
    """The page in pieces: it is large."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfsgd.reporting.page", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
    )
    return environment.get_template("page.html.j2").generate(context)


def _figures(drawn: Drawn) -> dict[str, Any]:
    drawings, undrawn = drawn
    return {"figures": drawings, "undrawn": undrawn}


def _study_page(number: int, study: Study, judgements: Sequence[Judgement], drawn: Drawn) -> dict[str, Any]:
    tally: Counter[str] = Counter(j.verdict for j in judgements if j.primary and j.claim.is_of_the_paper)
    bad = study.trials[study.trials["status"] != "completed"]
    return {
        "id": f"study-{number}",
        "title": study.title,
        "profile": study.profile,
        "summary": summary_of(study),
        "lines": lines_of(judgements),
        "advice": advice_of(study, judgements),
        "notes": notes_of(study),
        "tally": [(verdict, tally[verdict]) for verdict in VERDICTS if tally[verdict]],
        "paper_epsilon": study.paper_epsilon,
        "absent": [(f.trial, f.error) for f in study.failures] + [(name, "") for name in study.missing],
        "bad": [(trial_name(row), row["status"]) for row in bad.to_dict("records")],
        "groups": [(group, rows) for group in groups() if (rows := claim_rows(judgements, group))],
        "beyond": claim_rows(judgements, BEYOND),
        **_figures(drawn),
    }
