"""The columns of records.csv: those that every study has are entries of columns.yaml, others are of attacks and measures.
Metrics are columns that are judged and drawn.

The tidy form is a trial, a column and a value: a `Column` tells what was measured, under which attack and epsilon,
and whether at the end of the training or at a snapshot.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from tfsgd.measures.corruption_accuracy import Corruptions
from tfsgd.measures.norms import NAMES
from tfsgd.measures.spec import Measurement
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import GRADIENT_NORM, HESSIAN, requests_of
from tfsgd.plan.settings import settings
from tfsgd.plan.yaml_io import read_yaml
from tfsgd.reporting import paper
from tfsgd.reporting.paper import attack_name, percent
from tfsgd.reporting.table.rows import TrialRow

Attack = tuple[str, float]  # label, epsilon
SETTINGS = [s.name for s in settings() if s.parts_cells]  # columns; with the length of the training a cell
ABSENT = object()  # a value that a trial has no place for

CURVATURE_RANK, SETTING_RANK, SMALLEST_RANK, UNRANKED = 2, 11, 99, math.inf


@dataclass(frozen=True)
class Column:
    """A column of the table of trials.

    Attributes:
        name: its heading.
        source: attributes and keys that lead to its value from a row; empty: it is of no single row, or of a measurement.
        unit, meaning, otherwise, title, rank, is_number, is_log, at_snapshots: as in columns.yaml.
        attack: of whose accuracy it is.
        at: the train loss of its snapshot; `None`: the end of the training.
    """

    name: str
    unit: str = ""
    meaning: str = ""
    source: tuple[Any, ...] = ()
    otherwise: Any = None
    title: str = ""
    rank: float = UNRANKED
    is_number: bool = False
    is_log: bool = False
    at_snapshots: bool = False
    attack: Attack | None = None
    at: float | None = None

    def at_loss(self, train_loss: float) -> Column:
        """The column of the same number at a snapshot."""
        meaning = f"{self.meaning}; at the end of the first epoch with a train loss of at most {train_loss:g}"
        return replace(self, name=at_loss(self.name, train_loss), meaning=meaning, at=train_loss, title="")

    def value(self, row: TrialRow) -> Any:
        """A trial's value; `ABSENT`: it has no place for one."""
        found: Any = row
        for key in self.source:
            if found is None or (isinstance(found, Mapping) and key not in found):
                return self.otherwise
            found = found[key] if isinstance(found, Mapping) else getattr(found, key)
        return found


def _column(name: str, entry: dict[str, Any]) -> Column:
    """Of an entry of columns.yaml."""
    path = entry.pop("from", "")
    words = path.split()
    measured = ("found", (*words[:2], None), "values", *words[2:])
    source = measured if len(words) == 3 else tuple(path.split(".")) if path else ()
    otherwise = ABSENT if entry.pop("is_optional", False) else entry.pop("otherwise", None)
    meaning = entry.pop("meaning").format(**paper.FACTS)
    return Column(name, meaning=meaning, source=source, otherwise=otherwise, **entry)


_TABLE = read_yaml(Path(__file__).with_suffix(".yaml"))
_TRIAL, _NETWORK, _MEASURED = ([_column(name, entry) for name, entry in of.items()] for of in _TABLE.values())
_SETTINGS = (Column(s.name, s.unit, s.meaning, ("settings", s.name)) for s in settings())
COLUMNS = (*_TRIAL, *_SETTINGS, *_NETWORK, *_MEASURED)
KNOWN: Mapping[str, Column] = {column.name: column for column in COLUMNS}

# What else attacks found has columns of its own.
OF_ATTACKS = ("accuracy", "clean_accuracy", "outcomes_sha256")

# Labels of curvature measures that are other columns', such as pgd_0.1 or pgd_1e-05_median.
TAKEN = re.compile(rf".*_radius|corruption_.*|.*_(\d+\.\d+|[\d.]+e-\d+)(_.*)?|{'|'.join(KNOWN)}")


# Names


def attack_column(attack: str, epsilon: float) -> str:
    """The column of the accuracy under an attack, such as `fgsm_0.3`."""
    return f"{attack}_{float(epsilon)}"


def smallest_column(attack: Attack, quartile: str = "median") -> str:
    """The column of a quartile of the smallest epsilons that an attack searches."""
    return f"{attack_column(*attack)}_{quartile}"


def curvature_column(label: str) -> str:
    """The column of a measure of curvature: its label, with `curvature:` before one that is another column's."""
    return f"curvature:{label}" if TAKEN.fullmatch(label) else label  # no label holds a colon


def corruption_column(family: str) -> Column:
    """The column of the accuracy under a family of corruptions, such as `corruption_rotate`."""
    said = f"share of test images that keep their true label under {family.replace('_', ' ')}"
    return Column(f"corruption_{family}", "0 to 1", f"{said}, the mean over severities", is_number=True)


