"""Metrics: what is judged and drawn of a trial, and on which scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import pandas as pd

from tfsgd.reporting.paper import ACCURACY_MARGIN, EIGENVALUE_FACTOR, EPSILON_FACTOR, attack_name, percent
from tfsgd.reporting.table.columns import KNOWN, Column, attack_column


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
    allowed: float = 100 * ACCURACY_MARGIN
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
EIGENVALUE = Metric("eigenvalue", "λ1", scale="factor", allowed=EIGENVALUE_FACTOR)
SMALLEST = Metric("smallest_epsilon", "smallest ε", scale="factor", allowed=EPSILON_FACTOR)
RATIO = Metric("stability_ratio", "λ1 η / 2(1+γ)", scale="factor", allowed=EIGENVALUE_FACTOR)
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
        return Metric(name, column.title or name, scale="factor", allowed=EIGENVALUE_FACTOR)
    return Metric(name, column.title or name, scale="", allowed=0.0)


def metric_names(columns: Mapping[str, Column]) -> list[str]:
    """What a claim may be about: every column of numbers, by its name."""
    named = {**KNOWN, **columns}
    return [*ALIASES, *(name for name, column in named.items() if column.is_number or column.title)]
