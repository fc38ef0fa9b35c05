"""Tests on λ1 and robustness together: both rise, also at equal train loss; and on what robustness follows."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import pandas as pd

from tfsgd.reporting.claims.batch_evidence import trend_over_all
from tfsgd.reporting.claims.claim_test import claim_test
from tfsgd.reporting.claims.contrasts import on_floor, untestable
from tfsgd.reporting.claims.evidence import Basis, Evidence, Impossible, Tested, TestResult, Unit, decide
from tfsgd.reporting.claims.momentum_evidence import momentum_levels
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
from tfsgd.reporting.table.cell import (
    CellFilter,
    CellMeans,
    any_cell,
    at_base_momentum,
    cell_means,
    of_regimes,
)
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import EIGENVALUE, Metric

Columns = tuple[Array, Array, list[str], Array | None]  # x, y, strata, and what is given


@claim_test(lambda regime: at_base_momentum(regime))
def both_rise(cells: Cells, metric: Metric, regime: str) -> Evidence:
    """Both slopes against log2 of the batch size must be above zero: the larger of the two p-values counts."""
    robustness = trend_over_all(cells, metric, regime, 1)
    curvature = trend_over_all(cells, EIGENVALUE, regime, 1)
    invalid = {**robustness.invalid_trials, **curvature.invalid_trials}
    robustness = replace(robustness, invalid_trials=invalid)
    if not isinstance(curvature, Impossible) and curvature.unit:
        said = curvature.unit.words(curvature.effect, curvature.interval)
        robustness = replace(robustness, detail=f"λ1: {said}")
    if not isinstance(robustness, Tested):
        return robustness
    if not isinstance(curvature, Tested):
        return robustness.untested(curvature.reason)
    weaker = robustness if robustness.p_against <= curvature.p_against else curvature
    return replace(
        robustness,
        p_for=max(robustness.p_for, curvature.p_for),
        p_against=min(1.0, 2 * min(robustness.p_against, curvature.p_against)),
        agrees_for=robustness.agrees_for and curvature.agrees_for,
        agrees_against=weaker.agrees_against,
    )


# Rank correlations over cell means


def _correlation_basis(
    cells: Cells, metric: Metric, found: CellMeans, per: str, concerns: CellFilter = any_cell
) -> Basis:
    return Basis(
        unit=Unit("correlation", per),
        seeds=len(found.of_seeds),
        sample=found.sample,
        batch_sizes=found.means["batch_size"].nunique(),
        invalid_trials=cells.invalid_trials(EIGENVALUE, concerns),
        failed_checks=cells.failed_checks(metric, concerns),
    )


def _too_few_cells(basis: Basis, before: str = "", after: str = "") -> Impossible:
    return Impossible(**vars(basis), reason=f"{before}{basis.cells} of at least {MIN_CELLS} cells{after}")


def _on_floor(cells: Cells, metric: Metric, means: pd.DataFrame) -> bool:
    return on_floor(means["y"].to_numpy(), metric, cells.chance)


@claim_test(lambda **_: any_cell)
def explains(cells: Cells, metric: Metric, within: bool, given_loss: bool) -> Evidence:
    """Spearman's rank correlation of log2 λ1 and accuracy over cell means; the interval is Fisher's, the p-value
    that of a permutation test. The seeds' own correlations must agree. Within regimes: ranks, and permutations,
    within each regime. At equal train loss: partial correlation."""
    if metric.column not in cells.trials:
        return untestable(cells, metric, "it needs an attack")
    points = cells.points(metric)
    basis = _correlation_basis(cells, metric, points, "rank correlation")
    if basis.cells < MIN_CELLS:
        return _too_few_cells(basis)
    columns = partial(_with_eigenvalue, within=within, given_loss=given_loss)
    found = permuted_correlation(*columns(points.means))
    if found.freedom < 3:
        return Impossible(**vars(basis), reason="too few cells in each regime")

    def test() -> TestResult:
        low, high = seeds_correlation_interval(rank_correlation(*columns(rows)) for rows in points.of_seeds)
        return TestResult(
            interval=fisher_interval(found.rho, found.freedom),
            p_for=found.p_less,
            p_against=found.p_greater,
            agrees_for=high < 0,
            agrees_against=low > 0,
        )

    return decide(basis, found.rho, test, _on_floor(cells, metric, points.means))


def _with_eigenvalue(rows: pd.DataFrame, within: bool, given_loss: bool) -> Columns:
    strata = list(rows["regime"]) if within else [""] * len(rows)
    given = rows["train_loss"].to_numpy() if given_loss else None
    return rows["x"].to_numpy(), rows["y"].to_numpy(), strata, given


# At equal train loss


@claim_test(lambda regime: of_regimes(regime))
def both_rise_at_equal_loss(cells: Cells, metric: Metric, regime: str) -> Evidence:
    """Where networks were kept at equal train loss: both slopes there must be above zero, as in Section 3.2. Else: both
    partial rank correlations with the batch size, given the train loss, must be above zero. The larger p-value counts.
    """
    loss = _snapshot(cells, metric, regime)
    if loss is None:
        return _given_loss(cells, metric, regime)
    found = both_rise(cells.at_snapshot(loss), metric, regime=regime)
    where = f"at the first epoch with a train loss of at most {loss:g}"
    return replace(found, detail="; ".join(filter(None, (where, found.detail))))


def _snapshot(cells: Cells, metric: Metric, regime: str) -> float | None:
    """The train loss whose snapshots have the most batch sizes, of equal ones the lowest; the numbers are not looked at."""
    counts = {}
    for loss in cells.snapshots:
        there = cells.at_snapshot(loss)
        measured = there.measured(metric, regime, BASE_MOMENTUM[regime])
        counts[loss] = sum(there.enough(EIGENVALUE, cell) for cell in measured)
    usable = [loss for loss, count in counts.items() if count > 1]
    return max(usable, key=lambda loss: (counts[loss], -loss), default=None)


def _given_loss(cells: Cells, metric: Metric, regime: str) -> Evidence:
    """Over batch sizes that all have the same momenta: else what momentum does would look like what the size does."""
    if metric.column not in cells.rows:
        return untestable(cells, metric, "it needs an attack")
    sizes, momenta = momentum_levels(cells, metric, [regime])
    rows = cells.rows[(cells.rows["regime"] == regime) & (cells.rows["status"] == "completed")]
    rows = rows[rows["batch_size"].isin(sizes) & rows["momentum"].isin(momenta)]
    columns = {"y": metric.scaled(rows[metric.column]), "c": EIGENVALUE.scaled(rows["eigenvalue"])}
    points = cell_means(rows, columns, len(cells.all_seeds))
    per = "rank correlation with the batch size at equal train loss"
    basis = _correlation_basis(cells, metric, points, per, of_regimes(regime))
    if basis.cells < MIN_CELLS:
        return _too_few_cells(basis, "no snapshots, and ", f" under {regime}")
    robust, curved = (permuted_correlation(*_with_size(points.means, column)) for column in ("y", "c"))

    def test() -> TestResult:
        (low, high), (low_curved, high_curved) = (
            seeds_correlation_interval(
                rank_correlation(*_with_size(rows, column)) for rows in points.of_seeds
            )
            for column in ("y", "c")
        )
        p_less = [robust.p_less, curved.p_less]
        return TestResult(
            interval=fisher_interval(robust.rho, robust.freedom),
            p_for=max(robust.p_greater, curved.p_greater),
            p_against=min(1.0, 2 * min(p_less)),
            agrees_for=low > 0 and low_curved > 0,
            agrees_against=(high, high_curved)[int(np.argmin(p_less))] < 0,
        )

    detail = f"partial rank correlation given the train loss; of λ1 {curved.rho:.2f}"
    basis = replace(basis, detail=detail)
    return decide(basis, robust.rho, test, _on_floor(cells, metric, points.means))


def _with_size(rows: pd.DataFrame, column: str) -> Columns:
    sizes = np.log2(rows["batch_size"].to_numpy(dtype=float))
    return sizes, rows[column].to_numpy(), [""] * len(rows), rows["train_loss"].to_numpy(dtype=float)


# Confidence


@claim_test(lambda: any_cell)
def follows_confidence(cells: Cells, metric: Metric) -> Evidence:
    """Sizes of two Spearman correlations over the same cell means, of accuracy with mean confidence and with λ1. The
    p-value is the share of all exchanges of the two, cell by cell, that differ as much. The seeds' own differences,
    whose mean and interval are shown, must agree by Student's t."""
    if metric.column not in cells.trials:
        return untestable(cells, metric, "it needs an attack")
    rows = cells.trials[cells.trials["status"] == "completed"]
    if "confidence" not in rows or not rows["confidence"].notna().any():
        return untestable(cells, metric, "the confidence was not measured")
    columns = {
        "y": metric.scaled(rows[metric.column]),
        "curvature": EIGENVALUE.scaled(rows["eigenvalue"]),
        "confidence": rows["confidence"].astype(float),
    }
    points = cell_means(rows, columns, len(cells.all_seeds))
    per = "more rank correlation with confidence than with λ1"
    basis = _correlation_basis(cells, metric, points, per)
    if basis.cells < MIN_CELLS:
        return _too_few_cells(basis)
    found, own = _compared(points.means), _differences(points.of_seeds)

    def test() -> TestResult:
        low, high = seeds_interval(own)
        return TestResult(
            interval=(low, high),
            p_for=found.p_for,
            p_against=found.p_against,
            agrees_for=low > 0,
            agrees_against=high < 0,
        )

    detail = f"rank correlation {found.first:.2f} with confidence, {found.second:.2f} with λ1"
    basis = replace(basis, detail=detail)
    effect = float(own.mean()) if len(own) else found.difference
    return decide(basis, effect, test, _on_floor(cells, metric, points.means))


def _differences(of_seeds: Sequence[pd.DataFrame]) -> Array:
    return np.array([_compared(rows).difference for rows in of_seeds])


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
