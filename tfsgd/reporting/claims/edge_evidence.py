"""Tests on the edge of stability: does its ceiling hold λ1 down, and is momentum more than a larger rate?"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy import special

from tfsgd.reporting.claims.batch_evidence import batch_sizes
from tfsgd.reporting.claims.claim_test import claim_test, on_trained_range
from tfsgd.reporting.claims.contrasts import (
    basis_of,
    equivalence_test,
    no_seed,
    shown,
    unit_of,
    untestable,
    within_margin,
)
from tfsgd.reporting.claims.evidence import Basis, Evidence, TestResult, decide
from tfsgd.reporting.paper import BASE_MOMENTUM, CEILING_TOLERANCE, LARGE_BATCH_SIZE, MIN_BATCH_SIZES, ZERO
from tfsgd.reporting.statistics import Array, student_interval
from tfsgd.reporting.table.cell import SETTINGS, Cell, at_base_momentum, is_plain, of_regimes
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import Metric


@claim_test()
def below_ceiling(cells: Cells, metric: Metric, regime: str) -> Evidence:
    """In every cell, one-sided: the mean of log2 of λ1 over its ceiling 2(1+γ)/η lies below log2 {ceiling_tolerance},
    since λ1 hovers just above a ceiling that it has reached. All cells must pass; that one lies above is tested with
    Bonferroni's correction."""
    # An intersection-union test (Berger 1982), whose error is the cells' pooled spread over the seeds. All cells that
    # trained are judged, also where others of their batch size did not: those next to a collapse come close to the ceiling.
    wanted = [cell for m in cells.momenta(regime) for cell in cells.measured(metric, regime, m)]
    if not wanted:
        what = f"no λ1 of {regime} that can be set against its ceiling"
        return untestable(cells, metric, what, cells.invalid_trials(metric, of_regimes(regime)))
    table = cells.table(metric, wanted)
    basis = basis_of(cells, metric, table, wanted)
    if len(table) == 0:
        return no_seed(basis)
    highest = int(table.mean(0).argmax())

    def test() -> TestResult:
        means = _means(table, math.log2(CEILING_TOLERANCE))
        most = int(means.p_above.argmin())
        return TestResult(
            interval=(shown(metric, float(means.low[highest])), shown(metric, float(means.high[highest]))),
            p_for=float(means.p_below.max()),
            p_against=min(1.0, len(wanted) * float(means.p_above[most])),
            agrees_for=bool((means.high < means.limit).all()),
            agrees_against=bool(means.low[most] > means.limit),
        )

    _, b, m = wanted[highest]
    unit = unit_of(metric, f"of the ceiling at batch size {b} and momentum {m:g}, the highest")
    basis = replace(_where_cells_trained(cells, metric, regime, basis), unit=unit)
    return decide(basis, shown(metric, float(table.mean(0)[highest])), test)


def _where_cells_trained(cells: Cells, metric: Metric, regime: str, basis: Basis) -> Basis:
    """Of a claim on each cell by itself: a cell is left out that did not train, and not its batch size."""
    bad, sample = cells.bad_trials(of_regimes(regime)), set(basis.sample)
    basis = replace(basis, invalid_trials=cells.invalid_trials(metric, lambda cell: cell in sample))
    return replace(basis, trains=tuple(sorted({c.batch_size for c in sample})), bad=bad) if bad else basis


@dataclass(frozen=True)
class _Means:
    """Cell means against a limit: one-sided p-values by the pooled spread, 95 % intervals by each cell's own."""

    limit: float
    p_below: Array
    p_above: Array
    low: Array
    high: Array


def _means(table: Array, limit: float) -> _Means:
    seeds, cells = table.shape
    mean, freedom = table.mean(0), (seeds - 1) * cells
    pooled = math.sqrt(float(((table - mean) ** 2).sum()) / freedom / seeds)
    statistic = (mean - limit) / np.maximum(pooled, ZERO * np.abs(mean - limit) + ZERO**2)
    return _Means(
        limit,
        np.asarray(special.stdtr(freedom, statistic)),
        np.asarray(special.stdtr(freedom, -statistic)),
        *student_interval(table),
    )


@claim_test(lambda: at_base_momentum("LR/BS"))
def ceiling_falls(cells: Cells, metric: Metric) -> Evidence:
    """Equivalence of λ1 η over the batch sizes from {large_batch_size} on: for every pair, two one-sided tests that
    it stays within a factor of {constant_factor}. Seeds are paired blocks."""
    regime, momentum = "LR/BS", BASE_MOMENTUM["LR/BS"]
    wanted = [c for c in cells.measured(metric, regime, momentum) if c.batch_size >= LARGE_BATCH_SIZE]
    if len(wanted) < 2:
        what = f"{regime} at momentum {momentum:g}: {len(wanted)} of at least 2 batch sizes from {LARGE_BATCH_SIZE} on"
        return untestable(cells, metric, what, cells.invalid_trials(metric, at_base_momentum(regime)))
    return equivalence_test(cells, metric, batch_sizes(wanted))


