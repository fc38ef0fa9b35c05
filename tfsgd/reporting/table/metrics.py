"""Metrics: what is judged and drawn of a trial, and on which scale."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from tfsgd.reporting.paper import ACCURACY_MARGIN, EIGENVALUE_FACTOR, EIGENVALUE_MARGIN, attack_name, points
from tfsgd.reporting.table.columns import attack_column


@dataclass(frozen=True)
class Metric:
    """A column of the trials and the scale on which it is judged.

    Attributes:
        attack: its label; `None`: no attack is involved.
        is_log: it is an eigenvalue, judged on log2; else an accuracy.
    """

    column: str
    name: str
    attack: str | None = None
    epsilon: float | None = None
    is_log: bool = False

    @property
    def margin(self) -> float:
        return EIGENVALUE_MARGIN if self.is_log else ACCURACY_MARGIN

    @property
    def margin_in_words(self) -> str:
        return f"a factor of {EIGENVALUE_FACTOR:g}" if self.is_log else f"±{points(ACCURACY_MARGIN)}"

    def scaled(self, values: pd.Series) -> pd.Series:
        """Accuracy as it is; log2 of the eigenvalue, NaN where it is not positive."""
        return np.log2(values.where(values > 0)) if self.is_log else values


NATURAL = Metric("test_accuracy", "natural accuracy")
EIGENVALUE = Metric("eigenvalue", "λ1", is_log=True)
RATIO = Metric("stability_ratio", "λ1 η / 2(1+γ)", is_log=True)
LARGEST_RATIO = Metric("stability_ratio_max", "λ1 η / 2(1+γ)", is_log=True)
DESCENT = (RATIO, LARGEST_RATIO)  # of λ1 of the loss that SGD descends


def attacked(attack: str, epsilon: float | None = None) -> Metric:
    """The accuracy under an attack; its epsilon may be filled in later."""
    column = "" if epsilon is None else attack_column(attack, epsilon)
    return Metric(column, f"{attack_name(attack)} accuracy", attack, epsilon)
