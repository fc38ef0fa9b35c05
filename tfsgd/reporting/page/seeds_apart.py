"""How much of a cell's spread comes from the initialization, and how much from the order of the batches."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from tfsgd.reporting.statistics import Array, variance_components
from tfsgd.reporting.table.cell import SETTINGS
from tfsgd.reporting.table.metrics import EIGENVALUE, NATURAL, SMALLEST, Metric
from tfsgd.reporting.table.studies import Study
from tfsgd.text import counted


def seeds_apart(study: Study) -> Iterator[str]:
    """A sentence for each metric whose cells were trained with every pair of some seeds and order seeds."""
    if "order_seed" not in study.trials or study.trials["order_seed"].isna().all():
        return
    for metric in (NATURAL, SMALLEST, EIGENVALUE):
        if tables := [*_tables(study.trials, metric)]:
            parts = np.mean([variance_components(table) for table in tables], axis=0)
            initialization, order, rest = (_spread(part, metric) for part in np.sqrt(parts))
            yield (
                f"Standard deviation of {metric.name} within a cell: {initialization} by the initialization, {order} by the "
                f"order of the batches, {rest} by what both do together ({counted(len(tables), 'cell')})."
            )


def _tables(trials: pd.DataFrame, metric: Metric) -> Iterator[Array]:
    """Of each cell the values by seed and order seed, where at least two of each cross without a gap."""
    if metric.column not in trials:
        return
    done = trials[trials["status"] == "completed"].assign(
        scaled=metric.scaled(trials[metric.column]),
        order_seed=trials["order_seed"].fillna(trials["seed"]),
    )
    cell = [*(s for s in SETTINGS if s in done), "epochs"]
    for _, of_cell in done.groupby(cell, dropna=False):
        table = of_cell.pivot_table("scaled", "seed", "order_seed").dropna()
        if min(table.shape) > 1:
            yield table.to_numpy()


def _spread(value: float, metric: Metric) -> str:
    return f"× {metric.shown(value):.3f}" if metric.is_log else f"{metric.shown(value):.2f} points"