# Momentum


@dataclass(frozen=True)
class _Control:
    """A momentum of LR, and the cells without momentum at the rate η/(1−γ), one for each batch size."""

    momentum: float
    cells: tuple[Cell, ...]
    controls: tuple[Cell, ...]


@claim_test()
def momentum_is_rate(cells: Cells, metric: Metric) -> Evidence:
    """Equivalence: for each momentum γ of LR, two one-sided tests that λ1 stays within a factor of {constant_factor}
    of that of trials without momentum at the rate η/(1−γ), at the same batch sizes. Seeds are paired blocks."""
    rates = _rates(cells)
    controls = {other for cell in rates for other in rates if _is_control(other, cell, rates)}

    def concerns(cell: Cell) -> bool:
        return cell.regime == "LR" or cell in controls

    return on_trained_range(_momentum_against_rate, concerns, cells, metric)


def _momentum_against_rate(cells: Cells, metric: Metric) -> Evidence:
    """Two one-sided tests for each momentum, averaged over the batch sizes; all must pass."""
    found = _controls(cells, metric)
    if not found:
        what = "it needs trials without momentum at the rate η/(1−γ) of LR, such as a regime `learning_rate: 0.1`"
        return untestable(cells, metric, what)
    wanted = list(dict.fromkeys(cell for c in found for cell in (*c.cells, *c.controls)))
    table = cells.table(metric, wanted)
    basis = basis_of(cells, metric, table, wanted)
    basis = replace(basis, batch_sizes=min(len(control.cells) for control in found))
    if len(table) == 0:
        return no_seed(basis)
    weights = [_weights(control, wanted) for control in found]
    differences = [float((table @ w).mean()) for w in weights]
    widest = int(np.argmax(np.abs(differences)))
    sizes = (f"{len(control.cells)} at momentum {control.momentum:g}" for control in found)
    per = f"of momentum {found[widest].momentum:g} against its rate alone, the widest"
    basis = replace(basis, unit=unit_of(metric, per), detail=f"batch sizes: {', '.join(sizes)}")
    effect = shown(metric, differences[widest])
    return decide(basis, effect, lambda: within_margin(table, weights, metric, weights[widest]))


def _controls(cells: Cells, metric: Metric) -> list[_Control]:
    """For each momentum of LR; where some have enough batch sizes for a test, only these."""
    rates = _rates(cells)
    found: dict[float, list[tuple[Cell, Cell]]] = {}
    for cell in rates:
        alike = (other for other in rates if _is_control(other, cell, rates) and cells.enough(metric, other))
        control = next(alike, None)
        if control and cells.enough(metric, cell):
            found.setdefault(cell.momentum, []).append((cell, control))
    controls = [
        _Control(momentum, *map(tuple, zip(*sorted(pairs), strict=True)))
        for momentum, pairs in sorted(found.items())
    ]
    need = min(MIN_BATCH_SIZES, max((len(control.cells) for control in controls), default=0))
    return [control for control in controls if len(control.cells) >= need]


def _rates(cells: Cells) -> dict[Cell, tuple[float, int]]:
    """Learning rate and epochs of each cell whose rate is constant, whatever became of its trials."""
    rows = cells.rows[[c for c in ("regime", *SETTINGS, "epochs") if c in cells.rows]].drop_duplicates()
    rows = rows[is_plain(rows)].to_dict("records")
    return {
        Cell(r["regime"], r["batch_size"], r["momentum"]): (r["learning_rate"], r["epochs"]) for r in rows
    }


def _is_control(other: Cell, cell: Cell, rates: Mapping[Cell, tuple[float, int]]) -> bool:
    """Whether a cell trains without momentum as a cell of LR does with it: equal size, epochs, and η/(1−γ)."""
    (rate, epochs), (its_rate, its_epochs) = rates[cell], rates[other]
    return (
        cell.regime == "LR"
        and cell.momentum != 0
        and other.momentum == 0
        and (other.batch_size, its_epochs) == (cell.batch_size, epochs)
        and math.isclose(its_rate, rate / (1 - cell.momentum))
    )


def _weights(control: _Control, wanted: list[Cell]) -> Array:
    weights = np.zeros(len(wanted))
    for cells, sign in ((control.cells, 1.0), (control.controls, -1.0)):
        for cell in cells:
            weights[wanted.index(cell)] += sign / len(cells)
    return weights
