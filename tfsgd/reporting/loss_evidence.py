"""Evidence at equal train loss, and on what robustness follows: λ1, or how sure the network is."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from tfsgd.reporting.cells import EIGENVALUE, Cells, Metric
from tfsgd.reporting.contrasts import nothing, on_floor, shortfall_of
from tfsgd.reporting.eigen_evidence import both_rise
from tfsgd.reporting.evidence import Described, Evidence, Impossible, Tested
from tfsgd.reporting.paper import BASE_MOMENTUM, MIN_CELLS, MIN_SEEDS
from tfsgd.reporting.ranges import where_it_trains
from tfsgd.reporting.rows import at_loss
from tfsgd.reporting.statistics import (
    Array,
    correlation_statistic,
    difference_of_correlations,
    fisher_interval,
    rank_correlation,
    t_quantile,
)

SETTINGS = ["regime", "batch_size", "momentum", "learning_rate"]


def both_rise_at_equal_loss(regime: str) -> Callable[[Cells, Metric], Evidence]:
    """λ1 and the adversarial accuracy both rise with the batch size, also at equal train loss.

    Where networks were kept at equal train loss, the slopes there; else partial rank correlations with the batch
    size over all momenta of the regime, given the train loss at the end.
    """

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        loss = _snapshot(cells, metric, regime)
        if loss is None:
            return _given_loss(cells, metric, regime)
        found = both_rise(regime)(_at_snapshot(cells, metric, loss), metric)
        where = f"at the first epoch with a train loss of at most {loss:g}"
        return replace(found, detail="; ".join(filter(None, (where, found.detail))))

    return where_it_trains(evidence, lambda cell: cell[0] == regime)


def _snapshot(cells: Cells, metric: Metric, regime: str) -> float | None:
    """The train loss whose snapshots have the most batch sizes, of equal ones the lowest; the numbers are not looked at."""
    start = f"{metric.column}@"
    losses = [float(c.removeprefix(start)) for c in cells.rows.columns if str(c).startswith(start)]
    momentum = BASE_MOMENTUM[regime]
    counts = {}
    for loss in losses:
        there = _at_snapshot(cells, metric, loss)
        sizes = there.batch_sizes(regime, momentum)
        counts[loss] = sum(
            there.enough(metric, (regime, b, momentum)) and there.enough(EIGENVALUE, (regime, b, momentum))
            for b in sizes
        )
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
    if metric.column not in cells.rows:
        return nothing(cells, metric, "it needs an attack")
    rows = cells.rows[(cells.rows["regime"] == regime) & (cells.rows["status"] == "completed")]
    table = _table(
        rows, {"y": metric.scaled(rows[metric.column]), "c": EIGENVALUE.scaled(rows["eigenvalue"])}
    )
    means = table.groupby(SETTINGS, as_index=False)[["y", "c", "train_loss"]].mean()
    seeds = [of_seed for _, of_seed in table.groupby("seed")]
    basis = _basis_of(means, seeds) | {
        "unit": "rank correlation with the batch size at equal train loss",
        "spoilt": cells.spoilt(EIGENVALUE, lambda cell: cell[0] == regime),
        "doubts": cells.doubts(metric, lambda cell: cell[0] == regime),
    }
    if len(means) < MIN_CELLS:
        return Impossible(
            reason=f"no snapshots, and {len(means)} of at least {MIN_CELLS} cells under {regime}", **basis
        )
    (robust, freedom), (curved, _) = _with_size(means, "y"), _with_size(means, "c")
    floor = on_floor(means["y"].to_numpy()[None], metric, cells.chance)
    detail = f"partial rank correlation given the train loss; of λ1 {curved:.2f}"
    basis |= {"effect": robust, "floor": floor, "detail": detail}
    shortfall = shortfall_of(len(seeds), means["batch_size"].nunique())
    if shortfall:
        return Described(reason=shortfall, **basis)
    p_less = [float(special.stdtr(freedom, correlation_statistic(r, freedom))) for r in (robust, curved)]
    signs = [_signs([_with_size(rows, column) for rows in _enough(seeds)]) for column in ("y", "c")]
    return Tested(
        interval=fisher_interval(robust, freedom),
        p_for=1 - min(p_less),
        p_against=min(1.0, 2 * min(p_less)),
        agrees_for=signs[0].up and signs[1].up,
        agrees_against=signs[int(np.argmin(p_less))].down,
        **basis,
    )


def _with_size(rows: pd.DataFrame, column: str) -> tuple[float, int]:
    sizes = np.log2(rows["batch_size"].to_numpy(dtype=float))
    return rank_correlation(
        sizes, rows[column].to_numpy(), [""] * len(rows), rows["train_loss"].to_numpy(dtype=float)
    )


# Confidence


def follows_confidence(cells: Cells, metric: Metric) -> Evidence:
    """The adversarial accuracy is ordered by confidence more than by λ1: |Spearman's correlation| is larger.

    Both correlations are over the same cell means, so they are dependent: their Fisher transforms are compared after
    Meng, Rosenthal and Rubin (1992), with the variance of Spearman's.
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
    table = _table(rows, columns)
    means = table.groupby(SETTINGS, as_index=False)[[*columns]].mean()
    seeds = [of_seed for _, of_seed in table.groupby("seed")]
    basis = _basis_of(means, seeds) | {
        "unit": "more of Fisher's z with confidence than with λ1",
        "spoilt": cells.spoilt(EIGENVALUE),
        "doubts": cells.doubts(metric),
    }
    if len(means) < MIN_CELLS:
        return Impossible(reason=f"{len(means)} of at least {MIN_CELLS} cells", **basis)
    found = _compared(means)
    floor = on_floor(means["y"].to_numpy()[None], metric, cells.chance)
    detail = f"rank correlation {found.first:.2f} with confidence, {found.second:.2f} with λ1"
    basis |= {"effect": found.difference, "floor": floor, "detail": detail}
    shortfall = shortfall_of(len(seeds), means["batch_size"].nunique())
    if shortfall:
        return Described(reason=shortfall, **basis)
    of_seeds = [_compared(rows).difference for rows in _enough(seeds)]
    signs = _signs_of(np.array(of_seeds))
    statistic = found.difference / found.error
    return Tested(
        interval=(found.difference - 1.96 * found.error, found.difference + 1.96 * found.error),
        p_for=float(special.ndtr(-statistic)),
        p_against=float(special.ndtr(statistic)),
        agrees_for=signs.up,
        agrees_against=signs.down,
        **basis,
    )


