"""Tests on the batch size: trends, constancy, and LR/BS against the others at large batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfsgd.reporting.claims.claim_test import claim_test
from tfsgd.reporting.claims.contrasts import (
    Comparison,
    Levels,
    directional_test,
    equivalence_test,
    untestable,
)
from tfsgd.reporting.claims.evidence import Evidence
from tfsgd.reporting.paper import BASE_MOMENTUM, LARGE_BATCH_SIZE, MIN_BATCH_SIZES
from tfsgd.reporting.statistics import slope_weights
from tfsgd.reporting.table.cell import Cell, at_base_momentum
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import Metric


@claim_test(lambda regime, **_: at_base_momentum(regime))
def batch_trend(cells: Cells, metric: Metric, regime: str, sign: int) -> Evidence:
    """Slope against log2 of the batch size, seeds as paired blocks (linear contrast in a randomised block design).

    The interval is Student's t over one slope a seed; Page's test must find the order too.
    """
    return trend_over_all(cells, metric, regime, sign)


def trend_over_all(cells: Cells, metric: Metric, regime: str, sign: int) -> Evidence:
    """The trend over all batch sizes that are there."""
    wanted = cells.measured(metric, regime, BASE_MOMENTUM[regime])
    if len(wanted) < 2:
        return _too_few_sizes(cells, metric, regime, wanted)
    weights = slope_weights(np.log2([cell.batch_size for cell in wanted]))
    return directional_test(
        cells, metric, Comparison(wanted, weights, sign, "per doubling", lambda table: table)
    )


@claim_test(lambda regime: at_base_momentum(regime))
def batch_constant(cells: Cells, metric: Metric, regime: str) -> Evidence:
    """Equivalence: for every pair, two one-sided tests that the difference stays within ±{constant} of accuracy,
    or within a factor of {constant_factor} for λ1. Seeds are paired blocks."""
    wanted = cells.measured(metric, regime, BASE_MOMENTUM[regime])
    if len(wanted) < 2:
        return _too_few_sizes(cells, metric, regime, wanted)
    return equivalence_test(cells, metric, batch_sizes(wanted))


def batch_sizes(cells: Sequence[Cell]) -> Levels:
    """The batch sizes of one regime and momentum as levels."""
    return Levels(cells, [cell.batch_size for cell in cells], np.eye(len(cells)), "batch sizes")


@claim_test(lambda other: at_base_momentum("LR/BS", other))
def lower_at_large_batches(cells: Cells, metric: Metric, other: str) -> Evidence:
    """Mean difference of log2 λ1 over the common batch sizes from {large_batch_size} on."""
    both = [cells.measured(metric, regime, BASE_MOMENTUM[regime]) for regime in ("LR/BS", other)]
    common = set.intersection(*({cell.batch_size for cell in found} for found in both))
    sizes = sorted(b for b in common if b >= LARGE_BATCH_SIZE)
    if not sizes:
        what = f"no batch size of {LARGE_BATCH_SIZE} or more under both LR/BS and {other}"
        return untestable(cells, metric, what)
    wanted = [cell for found in both for cell in found if cell.batch_size in sizes]
    weights = np.repeat([1.0, -1.0], len(sizes)) / len(sizes)
    trained = {*cells.batch_sizes("LR/BS", BASE_MOMENTUM["LR/BS"])}
    trained &= {*cells.batch_sizes(other, BASE_MOMENTUM[other])}
    per = f"under LR/BS against {other}"
    return directional_test(cells, metric, Comparison(wanted, weights, -1, per, sizes=len(trained)))


def _too_few_sizes(cells: Cells, metric: Metric, regime: str, wanted: Sequence[Cell]) -> Evidence:
    momentum = BASE_MOMENTUM[regime]
    found = f"{len(wanted)} of at least {MIN_BATCH_SIZES} batch sizes" if wanted else "no trial"
    invalid = cells.invalid_trials(metric, at_base_momentum(regime))
    return untestable(cells, metric, f"{regime} at momentum {momentum:g}: {found}", invalid)
