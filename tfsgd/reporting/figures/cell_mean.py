"""The mean of a cell over its seeds, as a curve shows it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from tfsgd.reporting.figures.style import CellValue
from tfsgd.reporting.statistics import student_interval

if TYPE_CHECKING:
    from tfsgd.reporting.figures.curves import Series


@dataclass(frozen=True)
class CellMean:
    """Mean and 95 % interval of a cell over its seeds (Student's t); of the logarithm for λ1."""

    series: Series
    batch_size: int
    mean: float
    low: float
    high: float
    seeds: int
    trained: int  # of the seeds, and those that diverged or collapsed
    undertrained: bool
    hollow: bool  # its marker
    ringed: bool  # a trial of it fails a check

    @classmethod
    def of(cls, cell: pd.DataFrame, series: Series, trained: int) -> CellMean:
        values = cell["value"].to_numpy(dtype=float)
        numbers = np.log(values) if series.is_log else values
        mean, count = float(numbers.mean()), len(numbers)
        ends = [mean, *map(float, student_interval(numbers) if count > 1 else (mean, mean))]
        mean, low, high = [math.exp(end) for end in ends] if series.is_log else ends
        if series.is_share and not series.is_log:
            low, high = max(low, series.least), min(high, 1.0)
        size = int(cell["batch_size"].iloc[0])
        marks = (bool(cell[name].any()) for name in ("undertrained", "hollow", "ringed"))
        return cls(series, size, mean, low, high, count, trained, *marks)

    @property
    def interval(self) -> tuple[str, str] | None:
        """The ends of the interval in words; `None`: of a single seed there is none."""
        return (self.series.words(self.low), self.series.words(self.high)) if self.seeds > 1 else None

    @property
    def words(self) -> str:
        interval = f" [{', '.join(self.interval)}]" if self.interval else ""
        seeds = f"{self.count} {'seed' if self.trained == 1 else 'seeds'}"
        return f"{self.series.words(self.mean)}{interval}, {seeds}{self.notes}"

    def value(self, curve: str) -> CellValue:
        """For the table of values of a curve."""
        mean = self.series.words(self.mean)
        return CellValue(
            curve, self.batch_size, self.series.what, mean, self.interval, self.count, self.notes
        )

    @property
    def count(self) -> str:
        """Of how many seeds it is the mean; with those that were trained, where some have learnt nothing."""
        return str(self.seeds) if self.seeds == self.trained else f"{self.seeds} of {self.trained}"

    @property
    def notes(self) -> str:
        return ", under-trained" * self.undertrained + ", fails a check" * self.ringed
