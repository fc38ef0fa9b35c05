"""The table of all trials, as rows of cells that sort by number."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from tfsgd.plan.settings import settings as setting_kinds
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.cell import SETTINGS
from tfsgd.reporting.table.checks import said_of_common
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study

# Settings that are shown where trials of one study differ in them.
SELDOM = (*(s.name for s in setting_kinds() if not s.is_required), "epochs")

Row = Mapping[Any, Any]


@dataclass(frozen=True)
class TableCell:
    text: str
    number: float | str | None = None  # for sorting, to six digits; "": there is no value
    link: str = ""
    title: str = ""  # on hover


def trial_table(studies: Sequence[Study], target: Path) -> dict[str, list[Any]]:
    """The `headings`, `rows`, one for every trial, and `notes` on checks that most of them fail; links lead from the folder
    `target` to the trials'.
    """
    attacks = sorted({attack for study in studies for attack in study.attacks})
    varied = {s for study in studies for s in SELDOM if s in study.trials and study.trials[s].nunique() > 1}
    settings = [s for s in (*SETTINGS, "epochs") if s not in SELDOM or s in varied]
    columns: list[tuple[str, Callable[[Row], TableCell]]] = [
        (
            "trial",
            lambda row: TableCell(trial_name(row), link=quote(os.path.relpath(row["folder"], target)) + "/"),
        ),
        *[("study", lambda row: TableCell(row["study"]))] * (len(studies) > 1),
        ("regimes", lambda row: TableCell(", ".join(row["regimes"]))),
        *((key.replace("_", " "), _number(key)) for key in (*settings, "seed")),
        ("status", lambda row: TableCell(row["status"] + ", under-trained" * row["undertrained"])),
        ("train loss", _number("train_loss")),
        ("train", _number("train_accuracy", percent=True)),
        ("test", _number("test_accuracy", percent=True)),
        *((f"{attack_name(a)} {e:g}", _number(attack_column(a, e), percent=True)) for a, e in attacks),
        ("λ1", lambda row: _number("eigenvalue", mark="~" * (not row["converged"]))(row)),
        ("failed checks", _checks),
    ]
    completed = {s: s.trials.loc[s.trials["status"] == "completed", "failed_checks"] for s in studies}
    rows = [row for s in studies for row in s.trials.assign(study=s.title).to_dict("records")]
    return {
        "headings": [heading for heading, _ in columns],
        "rows": [[cell(row) for _, cell in columns] for row in rows],
        "notes": [n for s, of in completed.items() for n in said_of_common([*of], [a for a, _ in s.attacks])],
    }


def trial_name(row: Row) -> str:
    """The trial's folder below `trials/`."""
    return "/".join(Path(str(row["folder"])).parts[-2:])


def _number(column: str, percent: bool = False, mark: str = "") -> Callable[[Row], TableCell]:
    """The cell of a number, behind a mark, or of a setting that is a word."""

    def cell(row: Row) -> TableCell:
        value = row.get(column)
        if isinstance(value, str):
            return TableCell(value, value)
        if value is None or pd.isna(value):
            return TableCell("none", "")
        text = f"{100 * value:.1f}" if percent else f"{mark}{value:.4g}"
        return TableCell(text, float(f"{value:.6g}"))

    return cell


def _checks(row: Row) -> TableCell:
    """How many a trial fails, and on hover which."""
    failed = row["failed_checks"]
    return TableCell(f"{len(failed)}", len(failed), title="; ".join(f"{c.sign}: {c.said}" for c in failed))