def at_loss(column: str, train_loss: float) -> str:
    """The column of the same number at a snapshot, such as `eigenvalue@0.5`."""
    return f"{column}@{train_loss:g}"


def is_measured(trials: pd.DataFrame, column: str) -> bool:
    """Whether any of the trials has a value there."""
    return column in trials and bool(trials[column].notna().any())


def asked_columns(experiment: Experiment) -> dict[str, Column]:
    """The columns of what a config asks for besides those that every study has, before anything is measured."""
    found = []
    for request in requests_of(experiment, experiment.seeds[0]):
        if request.epsilon is not None:
            name = attack_column(request.label, request.epsilon)
            found.append(Column(name, "0 to 1", is_number=True, attack=(request.label, request.epsilon)))
            found.append(_unknown(f"{name}_median", is_number=True, is_log=True))
        elif request.spec.kind == "curvature" and request.label not in (HESSIAN, GRADIENT_NORM):
            found.append(_unknown(curvature_column(request.label), is_number=True))
        elif isinstance(request.spec, Corruptions):
            found += map(corruption_column, request.spec.families)
    losses = experiment.snapshots.train_loss if experiment.snapshots else ()
    kept = [column for column in (*COLUMNS, *found) if column.at_snapshots or column.attack]
    return {c.name: c for c in (*found, *(column.at_loss(loss) for loss in losses for column in kept))}


# Values


Value = tuple[Column, Any]


def values_of(row: TrialRow) -> Iterator[Value]:
    """All values of a trial, in the order of the columns."""
    yield from ((column, column.value(row)) for column in COLUMNS if column.source)
    yield from _attack_values(row)
    yield from _other_values(row)
    for loss, there in row.snapshots.items():
        for column, value in _snapshot_values(there):
            yield column.at_loss(loss), value
    yield KNOWN["failed_checks"], row.failed_checks


def _snapshot_values(there: TrialRow) -> Iterator[Value]:
    """Of a snapshot what figures and claims need; a λ1 that is hardly known is left out."""
    top = there.top_eigenvalue
    is_known = top and (top.values["converged"] or (top.values["error"] or 1) <= paper.RESIDUAL_LIMIT)
    for column in (c for c in COLUMNS if c.at_snapshots):
        yield column, column.value(there) if is_known or column.name != "eigenvalue" else None
    yield from _attack_values(there)


def _attack_values(row: TrialRow) -> Iterator[Value]:
    """Accuracies, and what an attack found besides, such as the median of the smallest epsilons."""
    for key, m in row.attacks.items():
        name, norm = attack_column(*key), NAMES[m.settings.get("norm", "Linf")]
        meaning = (
            f"share of attacked images that keep their true label under {attack_name(key[0])} with epsilon = "
            f"{key[1]:g} ({norm}, images in [0, 1])"
        )
        yield Column(name, "0 to 1", meaning, is_number=True, attack=key), m.accuracy
        for of, value in m.values.items():
            if of not in OF_ATTACKS and not isinstance(value, list | tuple):
                title = {"title": f"median ε ({key[0]})", "rank": SMALLEST_RANK} if of == "median" else {}
                yield _unknown(f"{name}_{of}", **title), value


def _other_values(row: TrialRow) -> Iterator[Value]:
    """Measures of gradient and curvature besides λ1, under their labels."""
    for m in row.shown.measurements:
        if m.label == "weights":
            yield KNOWN["weight_norm"], m.values["value"]
            yield KNOWN["log_spectral_norms"], m.values["log_spectral_norms"]
        elif m.kind == "corruption":
            yield KNOWN["corruption_accuracy"], m.values["accuracy"]
            for family, found in zip(m.values["families"], m.values["accuracies"], strict=True):
                yield corruption_column(family), sum(found) / len(found)
        elif m.kind in ("gradient", "weights") or m.label == GRADIENT_NORM:
            yield from _measure_values(m, KNOWN.get(m.label) or _unknown(m.label))
        elif m.kind == "curvature" and m.label != HESSIAN:
            title = {"title": m.label.replace("_", " "), "rank": CURVATURE_RANK}
            yield from _measure_values(m, _unknown(curvature_column(m.label), **title))


def _measure_values(m: Measurement, column: Column) -> Iterator[Value]:
    yield column, m.values.get("value", m.values.get("fraction"))
    if "radius" in m.values:
        name = f"{column.name}_radius"
        yield KNOWN.get(name) or _unknown(name), m.values["radius"]
    for name in ("saturated", "misdirected"):
        if m.name == "zero_gradients" and name in m.values:
            yield KNOWN[name], m.values[name]


def _unknown(name: str, **more: Any) -> Column:
    return Column(name, "", f"value of the measure {name}, as the record names it", **more)


# Tables


