"""The table of all trials, as rows of cells that sort by number."""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pandas as pd

from tfsgd.plan.settings import settings as setting_kinds
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.cell import SETTINGS
from tfsgd.reporting.table.checks import Check, said_of_common
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study

# Settings that are shown where trials of one study differ in them.
SELDOM = (*(s.name for s in setting_kinds() if not s.is_required), "epochs")


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
    settings = [s for s in (*SETTINGS, "epochs") if s not in SELDOM or _is_varied(studies, s)]
    several = len(studies) > 1
    headings = ["trial", *(["study"] if several else []), "regimes"]
    headings += [*(setting.replace("_", " ") for setting in settings), "seed", "status"]
    headings += ["train loss", "train", "test", *(f"{attack_name(name)} {e:g}" for name, e in attacks), "λ1"]
    headings += ["failed checks"]
    accuracies = ["train_accuracy", "test_accuracy", *(attack_column(*attack) for attack in attacks)]
    rows = [
        [
            TableCell(trial_name(row), link=quote(os.path.relpath(str(row["folder"]), target)) + "/"),
            *([TableCell(study.title)] if several else []),
            TableCell(", ".join(row["regimes"])),
            *(_plain(row[key]) for key in (*settings, "seed")),
            TableCell(row["status"] + (", under-trained" if row["undertrained"] else "")),
            _plain(row["train_loss"]),
            *(_percent(row.get(key)) for key in accuracies),
            _plain(row["eigenvalue"], mark="" if row["converged"] else "~"),
            _checks(row["failed_checks"]),
        ]
        for study in studies
        for row in study.trials.to_dict("records")
    ]
    return {
        "headings": headings,
        "rows": rows,
        "notes": [note for s in studies for note in _common_checks(s)],
    }


def _common_checks(study: Study) -> list[str]:
    """What no figure marks, since most networks of the study fail it."""
    completed = study.trials.loc[study.trials["status"] == "completed", "failed_checks"]
    return said_of_common([*completed], (label for label, _ in study.attacks))


def _is_varied(studies: Sequence[Study], column: str) -> bool:
    """Trials of one study differ in it, so that regime and batch size do not tell."""
    return any(study.trials[column].nunique() > 1 for study in studies)


def trial_name(row: dict[Any, Any]) -> str:
    """The trial's folder below `trials/`."""
    path = Path(str(row["folder"]))
    return f"{path.parent.name}/{path.name}"


def _plain(value: Any, mark: str = "") -> TableCell:
    if isinstance(value, str):
        return TableCell(value, value)
    return TableCell("none", "") if pd.isna(value) else TableCell(f"{mark}{value:.4g}", float(f"{value:.6g}"))


def _checks(failed: Sequence[Check]) -> TableCell:
    """How many a trial fails, and on hover which."""
    return TableCell(f"{len(failed)}", len(failed), title="; ".join(f"{c.sign}: {c.said}" for c in failed))


def _percent(value: Any) -> TableCell:
    if value is None or pd.isna(value):
        return TableCell("none", "")
    return TableCell(f"{100 * value:.1f}", float(f"{value:.6g}"))
