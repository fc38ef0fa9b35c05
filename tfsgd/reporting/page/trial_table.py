"""The table of all trials, as rows of cells that sort by number, and that of the regimes beside each other."""

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pandas as pd

from tfsgd.plan.settings import settings as setting_kinds
from tfsgd.reporting.page.latex import escaped, table
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.checks import said_of_common
from tfsgd.reporting.table.columns import (
    EIGENVALUE,
    NATURAL,
    SETTINGS,
    SMALLEST,
    Metric,
    attack_column,
    attacked,
    is_measured,
)
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


# Regimes beside each other


def comparison_of(study: Study) -> list[dict[str, str]]:
    """A row for each batch size, regime and momentum with completed trials: means and standard deviations over the seeds."""
    rows = study.by_regime
    rows = rows[rows["status"] == "completed"]
    # What the ensemble leaves stands between the smallest epsilon and λ1.
    robust = [attacked(*attack) for attack in study.attacks if attack[0].partition("-")[0] == "robust"]
    metrics = [m for m in (NATURAL, SMALLEST, *robust, EIGENVALUE) if is_measured(rows, m.column)]
    several = rows["momentum"].nunique() > 1
    order = {regime.name: i for i, regime in enumerate(study.regimes)}
    found = []
    for (size, regime, momentum), cell in sorted(
        rows.groupby(["batch_size", "regime", "momentum"]), key=lambda item: (item[0][0], order[item[0][1]], item[0][2])
    ):  # fmt: skip
        name = f"{regime}, momentum {momentum:g}" if several else str(regime)
        numbers = {metric.what: _spread(cell[metric.column], metric) for metric in metrics}
        found.append({"batch size": f"{size:g}", "regime": name, **numbers, "seeds": str(len(cell))})
    return found


def comparison_table(study: Study) -> str:
    """The same for LaTeX; empty where there is nothing."""
    rows = comparison_of(study)
    if not rows:
        return ""
    lines = [[escaped(text) for text in row.values()] for row in rows]
    return table([*rows[0]], lines, "rl" + "l" * (len(rows[0]) - 2))


def _spread(values: pd.Series, metric: Metric) -> str:
    """`90.1 ± 0.2 %` or `0.031 × 1.05`: mean and standard deviation, of the logarithm where that is the metric's scale."""
    scaled = metric.scaled(values).dropna().to_numpy()
    if not len(scaled):
        return ""
    deviation = float(np.std(scaled, ddof=1)) if len(scaled) > 1 else None
    if metric.is_log:
        return f"{2 ** scaled.mean():.3g}" + ("" if deviation is None else f" × {2**deviation:.2f}")
    return f"{100 * scaled.mean():.1f}" + (" %" if deviation is None else f" ± {100 * deviation:.1f} %")
