"""Evidence on the batch size: trends, constancy, and LR/BS against the others at large batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tfsgd.reporting.claims.contrasts import Comparison, Levels, nothing, signed, within_margin
from tfsgd.reporting.claims.evidence import Evidence
from tfsgd.reporting.claims.on_trained_range import Gather, where_it_trains
from tfsgd.reporting.paper import BASE_MOMENTUM, LARGE_BATCH_SIZE, MIN_BATCH_SIZES
from tfsgd.reporting.statistics import Array, slope_weights
from tfsgd.reporting.table.cells import Cell, Cells, Metric, at_base_momentum


def batch_trend(regime: str, sign: int) -> Gather:
    """The metric rises (sign 1) or falls (-1) with the batch size under a regime, where it trains."""
    return where_it_trains(trend_over_all(regime, sign), at_base_momentum(regime))


def trend_over_all(regime: str, sign: int) -> Gather:
    """The same over all batch sizes that are there."""

    def itself(table: Array) -> Array:
        return table

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        wanted = cells.measured(metric, regime, BASE_MOMENTUM[regime])
        if len(wanted) < 2:
            return _too_few_sizes(cells, metric, regime, wanted)
        weights = slope_weights(np.log2([cell.batch_size for cell in wanted]))
        return signed(cells, metric, Comparison(wanted, weights, sign, "per doubling", itself))

    return evidence


def batch_constant(regime: str) -> Gather:
    """Any two batch sizes give the same metric within the margin."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        wanted = cells.measured(metric, regime, BASE_MOMENTUM[regime])
        if len(wanted) < 2:
            return _too_few_sizes(cells, metric, regime, wanted)
        sizes = [cell.batch_size for cell in wanted]
        return within_margin(cells, metric, Levels(wanted, sizes, np.eye(len(wanted)), "batch sizes"))

    return where_it_trains(evidence, at_base_momentum(regime))


def lower_at_large_batches(other: str) -> Gather:
    """The metric is lower under LR/BS than under another regime, over the large batch sizes of both."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        both = [cells.measured(metric, regime, BASE_MOMENTUM[regime]) for regime in ("LR/BS", other)]
        common = set.intersection(*({cell.batch_size for cell in found} for found in both))
        sizes = sorted(b for b in common if b >= LARGE_BATCH_SIZE)
        if not sizes:
            return nothing(
                cells, metric, f"no batch size of {LARGE_BATCH_SIZE} or more under both LR/BS and {other}"
            )
        wanted = [cell for found in both for cell in found if cell.batch_size in sizes]
        weights = np.repeat([1.0, -1.0], len(sizes)) / len(sizes)
        per = f"under LR/BS against {other}"
        trained = {*cells.batch_sizes("LR/BS", BASE_MOMENTUM["LR/BS"])}
        trained &= {*cells.batch_sizes(other, BASE_MOMENTUM[other])}
        return signed(cells, metric, Comparison(wanted, weights, -1, per, sizes=len(trained)))

    return where_it_trains(evidence, at_base_momentum("LR/BS", other))


def _too_few_sizes(cells: Cells, metric: Metric, regime: str, wanted: Sequence[Cell]) -> Evidence:
    momentum = BASE_MOMENTUM[regime]
    found = f"{len(wanted)} of at least {MIN_BATCH_SIZES} batch sizes" if wanted else "no trial"
    spoilt = cells.spoilt(metric, at_base_momentum(regime))
    return nothing(cells, metric, f"{regime} at momentum {momentum:g}: {found}", spoilt)
