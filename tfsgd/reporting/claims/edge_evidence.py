"""Evidence on the edge of stability: does its ceiling hold λ1 down, and is momentum more than a larger rate?"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy import special

from tfsgd.reporting.claims.contrasts import (
    Levels,
    against_margin,
    basis_of,
    nothing,
    shortfall_of,
    shown,
    within_margin,
)
from tfsgd.reporting.claims.evidence import Described, Evidence, Impossible, Tested
from tfsgd.reporting.claims.on_trained_range import Gather, left_out, where_it_trains
from tfsgd.reporting.paper import (
    BASE_MOMENTUM,
    CEILING_TOLERANCE,
    LARGE_BATCH_SIZE,
    MIN_BATCH_SIZES,
    ZERO,
)
from tfsgd.reporting.statistics import Array, contrast, student_interval
from tfsgd.reporting.table.cells import Cell, Cells, Metric, at_base_momentum, of_regimes


def below_ceiling(regime: str) -> Gather:
    """In every cell of a regime λ1 is at most its ceiling, or just above; the metric is their ratio.

    An intersection-union test (Berger 1982) over the cells, whose error is their pooled spread over the seeds; that
    some cell lies above is tested with Bonferroni's correction over the cells. All cells that trained are judged, also
    where others of their batch size did not: those next to a collapse are the ones that come close to their ceiling.
    """

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        wanted = [cell for m in cells.momenta(regime) for cell in cells.measured(metric, regime, m)]
        if not wanted:
            spoilt = cells.spoilt(metric, of_regimes(regime))
            return nothing(cells, metric, f"no λ1 of {regime} that can be set against its ceiling", spoilt)
        table = cells.table(metric, wanted)
        basis = basis_of(cells, metric, table, wanted)
        if len(table) == 0:
            return Impossible(reason="no seed has all of the cells", **basis)
        highest = int(table.mean(0).argmax())
        _, b, m = wanted[highest]
        basis |= {
            "unit": f"factor of the ceiling at batch size {b} and momentum {m:g}, the highest",
            "effect": shown(metric, float(table.mean(0)[highest])),
            "floor": False,
        }
        basis |= _where_cells_trained(cells, metric, regime, wanted)
        shortfall = shortfall_of(basis)
        if shortfall:
            return Described(reason=shortfall, **basis)
        means = _means(table, math.log2(CEILING_TOLERANCE))
        most = int(means.p_above.argmin())
        low, high = float(means.low[highest]), float(means.high[highest])
        return Tested(
            interval=(shown(metric, low), shown(metric, high)),
            p_for=float(means.p_below.max()),
            p_against=min(1.0, len(wanted) * float(means.p_above[most])),
            agrees_for=bool((means.high < means.limit).all()),
            agrees_against=bool(means.low[most] > means.limit),
            **basis,
        )

    return evidence


def _where_cells_trained(cells: Cells, metric: Metric, regime: str, wanted: Sequence[Cell]) -> dict[str, Any]:
    """Of a claim on each cell by itself: a cell is left out that did not train, and not its batch size."""
    bad = cells.bad_trials(of_regimes(regime))
    sizes = sorted({cell.batch_size for cell in wanted})
    where = {"trains": tuple(sizes), "left_out": left_out(sizes, sizes, bad)} if bad else {}
    return {"spoilt": cells.spoilt(metric, lambda cell: cell in wanted), **where}


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


def ceiling_falls(cells: Cells, metric: Metric) -> Evidence:
    """Under LR/BS any two large batch sizes have the same λ1 times rate, within the margin."""
    regime, momentum = "LR/BS", BASE_MOMENTUM["LR/BS"]
    wanted = [c for c in cells.measured(metric, regime, momentum) if c.batch_size >= LARGE_BATCH_SIZE]
    if len(wanted) < 2:
        what = f"{regime} at momentum {momentum:g}: {len(wanted)} of at least 2 batch sizes from {LARGE_BATCH_SIZE} on"
        return nothing(cells, metric, what, cells.spoilt(metric, at_base_momentum(regime)))
    sizes = [cell.batch_size for cell in wanted]
    return within_margin(cells, metric, Levels(wanted, sizes, np.eye(len(sizes)), "batch sizes"))


# Momentum


@dataclass(frozen=True)
class _Control:
    """A momentum of LR, and the cells without momentum at the rate η/(1−γ), one for each batch size."""

    momentum: float
    cells: tuple[Cell, ...]
    controls: tuple[Cell, ...]


def momentum_is_rate(cells: Cells, metric: Metric) -> Evidence:
    """`momentum_alike`, where LR and the cells that LR is compared with train; others may collapse."""
    rates = _rates(cells)
    controls = {other for cell in rates for other in rates if _is_control(other, cell, rates)}
    return where_it_trains(momentum_alike, lambda cell: cell.regime == "LR" or cell in controls)(
        cells, metric
    )


def momentum_alike(cells: Cells, metric: Metric) -> Evidence:
    """At each momentum γ of LR the metric is, within the margin, that without momentum at the rate η/(1−γ).

    Two one-sided tests for each momentum, averaged over the batch sizes; all must pass.
    """
    found = _controls(cells, metric)
    if not found:
        what = "it needs trials without momentum at the rate η/(1−γ) of LR, such as a regime `learning_rate: 0.1`"
        return nothing(cells, metric, what)
    wanted = list(dict.fromkeys(cell for c in found for cell in (*c.cells, *c.controls)))
    table = cells.table(metric, wanted)
    basis = basis_of(cells, metric, table, wanted)
    basis["batch_sizes"] = min(len(control.cells) for control in found)
    if len(table) == 0:
        return Impossible(reason="no seed has all of the cells", **basis)
    weights = [_weights(control, wanted) for control in found]
    differences = [float((table @ w).mean()) for w in weights]
    widest = int(np.argmax(np.abs(differences)))
    basis |= {
        "unit": f"factor of momentum {found[widest].momentum:g} against its rate alone, the widest",
        "effect": shown(metric, differences[widest]),
        "floor": False,
        "detail": "batch sizes: "
        + ", ".join(f"{len(control.cells)} at momentum {control.momentum:g}" for control in found),
    }
    shortfall = shortfall_of(basis)
    if shortfall:
        return Described(reason=shortfall, **basis)
    tests = [against_margin(table, w, metric.margin) for w in weights]
    beyond = min(tests, key=lambda t: t.p_beyond)
    interval = contrast(table, weights[widest])
    return Tested(
        interval=(shown(metric, interval.low), shown(metric, interval.high)),
        p_for=max(t.p_within for t in tests),
        p_against=min(1.0, 2 * len(tests) * beyond.p_beyond),
        agrees_for=all(t.is_within for t in tests),
        agrees_against=beyond.is_beyond,
        **basis,
    )


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
    keys = ["regime", "batch_size", "momentum", "learning_rate", "halve_every_epochs", "epochs"]
    rows = cells.rows[keys].drop_duplicates()
    rows = rows[rows["halve_every_epochs"].isna()].to_dict("records")
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
