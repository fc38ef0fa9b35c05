"""Evidence on the batch size: trends, constancy, and LR/BS against the others at large batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from tfsgd.reporting.cells import Cell, Cells, Metric
from tfsgd.reporting.contrasts import Comparison, Levels, nothing, signed, within_margin
from tfsgd.reporting.evidence import Evidence
from tfsgd.reporting.paper import BASE_MOMENTUM, LARGE_BATCH_SIZE, MIN_BATCH_SIZES
from tfsgd.reporting.ranges import Gather, where_it_trains
from tfsgd.reporting.statistics import Array, slope_weights


def batch_trend(regime: str, sign: int) -> Gather:
    """The metric rises (sign 1) or falls (-1) with the batch size under a regime, where it trains."""
    return where_it_trains(trend_over_all(regime, sign), at_base_momentum(regime))


def trend_over_all(regime: str, sign: int) -> Gather:
    """The same over all batch sizes that are there."""

    def itself(table: Array) -> Array:
        return table

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        wanted = _batch_cells(cells, metric, regime)
        if len(wanted) < 2:
            return _too_few_sizes(cells, metric, regime, wanted)
        weights = slope_weights(np.log2([b for _, b, _ in wanted]))
        return signed(cells, metric, Comparison(wanted, weights, sign, "per doubling", itself))

    return evidence


def batch_constant(regime: str) -> Gather:
    """Any two batch sizes give the same metric within the margin."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        wanted = _batch_cells(cells, metric, regime)
        if len(wanted) < 2:
            return _too_few_sizes(cells, metric, regime, wanted)
        sizes = [b for _, b, _ in wanted]
        return within_margin(cells, metric, Levels(wanted, sizes, np.eye(len(wanted)), "batch sizes"))

    return where_it_trains(evidence, at_base_momentum(regime))


def lower_at_large_batches(other: str) -> Gather:
    """The metric is lower under LR/BS than under another regime, over the large batch sizes of both."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        sizes = [
            b
            for _, b, _ in _batch_cells(cells, metric, "LR/BS")
            if b >= LARGE_BATCH_SIZE and cells.enough(metric, (other, b, BASE_MOMENTUM[other]))
        ]
        if not sizes:
            return nothing(
                cells, metric, f"no batch size of {LARGE_BATCH_SIZE} or more under both LR/BS and {other}"
            )
        wanted: list[Cell] = [("LR/BS", b, BASE_MOMENTUM["LR/BS"]) for b in sizes]
        wanted += [(other, b, BASE_MOMENTUM[other]) for b in sizes]
        weights = np.repeat([1.0, -1.0], len(sizes)) / len(sizes)
        per = f"under LR/BS against {other}"
        trained = {*cells.batch_sizes("LR/BS", BASE_MOMENTUM["LR/BS"])}
        trained &= {*cells.batch_sizes(other, BASE_MOMENTUM[other])}
        return signed(cells, metric, Comparison(wanted, weights, -1, per, sizes=len(trained)))

    return where_it_trains(evidence, at_base_momentum("LR/BS", other))


def at_base_momentum(*regimes: str) -> Callable[[Cell], bool]:
    """Cells of these regimes at the momentum at which the paper compares them."""
    return lambda cell: cell[0] in regimes and cell[2] == BASE_MOMENTUM[cell[0]]


def _batch_cells(cells: Cells, metric: Metric, regime: str) -> list[Cell]:
    momentum = BASE_MOMENTUM[regime]
    candidates: list[Cell] = [(regime, b, momentum) for b in cells.batch_sizes(regime, momentum)]
    return [cell for cell in candidates if cells.enough(metric, cell)]


def _too_few_sizes(cells: Cells, metric: Metric, regime: str, wanted: Sequence[Cell]) -> Evidence:
    momentum = BASE_MOMENTUM[regime]
    found = f"{len(wanted)} of at least {MIN_BATCH_SIZES} batch sizes" if wanted else "no trial"
    spoilt = cells.spoilt(metric, at_base_momentum(regime))
    return nothing(cells, metric, f"{regime} at momentum {momentum:g}: {found}", spoilt)
