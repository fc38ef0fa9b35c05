"""A cell: one setting of SGD."""

from collections.abc import Callable
from typing import NamedTuple

import pandas as pd

from tfsgd.plan.settings import plain, settings

SETTINGS = [s.name for s in settings() if s.parts_cells]  # columns; with the length of the training a cell


def is_plain(rows: pd.DataFrame) -> pd.Series:
    """Of each trial whether its rate is constant and its steps are the paper's: no setting with a default has another."""
    known = [s for s in settings() if s.parts_cells and not s.is_required and s.name in rows]
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


def any_cell(_: Cell) -> bool:
    return True
