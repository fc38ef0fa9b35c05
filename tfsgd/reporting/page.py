"""The page, the files beside it, and everything on it in words."""

import itertools
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from tfsgd.errors import RequestError
from tfsgd.records.files import to_json, write_atomically
from tfsgd.reporting import paper
from tfsgd.reporting.beyond_claims import BEYOND
from tfsgd.reporting.claims import GROUPS
from tfsgd.reporting.compare import compare
from tfsgd.reporting.drawing import Drawing, style_variables
from tfsgd.reporting.figures import draw
from tfsgd.reporting.files import Figures, earlier_files, remove_stale, report_folder, save_tables
from tfsgd.reporting.studies import Study, read_studies
from tfsgd.reporting.summary import summary_for
from tfsgd.reporting.trial_table import trial_name, trial_table
from tfsgd.reporting.verdicts import Judgement, judge
from tfsgd.reporting.wording import claim_rows, notes_of, provenance_of, summary_of

VERDICTS = ("supported", "contradicted", "undecided", "descriptive", "not testable")

FACTS = {  # for the template's prose
    "alpha": paper.ALPHA,
    "shared_batch_size": paper.SHARED_BATCH_SIZE,
    "benchmark_momentum": paper.BASE_MOMENTUM["Benchmark"],
    "few": f"{paper.MIN_SEEDS} seeds or {paper.MIN_BATCH_SIZES} batch sizes",
    "least_sizes": f"{paper.MIN_BATCH_SIZES} batch sizes",
    "floor": paper.FLOOR,
    "constant": paper.points(paper.ACCURACY_MARGIN),
    "constant_factor": f"{paper.EIGENVALUE_FACTOR:g}",
    "undertrained": paper.points(paper.UNDERTRAINED_MARGIN),
}


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
    observe("reading the records")
    studies = read_studies(folders)
    observe("judging the claims")
    target = report_folder(folders, out)
    judged = [judge(s.trials, s.dataset, s.model, s.attacks, s.paper_epsilon, s.chance) for s in studies]
    try:
        stale = earlier_files(target)
        several = len(studies) > 1
        with Figures(target) as figures:
            drawn = [
                _drawn(figures, f"{i + 1}-" if several else "", partial(draw, s), observe)
                for i, s in enumerate(studies)
            ]
            compared = _drawn(figures, "", partial(compare, studies), observe) if several else _Drawn([], [])
        everything = [drawing for of_study in (*drawn, compared) for drawing in of_study.drawings]
        pages = [
            _study_page(i, study, judgements) | of_study.shown(figures.inlined)
            for i, (study, judgements, of_study) in enumerate(zip(studies, judged, drawn, strict=True))
        ]
        tables = save_tables(target, studies, judged, [of_study.drawings for of_study in drawn])
        remove_stale(target, stale, {drawing.name for drawing in everything}, tables)
        write_atomically(target / "claims.json", to_json(_claims_json(studies, judged, target)))
        content = _render(
            studies, pages, compared.shown(figures.inlined), target, style_variables(everything)
        )
        write_atomically(target / "index.html", content)
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


@dataclass(frozen=True)
class _Drawn:
    """A study's figures, saved and without their artists, and in words those that are lacking."""

    drawings: list[Drawing]
    undrawn: list[str]

    def shown(self, inlined: Mapping[str, str]) -> dict[str, Any]:
        """As the page needs them; the SVG of each by its name."""
        figures = [_shown(drawing, inlined[drawing.name]) for drawing in self.drawings]
        return {"figures": figures, "extra": sum(f.extra for f in figures), "undrawn": self.undrawn}


def _drawn(
    figures: Figures,
    prefix: str,
    drawer: Callable[[Callable[[Drawing], None]], tuple[list[Drawing], list[str]]],
    observe: Callable[[str], None],
) -> _Drawn:
    """Draws and saves figures one by one; their names begin with the prefix."""
    count = itertools.count(1)

    def save(drawing: Drawing) -> None:
        drawing.name = f"{prefix}{drawing.name}"
        observe(f"drawing {drawing.name}, figure {next(count)}")
        figures.save(drawing)

    return _Drawn(*drawer(save))


def _shown(drawing: Drawing, inlined: str) -> _Shown:
    return _Shown(
        id=f"figure-{drawing.name}",
        name=drawing.name,
        title=drawing.title,
        caption=drawing.caption,
        extra=drawing.extra,
        first=drawing.first,
        svg=Markup(inlined),  # drawn here, its texts are escaped
        values=drawing.values,
    )


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


def _render(
    studies: Sequence[Study],
    pages: list[dict[str, Any]],
    compared: dict[str, Any],
    target: Path,
    style: tuple[dict[str, str], dict[str, str]],
) -> Iterator[str]:
    """The page in pieces: it is large."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfsgd.reporting", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=False,
    )
    light, dark = style
    columns, trials = trial_table(studies, target)
    return environment.get_template("page.html.j2").generate(
        titles=list(dict.fromkeys(study.title for study in studies)),
        studies=pages,
        compared=compared,
        columns=columns,
        trials=trials,
        light=light,
        dark=dark,
        facts=FACTS,
        provenance=[line for study in studies for line in provenance_of(study)],
    )


def _study_page(index: int, study: Study, judgements: Sequence[Judgement]) -> dict[str, Any]:
    tally: Counter[str] = Counter(j.verdict for j in judgements if j.primary and j.claim.group != BEYOND)
    bad = study.trials[study.trials["status"] != "completed"]
    return {
        "id": f"study-{index + 1}",
        "title": study.title,
        "profile": study.profile,
        "summary": summary_of(study),
        "minute": summary_for(study, judgements),
        "notes": notes_of(study),
        "tally": [(verdict, tally[verdict]) for verdict in VERDICTS if tally[verdict]],
        "paper_epsilon": study.paper_epsilon,
        "absent": [(f.trial, f.error) for f in study.failures] + [(name, "") for name in study.missing],
        "bad": [(trial_name(row), row["status"]) for row in bad.to_dict("records")],
        "claims_note": (
            "Every claim is judged at the paper's ε and at the others that were measured. Holm's correction "
            "runs over the claims at the paper's ε together with those without an attack, and over the "
            "claims at each other ε."
        ),
        "groups": [(group, rows) for group in GROUPS if (rows := claim_rows(judgements, group))],
        "beyond": claim_rows(judgements, BEYOND),
    }
