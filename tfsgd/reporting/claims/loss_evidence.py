"""Evidence at equal train loss, and on what robustness follows: λ1, or how sure the network is."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from tfsgd.reporting.claims.contrasts import nothing, on_floor, shortfall_of
from tfsgd.reporting.claims.eigen_evidence import both_rise
from tfsgd.reporting.claims.evidence import Described, Evidence, Impossible, Tested
from tfsgd.reporting.claims.momentum_evidence import momentum_levels
from tfsgd.reporting.claims.on_trained_range import Gather, where_it_trains
from tfsgd.reporting.paper import BASE_MOMENTUM, MIN_CELLS, ZERO
from tfsgd.reporting.statistics import (
    Array,
    fisher_interval,
    flipped_signs,
    permuted_correlation,
    rank_correlation,
    ranks_of,
    seeds_correlation_interval,
    seeds_interval,
)
from tfsgd.reporting.table.cell_means import cell_means
from tfsgd.reporting.table.cells import EIGENVALUE, Cells, Metric, of_regimes
from tfsgd.reporting.table.rows import at_loss


def both_rise_at_equal_loss(regime: str) -> Gather:
    """λ1 and the adversarial accuracy both rise with the batch size, also at equal train loss.

    Where networks were kept at equal train loss, the slopes there; else partial rank correlations with the batch
    size over the regime's momenta, given the train loss at the end.
    """

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        loss = _snapshot(cells, metric, regime)
        if loss is None:
            return _given_loss(cells, metric, regime)
        found = both_rise(regime)(_at_snapshot(cells, metric, loss), metric)
        where = f"at the first epoch with a train loss of at most {loss:g}"
        return replace(found, detail="; ".join(filter(None, (where, found.detail))))

    return where_it_trains(evidence, of_regimes(regime))


def _snapshot(cells: Cells, metric: Metric, regime: str) -> float | None:
    """The train loss whose snapshots have the most batch sizes, of equal ones the lowest; the numbers are not looked at."""
    start = f"{metric.column}@"
    losses = [float(c.removeprefix(start)) for c in cells.rows.columns if str(c).startswith(start)]
    counts = {}
    for loss in losses:
        there = _at_snapshot(cells, metric, loss)
        measured = there.measured(metric, regime, BASE_MOMENTUM[regime])
        counts[loss] = sum(there.enough(EIGENVALUE, cell) for cell in measured)
    return max(
        (loss for loss in losses if counts[loss] > 1), key=lambda loss: (counts[loss], -loss), default=None
    )


def _at_snapshot(cells: Cells, metric: Metric, loss: float) -> Cells:
    """The same trials with the snapshot's numbers in place of the end's; λ1 that is hardly known is not among them."""
    there = cells.trials.assign(
        eigenvalue=cells.trials.get(at_loss("eigenvalue", loss), math.nan),
        **{metric.column: cells.trials[at_loss(metric.column, loss)]},
        converged=True,
        residual=0.0,
    )
    return Cells(there, cells.chance)


def _given_loss(cells: Cells, metric: Metric, regime: str) -> Evidence:
    """Over batch sizes that all have the same momenta: else what momentum does would look like what the size does."""
    if metric.column not in cells.rows:
        return nothing(cells, metric, "it needs an attack")
    sizes, momenta = momentum_levels(cells, metric, [regime])
    rows = cells.rows[(cells.rows["regime"] == regime) & (cells.rows["status"] == "completed")]
    rows = rows[rows["batch_size"].isin(sizes) & rows["momentum"].isin(momenta)]
    columns = {"y": metric.scaled(rows[metric.column]), "c": EIGENVALUE.scaled(rows["eigenvalue"])}
    found = cell_means(rows, columns, len(cells.all_seeds))
    means, seeds = found.means, found.of_seeds
    basis = found.basis | {
        "unit": "rank correlation with the batch size at equal train loss",
        "spoilt": cells.spoilt(EIGENVALUE, of_regimes(regime)),
        "doubts": cells.doubts(metric, of_regimes(regime)),
    }
    if len(means) < MIN_CELLS:
        return Impossible(
            reason=f"no snapshots, and {len(means)} of at least {MIN_CELLS} cells under {regime}", **basis
        )
    robust, curved = (permuted_correlation(*_with_size(means, column)) for column in ("y", "c"))
    floor = on_floor(means["y"].to_numpy(), metric, cells.chance)
    detail = f"partial rank correlation given the train loss; of λ1 {curved.rho:.2f}"
    basis |= {"effect": robust.rho, "floor": floor, "detail": detail}
    shortfall = shortfall_of(basis)
    if shortfall:
        return Described(reason=shortfall, **basis)
    (low, high), (low_curved, high_curved) = (
        seeds_correlation_interval(rank_correlation(*_with_size(rows, column)) for rows in seeds)
        for column in ("y", "c")
    )
    p_less = [robust.p_less, curved.p_less]
    return Tested(
        interval=fisher_interval(robust.rho, robust.freedom),
        p_for=max(robust.p_greater, curved.p_greater),
        p_against=min(1.0, 2 * min(p_less)),
        agrees_for=low > 0 and low_curved > 0,
        agrees_against=(high, high_curved)[int(np.argmin(p_less))] < 0,
        **basis,
    )


def _with_size(rows: pd.DataFrame, column: str) -> tuple[Array, Array, list[str], Array]:
    sizes = np.log2(rows["batch_size"].to_numpy(dtype=float))
    return sizes, rows[column].to_numpy(), [""] * len(rows), rows["train_loss"].to_numpy(dtype=float)


# Confidence


def follows_confidence(cells: Cells, metric: Metric) -> Evidence:
    """The adversarial accuracy is ordered by confidence more than by λ1: |Spearman's correlation| is larger.

    If both did as well, each cell's ranks of confidence and of λ1 could as well be exchanged: the p-values are the
    shares of all such exchanges that favour one as much. The effect and its interval are Student's over the seeds' own
    differences.
    """
    if metric.column not in cells.trials:
        return nothing(cells, metric, "it needs an attack")
    rows = cells.trials[cells.trials["status"] == "completed"]
    if "confidence" not in rows or not rows["confidence"].notna().any():
        return nothing(cells, metric, "the confidence was not measured")
    columns = {
        "y": metric.scaled(rows[metric.column]),
        "curvature": EIGENVALUE.scaled(rows["eigenvalue"]),
        "confidence": rows["confidence"].astype(float),
    }
    points = cell_means(rows, columns, len(cells.all_seeds))
    means, seeds = points.means, points.of_seeds
    basis = points.basis | {
        "unit": "more rank correlation with confidence than with λ1",
        "spoilt": cells.spoilt(EIGENVALUE),
        "doubts": cells.doubts(metric),
    }
    if len(means) < MIN_CELLS:
        return Impossible(reason=f"{len(means)} of at least {MIN_CELLS} cells", **basis)
    found, own = _compared(means), np.array([_compared(rows).difference for rows in seeds])
    floor = on_floor(means["y"].to_numpy(), metric, cells.chance)
    detail = f"rank correlation {found.first:.2f} with confidence, {found.second:.2f} with λ1"
    basis |= {"effect": float(own.mean()) if len(own) else found.difference, "floor": floor, "detail": detail}
    shortfall = shortfall_of(basis)
    if shortfall:
        return Described(reason=shortfall, **basis)
    low, high = seeds_interval(own)
    return Tested(
        interval=(low, high),
        p_for=found.p_for,
        p_against=found.p_against,
        agrees_for=low > 0,
        agrees_against=high < 0,
        **basis,
    )


@dataclass(frozen=True)
class _Compared:
    """Rank correlations of the accuracy with confidence and with λ1, and by how much the first is the larger in size."""

    first: float
    second: float
    p_for: float  # one-sided, that it is
    p_against: float

    @property
    def difference(self) -> float:
        return abs(self.first) - abs(self.second)


def _compared(rows: pd.DataFrame) -> _Compared:
    y, *both = (ranks_of(rows[c].to_numpy(dtype=float)) for c in ("y", "confidence", "curvature"))
    y = (y - y.mean()) / max(float(y.std()), ZERO)
    parts = [y * (ranks - ranks.mean()) / max(float(ranks.std()), ZERO) for ranks in both]
    first, second = (float(part.mean()) for part in parts)
    aligned = math.copysign(1, first) * parts[0] - math.copysign(1, second) * parts[1]
    return _Compared(first, second, *flipped_signs(aligned))