@dataclass(frozen=True)
class _Compared:
    """Rank correlations of the accuracy with confidence and with λ1, and the difference of their sizes in Fisher's z."""

    first: float
    second: float
    difference: float
    error: float


def _compared(rows: pd.DataFrame) -> _Compared:
    y, confidence, curvature = (rows[c].to_numpy(dtype=float) for c in ("y", "confidence", "curvature"))
    alone = [""] * len(rows)
    first, _ = rank_correlation(confidence, y, alone)
    second, _ = rank_correlation(curvature, y, alone)
    between, _ = rank_correlation(confidence, curvature, alone)
    between *= math.copysign(1, first) * math.copysign(1, second)
    return _Compared(first, second, *difference_of_correlations(abs(first), abs(second), between, len(rows)))


# Seeds and cells


@dataclass(frozen=True)
class _Signs:
    """Whether the seeds' own values lie above zero, or below, by Student's t over them."""

    up: bool
    down: bool


def _signs(correlations: Sequence[tuple[float, int]]) -> _Signs:
    return _signs_of(
        np.arctanh(np.clip([rho for rho, freedom in correlations if freedom >= 3], -0.999, 0.999))
    )


def _signs_of(values: Array) -> _Signs:
    if len(values) < MIN_SEEDS:
        return _Signs(False, False)
    half = t_quantile(0.975, len(values) - 1) * values.std(ddof=1) / math.sqrt(len(values))
    return _Signs(bool(values.mean() - half > 0), bool(values.mean() + half < 0))


def _enough(seeds: Sequence[pd.DataFrame]) -> list[pd.DataFrame]:
    return [rows for rows in seeds if len(rows) >= MIN_CELLS]


def _table(rows: pd.DataFrame, columns: dict[str, Any]) -> pd.DataFrame:
    """Settings, seed, train loss and these columns, of the trials that have all of them."""
    return rows[[*SETTINGS, "seed", "train_loss"]].assign(**columns).dropna(subset=[*columns, "train_loss"])


def _basis_of(means: pd.DataFrame, seeds: Sequence[pd.DataFrame]) -> dict[str, Any]:
    count = f"{len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}"
    return {
        "seeds": len(seeds),
        "cells": len(means),
        "batch_sizes": means["batch_size"].nunique(),
        "n": f"{len(means)} cells, {count}",
    }
