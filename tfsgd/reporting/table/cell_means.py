"""Cell means, over which rank correlations are taken, and the same numbers seed by seed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from tfsgd.reporting.paper import MIN_CELLS, MIN_SEEDS
from tfsgd.text import counted

SETTINGS = ["regime", "batch_size", "momentum", "learning_rate"]  # of a cell


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
    def basis(self) -> dict[str, Any]:
        """What of `Basis` these say."""
        return {
            "seeds": len(self.of_seeds),
            "cells": len(self.means),
            "batch_sizes": self.means["batch_size"].nunique(),
            "n": f"{len(self.means)} cells, {counted(len(self.of_seeds), 'seed')}",
        }


def cell_means(rows: pd.DataFrame, columns: Mapping[str, pd.Series], seeds: int) -> CellMeans:
    """These columns and the train loss, of the trials that have all of them in cells with enough seeds.

    Args:
        rows: the trials.
        columns: name -> values, one a trial.
        seeds: how many the study has.
    """
    known = rows[[*SETTINGS, "seed", "train_loss"]].assign(**columns).dropna(subset=[*columns, "train_loss"])
    known = with_enough_seeds(known, seeds)
    means = known.groupby(SETTINGS, as_index=False)[[*columns, "train_loss"]].mean()
    of_seeds = [of_seed for _, of_seed in known.groupby("seed")]
    return CellMeans(means, [rows for rows in of_seeds if len(rows) >= min(MIN_CELLS, len(means))])


def with_enough_seeds(rows: pd.DataFrame, seeds: int) -> pd.DataFrame:
    """The rows of cells that were measured under 3 seeds, or under all where there are fewer."""
    return rows[rows.groupby(SETTINGS)["seed"].transform("nunique") >= min(MIN_SEEDS, seeds)]
