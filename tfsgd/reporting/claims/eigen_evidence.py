"""Evidence on the eigenvalue and robustness together."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd

from tfsgd.reporting.claims.batch_evidence import trend_over_all
from tfsgd.reporting.claims.contrasts import nothing, on_floor, shortfall_of
from tfsgd.reporting.claims.evidence import Described, Evidence, Impossible, Tested, effect_in_words
from tfsgd.reporting.claims.on_trained_range import Gather, where_it_trains
from tfsgd.reporting.paper import MIN_CELLS
from tfsgd.reporting.statistics import (
    Array,
    fisher_interval,
    permuted_correlation,
    rank_correlation,
    seeds_correlation_interval,
)
from tfsgd.reporting.table.cells import EIGENVALUE, Cells, Metric, at_base_momentum


def both_rise(regime: str) -> Gather:
    """The eigenvalue and the adversarial accuracy both rise with the batch size."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        robustness = trend_over_all(regime, 1)(cells, metric)
        curvature = trend_over_all(regime, 1)(cells, EIGENVALUE)
        troubles = [*robustness.spoilt.split(", "), *curvature.spoilt.split(", ")]
        robustness = replace(robustness, spoilt=", ".join(dict.fromkeys(filter(None, troubles))))
        if not isinstance(curvature, Impossible):
            said = effect_in_words(curvature.effect, curvature.interval, curvature.unit)
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

    return where_it_trains(evidence, at_base_momentum(regime))


def explains(within: bool, given_loss: bool) -> Gather:
    """A higher eigenvalue goes with a lower adversarial accuracy: rank correlation of cell means."""

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        if metric.column not in cells.trials:
            return nothing(cells, metric, "it needs an attack")
        points = cells.points(metric)
        means, seeds = points.means, points.of_seeds
        basis = points.basis | {
            "unit": "rank correlation",
            "spoilt": cells.spoilt(EIGENVALUE),
            "doubts": cells.doubts(metric),
        }
        if len(means) < MIN_CELLS:
            return Impossible(reason=f"{len(means)} of at least {MIN_CELLS} cells", **basis)
        found = permuted_correlation(*_columns(means, within, given_loss))
        if found.freedom < 3:
            return Impossible(reason="too few cells in each regime", **basis)
        floor = on_floor(means["y"].to_numpy(), metric, cells.chance)
        basis |= {"effect": found.rho, "floor": floor}
        shortfall = shortfall_of(basis)
        if shortfall:
            return Described(reason=shortfall, **basis)
        low, high = seeds_correlation_interval(
            rank_correlation(*_columns(rows, within, given_loss)) for rows in seeds
        )
        return Tested(
            interval=fisher_interval(found.rho, found.freedom),
            p_for=found.p_less,
            p_against=found.p_greater,
            agrees_for=high < 0,
            agrees_against=low > 0,
            **basis,
        )

    return where_it_trains(evidence, lambda _: True)


def _columns(
    rows: pd.DataFrame, within: bool, given_loss: bool
) -> tuple[Array, Array, list[str], Array | None]:
    strata = list(rows["regime"]) if within else [""] * len(rows)
    given = rows["train_loss"].to_numpy() if given_loss else None
    return rows["x"].to_numpy(), rows["y"].to_numpy(), strata, given