def table_of(rows: Sequence[TrialRow]) -> tuple[pd.DataFrame, dict[str, Column]]:
    """One row a trial, and its columns by name.

    Under-trained are trials of cells whose mean train accuracy is 2 points or more below the best cell's. A cell is one
    setting of SGD over its seeds; only completed trials count for the mean.
    """
    values = [[(c, v) for c, v in values_of(row) if v is not ABSENT] for row in rows]
    columns = {column.name: column for of_row in values for column, _ in of_row}
    table = pd.DataFrame([{c.name: v for c, v in of_row} for of_row in values])
    numbers = [c.name for c in columns.values() if c.is_number]
    table = table.astype(dict.fromkeys(numbers, float)).copy()
    completed = table["train_accuracy"].where(table["status"] == "completed")
    cell = completed.groupby([table[setting].fillna(0) for setting in SETTINGS]).transform("mean")
    table["undertrained"] = (cell <= cell.max() - paper.UNDERTRAINED_MARGIN) & completed.notna()
    return table, columns | {"undertrained": KNOWN["undertrained"]}


def attacks_of(rows: Sequence[TrialRow]) -> list[Attack]:
    """Every (attack, epsilon) that was measured in some trial, in order."""
    return sorted({key for row in rows for key in row.attacks})


# Metrics: what is judged and drawn of a trial, and on which scale


@dataclass(frozen=True)
class Metric:
    """A column of the trials and the scale on which it is judged.

    Attributes:
        column: of `records.csv`.
        name: for people.
        attack: its label; `None`: no attack is involved.
        epsilon: of the attack.
        scale: `points` of an accuracy, a `factor` of what is compared on log2, or the column's own.
        allowed: points or factor that is still "almost constant".
        least: that a share can be.
    """

    column: str
    name: str
    attack: str | None = None
    epsilon: float | None = None
    scale: Literal["points", "factor", ""] = "points"
    allowed: float = 100 * paper.ACCURACY_MARGIN
    least: float = 0.0

    @property
    def what(self) -> str:
        """It is, in words."""
        return self.name if self.epsilon is None else f"{self.name} at ε = {self.epsilon:g}"

    @property
    def is_log(self) -> bool:
        return self.scale == "factor"

    @property
    def is_share(self) -> bool:
        return self.scale == "points"

    def words(self, value: float) -> str:
        """A value, for people: a share in %."""
        return percent(value) if self.is_share else f"{value:.3g}"

    @property
    def margin(self) -> float:
        """On the scale of `scaled`."""
        return float(
            {"factor": np.log2(self.allowed), "points": self.allowed / 100}.get(self.scale, self.allowed)
        )

    def scaled(self, values: pd.Series) -> pd.Series:
        """Accuracy as it is; log2 of what is compared on it, NaN where it is not positive."""
        return np.log2(values.where(values > 0)) if self.is_log else values

    def shown(self, value: float) -> float:
        """A difference on that scale as people read it: points of accuracy, or a factor."""
        return float({"factor": 2**value, "points": 100 * value}.get(self.scale, value))


NATURAL = Metric("test_accuracy", "natural accuracy")
EIGENVALUE = Metric("eigenvalue", "λ1", scale="factor", allowed=paper.EIGENVALUE_FACTOR)
SMALLEST = Metric("smallest_epsilon", "smallest ε", scale="factor", allowed=paper.EPSILON_FACTOR)
RATIO = Metric("stability_ratio", "λ1 η / 2(1+γ)", scale="factor", allowed=paper.EIGENVALUE_FACTOR)
LARGEST_RATIO = replace(RATIO, column="stability_ratio_max")
DESCENT = (RATIO.column, LARGEST_RATIO.column)  # of λ1 of the loss that SGD descends
SHIPPED = {metric.column: metric for metric in (NATURAL, EIGENVALUE, SMALLEST, RATIO, LARGEST_RATIO)}
ALIASES = {"natural_accuracy": NATURAL, "lambda1": EIGENVALUE}


def attacked(attack: str, epsilon: float) -> Metric:
    """The accuracy under an attack."""
    return Metric(attack_column(attack, epsilon), f"{attack_name(attack)} accuracy", attack, epsilon)


def metric_of(name: str, columns: Mapping[str, Column]) -> Metric | None:
    """The metric of a column by its name, or by `natural_accuracy` or `lambda1`; `None`: there is no such number.

    Args:
        name: as a claim has it.
        columns: those of a study, besides the ones that every study has.
    """
    if known := ALIASES.get(name) or SHIPPED.get(name):
        return known
    column = columns.get(name) or KNOWN.get(name)
    if column is None or name not in metric_names(columns):
        return None
    if column.attack:
        return attacked(*column.attack)
    if column.unit == "0 to 1":
        return Metric(name, column.title or name.replace("_", " "))
    if column.is_log:
        return Metric(name, column.title or name, scale="factor", allowed=paper.EIGENVALUE_FACTOR)
    return Metric(name, column.title or name, scale="", allowed=0.0)


def metric_names(columns: Mapping[str, Column]) -> list[str]:
    """What a claim may be about: every column of numbers, by its name."""
    named = {**KNOWN, **columns}
    return [*ALIASES, *(name for name, column in named.items() if column.is_number or column.title)]
