"""A cell: one setting of SGD. Cell means, over which rank correlations are taken, and the same seed by seed."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

import pandas as pd

from tfsgd.plan.regimes import plain, settings
from tfsgd.reporting.paper import BASE_MOMENTUM, MIN_CELLS, MIN_SEEDS

SETTINGS = [s.name for s in settings() if s.parts_cells]  # columns; with the length of the training a cell


def is_plain(rows: pd.DataFrame) -> pd.Series:
    """Of each trial whether its rate is constant and its steps are the paper's: no setting with a default has another."""
    known = [s for s in settings() if not s.is_required and s.name in rows]
    return ~pd.concat([rows[s.name].notna() & (rows[s.name] != plain(s.default)) for s in known], axis=1).any(
        axis=1
    )


class Cell(NamedTuple):
    """One setting of SGD; its trials differ in the seed alone.

    The regime fixes the learning rate of each batch size, its decay and the length of the training.
    """

    regime: str  # of the paper, or `other: name`
    batch_size: int
    momentum: float


CellFilter = Callable[[Cell], bool]


def of_regimes(*regimes: str) -> CellFilter:
    """Whether a cell is of one of these regimes."""
    return lambda cell: cell.regime in regimes


def at_base_momentum(*regimes: str) -> CellFilter:
    """Whether a cell is of one of these regimes, at the momentum at which the paper compares them."""
    return lambda cell: cell.regime in regimes and cell.momentum == BASE_MOMENTUM[cell.regime]


def any_cell(_: Cell) -> bool:
    return True


@dataclass(frozen=True)
class CellMeans:
    """Numbers of trials by cell and seed.

    Attributes:
        means: a row a cell, the mean over its seeds.
        of_seeds: the rows of each seed that has the 8 cells of a rank correlation of its own, or all where there are
            fewer.
    """

    means: pd.DataFrame
    of_seeds: list[pd.DataFrame]

    @property
    def sample(self) -> tuple[Cell, ...]:
        """The cells."""
        return tuple(map(Cell, self.means["regime"], self.means["batch_size"], self.means["momentum"]))


def cell_means(rows: pd.DataFrame, columns: Mapping[str, pd.Series], seeds: int) -> CellMeans:
    """These columns and the train loss, of the trials that have all of them in cells with enough seeds.

    Args:
        rows: the trials.
        columns: name -> values, one a trial.
        seeds: how many the study has.
    """
    known = (
        rows[[*Cell._fields, "seed", "train_loss"]].assign(**columns).dropna(subset=[*columns, "train_loss"])
    )
    known = with_enough_seeds(known, seeds)
    means = known.groupby([*Cell._fields], as_index=False)[[*columns, "train_loss"]].mean()
    of_seeds = [of_seed for _, of_seed in known.groupby("seed")]
    return CellMeans(means, [rows for rows in of_seeds if len(rows) >= min(MIN_CELLS, len(means))])


def with_enough_seeds(rows: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """The rows of cells that were measured under 3 seeds, or under all where there are fewer."""
    return rows[rows.groupby([*Cell._fields])["seed"].transform("nunique") >= min(MIN_SEEDS, seeds)]
