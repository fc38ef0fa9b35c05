"""Evidence on the eigenvalue and robustness together."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from tfsgd.reporting.batch_evidence import at_base_momentum, trend_over_all
from tfsgd.reporting.cells import EIGENVALUE, Cells, Metric
from tfsgd.reporting.contrasts import nothing, on_floor, shortfall_of
from tfsgd.reporting.evidence import Described, Evidence, Impossible, Tested
from tfsgd.reporting.paper import MIN_CELLS, MIN_SEEDS
from tfsgd.reporting.ranges import Gather, where_it_trains
from tfsgd.reporting.statistics import (
    Array,
    Correlation,
    fisher_interval,
    permuted_correlation,
    rank_correlation,
    t_quantile,
)


def both_rise(regime: str) -> Gather:
    """The eigenvalue and the adversarial accuracy both rise with the batch size."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        robustness = trend_over_all(regime, 1)(cells, metric)
        curvature = trend_over_all(regime, 1)(cells, EIGENVALUE)
        troubles = [*robustness.spoilt.split(", "), *curvature.spoilt.split(", ")]
        robustness = replace(robustness, spoilt=", ".join(dict.fromkeys(filter(None, troubles))))
        if not isinstance(curvature, Impossible):
            ends = (
                f" [{curvature.interval[0]:.3g}, {curvature.interval[1]:.3g}]" if curvature.interval else ""
            )
            detail = f"λ1: factor {curvature.effect:.3g}{ends} per doubling"
            robustness = replace(robustness, detail=detail)
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

    return where_it_trains(evidence, at_base_momentum(regime))


def explains(within: bool, given_loss: bool) -> Gather:
    """A higher eigenvalue goes with a lower adversarial accuracy: rank correlation of cell means."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        if metric.column not in cells.trials:
            return nothing(cells, metric, "it needs an attack")
        means, seeds = cells.points(metric)
        basis: dict[str, Any] = {
            "unit": "rank correlation",
            "seeds": len(seeds),
            "cells": len(means),
            "batch_sizes": means["batch_size"].nunique(),
            "n": f"{len(means)} cells, {len(seeds)} {'seed' if len(seeds) == 1 else 'seeds'}",
            "spoilt": cells.spoilt(EIGENVALUE),
            "doubts": cells.doubts(metric),
        }
        if len(means) < MIN_CELLS:
            return Impossible(reason=f"{len(means)} of at least {MIN_CELLS} cells", **basis)
        found = _tested(means, within, given_loss)
        if found.freedom < 3:
            return Impossible(reason="too few cells in each regime", **basis)
        floor = on_floor(means["y"].to_numpy()[None], metric, cells.chance)
        basis |= {"effect": found.rho, "floor": floor}
        shortfall = shortfall_of(len(seeds), basis["batch_sizes"])
        if shortfall:
            return Described(reason=shortfall, **basis)
        down, up = _seeds_agree(seeds, within, given_loss)
        return Tested(
            interval=fisher_interval(found.rho, found.freedom),
            p_for=found.p_less,
            p_against=found.p_greater,
            agrees_for=down,
            agrees_against=up,
            **basis,
        )

    return where_it_trains(evidence, lambda _: True)


def _tested(rows: pd.DataFrame, within: bool, given_loss: bool) -> Correlation:
    return permuted_correlation(*_columns(rows, within, given_loss))


def _columns(
    rows: pd.DataFrame, within: bool, given_loss: bool
) -> tuple[Array, Array, list[str], Array | None]:
    strata = list(rows["regime"]) if within else [""] * len(rows)
    given = rows["train_loss"].to_numpy() if given_loss else None
    return rows["x"].to_numpy(), rows["y"].to_numpy(), strata, given


def _seeds_agree(seeds: Sequence[pd.DataFrame], within: bool, given_loss: bool) -> tuple[bool, bool]:
    """Whether the correlation is below zero, or above, by Student's t over one correlation a seed."""
    found = [rank_correlation(*_columns(rows, within, given_loss)) for rows in seeds]
    of_seed = np.arctanh(np.clip([rho for rho, freedom in found if freedom >= 3], -0.999, 0.999))
    if len(of_seed) < MIN_SEEDS:
        return False, False
    half = t_quantile(0.975, len(of_seed) - 1) * of_seed.std(ddof=1) / math.sqrt(len(of_seed))
    mean = of_seed.mean()
    return bool(mean + half < 0), bool(mean - half > 0)
