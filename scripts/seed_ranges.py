"""The records of a study as a table, and ranges over the seeds in words."""

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from tfsgd.api import read_records

Cell = tuple[str, float]  # a regime's label and a momentum, at any batch size


def trials(folder: Path) -> pd.DataFrame:
    """The records' table in the order of the paper's regimes, batch sizes, momenta and seeds."""
    t = read_records(folder)
    t["order"] = t.regime.map({"LR": 0, "LR/BS": 1, "Benchmark": 2})
    return t.sort_values(["order", "batch_size", "momentum", "seed"])


def of_cell(t: pd.DataFrame, regime: str, batch_size: int | None, momentum: float = 0.0) -> pd.DataFrame:
    """The networks of a cell, or of all of a regime's batch sizes."""
    member = t.regimes.map(lambda regimes: regime in regimes) & (t.momentum == momentum)
    return t[member & (t.batch_size == (batch_size or t.batch_size))]


def sizes_of(t: pd.DataFrame, *cells: Cell) -> list[int]:
    """The batch sizes at which every network of each of these regimes and momenta has learnt."""
    found = []
    for regime, momentum in cells:
        learnt = (of_cell(t, regime, None, momentum).set_index("batch_size").status == "completed").groupby(
            level=0
        )
        found.append({size for size, all_of_them in learnt.all().items() if all_of_them})
    return sorted(int(size) for size in set.intersection(*found))


def momenta_of(t: pd.DataFrame, regime: str, batch_size: int) -> list[float]:
    """The momenta of a regime at which every network of a batch size has learnt."""
    return [m for m in sorted(t.momentum.unique()) if batch_size in sizes_of(t, (regime, m))]


def lost(t: pd.DataFrame, regime: str, batch_size: int, momentum: float = 0.0) -> str:
    """`2 of 3` networks of a cell that collapsed; empty where none did."""
    cell = of_cell(t, regime, batch_size, momentum)
    count = int((cell.status == "collapsed").sum())
    return f"{count} of {len(cell)}" if count else ""


def values(
    t: pd.DataFrame, regime: str, batch_size: int | None, column: str, momentum: float = 0.0
) -> list[float]:
    """A column over the networks of a cell that learnt; empty where it was not measured."""
    cell = of_cell(t, regime, batch_size, momentum)
    known = cell[cell.status == "completed"].get(column, pd.Series(dtype=float))
    return [float(v) for v in known if not math.isnan(v)]


def over_seeds(
    t: pd.DataFrame,
    regime: str,
    batch_size: int | None,
    column: str,
    digits: str = ".2f",
    momentum: float = 0.0,
) -> str:
    """The range of a column over the seeds of a cell, or of all of a regime's batch sizes."""
    return span(values(t, regime, batch_size, column, momentum), digits)


def moves(before: list[float], after: list[float]) -> int:
    """1 if every value of the second range lies above every one of the first, -1 if below, 0 if neither."""
    if not before or not after:
        return 0
    return int(min(after) > max(before)) - int(max(after) < min(before))


def counted(values: Iterable[Any], what: str) -> str:
    """`seed 0`, `seeds 0, 1, 2`."""
    found = sorted(set(values))
    return f"{what}{'s' * (len(found) > 1)} {', '.join(map(str, found))}"


def span(values: Iterable[float], digits: str) -> str:
    """`0.88–0.99`, or one number where all are equal; shares as `18.5–27.6 %`."""
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return "(not measured)"
    ends = [f"{v:{digits}}".removesuffix("%") for v in (min(known), max(known))]
    return "–".join(dict.fromkeys(ends)) + " %" * digits.endswith("%")
