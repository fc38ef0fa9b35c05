"""Simulations that hold the verdicts to their level: families, kinds of claims, trials that collapse, agreement.

`python -m tests.null_claims 2000` prints the tables that stand in docs/reading-the-report.md.
"""

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd

from tests.synthetic import Table, experiment
from tfsgd.reporting.claims.agreement import agreement_of, knobs_of
from tfsgd.reporting.claims.claims import StatedClaim, shipped_claims
from tfsgd.reporting.claims.verdicts import judge
from tfsgd.reporting.paper import ALPHA
from tfsgd.reporting.statistics import holm
from tfsgd.reporting.table.cells import Cells

Rng = np.random.Generator
Collapse = Callable[[Table, pd.DataFrame, Rng], np.ndarray]  # (trials,) bool

MOMENTA = [0.0, 0.5, 0.9]
REGIMES: dict[str, Any] = {
    "LR": {"learning_rate": 0.01, "momentum": MOMENTA},
    "LR/BS": {"ratio": 0.00015625, "momentum": MOMENTA},
    "Benchmark": {"learning_rate": 0.01, "halve_every_epochs": 5, "momentum": [0.9]},
}
SIZES = [16, 64, 256, 1024]
WITHIN = ("equivalent", "non_inferior")  # without an effect they are right


def null_table(seeds: int, batch_sizes: list[int] | None = None) -> Table:
    sizes = batch_sizes or SIZES
    return Table(experiment(batch_sizes=sizes, seeds=[*range(seeds)], regimes=REGIMES), (0.3,))


def asked(roles: tuple[str, ...] = ("primary",)) -> list[StatedClaim]:
    return [c for c in shipped_claims("mnist", "stdcnn", [("fgsm", 0.3)]) if c.role in roles]


def spread_of(of: Table, name: str) -> np.ndarray:
    """Equal noise everywhere, or at the largest batch size six times as much."""
    return np.where((of.batch_size == of.batch_size.max()) & (name == "unequal"), 6.0, 1.0)


def at_the_margin(of: Table) -> dict[str, Any]:
    """The hardest null of near-constancy: the ends of every knob differ by the margin itself."""
    share = (of.doublings - of.doublings.min()) / (
        of.doublings.max() - of.doublings.min()
    ) + of.momentum / 0.9
    return {
        "accuracy": -0.02 * share,
        "log2_eigenvalue": np.log2(1.5) * share,
        "log2_epsilon": -np.log2(1.25) * share,
    }


# Trials that collapse


def at_random(of: Table, trials: pd.DataFrame, rng: Rng) -> np.ndarray:
    """One trial in 50, whatever it is."""
    return rng.random(len(trials)) < 0.02


def at_the_largest(of: Table, trials: pd.DataFrame, rng: Rng) -> np.ndarray:
    """All at the largest batch size, and each second time half of those at the next smaller one."""
    sizes = np.unique(of.batch_size)
    also = (of.batch_size == sizes[-2]) & (rng.random(len(trials)) < 0.5) & (rng.random() < 0.5)
    return np.asarray((of.batch_size == sizes[-1]) | also)


def where_it_is_fragile(of: Table, trials: pd.DataFrame, rng: Rng) -> np.ndarray:
    """Those whose smallest epsilon would have been small: at the largest batch size 40 % of them."""
    merit = trials["smallest_epsilon"].to_numpy()
    share = 0.4 * ((of.doublings - of.doublings.min()) / np.ptp(of.doublings)) ** 2
    result = np.zeros(len(merit), bool)
    for size in np.unique(of.batch_size):
        inside = of.batch_size == size
        result[inside] = merit[inside] < np.quantile(merit, share[inside][0])
    return result


COLLAPSES: dict[str, Collapse] = {
    "none": lambda of, trials, rng: np.zeros(len(trials), bool),
    "at random": at_random,
    "at the largest batch sizes": at_the_largest,
    "where the smallest ε is small": where_it_is_fragile,
}


# Rates


def family_error(of: Table, sets: int, seed: int, collapse: str = "none", **truth: Any) -> float:
    """The share of data sets without any effect in which some primary claim is falsely decided."""
    rng, claims, wrong = np.random.default_rng(seed), asked(), 0
    for _ in range(sets):
        trials = of.filled(rng, **truth)
        trials.loc[COLLAPSES[collapse](of, trials, rng), "status"] = "collapsed"
        found = judge(trials, claims)
        wrong += any(
            j.verdict == "contradicted" or (j.verdict == "supported" and j.asked.claim.kind not in WITHIN)
            for j in found
        )
    return wrong / sets


def sizes_of_tests(of: Table, sets: int, seed: int, **truth: Any) -> dict[str, float]:
    """The share of data sets in which each kind of test is wrong at 5 %, before Holm's correction.

    Near-constancy is tried where the ends differ by the margin itself, the others where there is no effect.
    """
    rng, claims = np.random.default_rng(seed), asked(("primary", "secondary"))
    wrong: Counter[str] = Counter()
    count = Counter(c.claim.kind for c in claims)
    for _ in range(sets):
        null, edge = of.filled(rng, **truth), of.filled(rng, **truth, **at_the_margin(of))
        for j in judge(null, [c for c in claims if c.claim.kind not in WITHIN]):
            wrong[j.asked.claim.kind] += j.evidence.p is not None and j.evidence.p < ALPHA
        for j in judge(edge, [c for c in claims if c.claim.kind in WITHIN]):
            wrong[j.asked.claim.kind] += j.evidence.p_for is not None and j.evidence.p_for < ALPHA
    return {kind: wrong[kind] / sets / count[kind] for kind in count}


def power(of: Table, sets: int, seed: int, **truth: Any) -> dict[str, float]:
    """The share of data sets in which each primary kind is decided, where λ1 and the smallest ε do as the paper says."""
    lr = of.in_regime("LR") & (of.regime != "LR/BS") | (of.regime == "Benchmark")
    curvature = np.where(lr, 0.3 * of.doublings, 0.0) - np.where(of.regime == "LR", 1.0, 0.0) * of.momentum
    epsilon = np.where(lr, -0.15 * of.doublings, 0.0) + np.where(of.regime == "LR", 0.5, 0.0) * of.momentum
    rng, claims = np.random.default_rng(seed), asked()
    decided: Counter[str] = Counter()
    count = Counter(c.claim.kind for c in claims)
    for _ in range(sets):
        for j in judge(of.filled(rng, log2_eigenvalue=curvature, log2_epsilon=epsilon, **truth), claims):
            decided[j.asked.claim.kind] += j.verdict in ("supported", "contradicted")
    return {kind: decided[kind] / sets / count[kind] for kind in count}


def agreement_error(of: Table, sets: int, seed: int, measures: int = 5) -> float:
    """The share of null grids in which some entry of the agreement table is told from 0 after Holm's correction."""
    rng, wrong = np.random.default_rng(seed), 0
    rows = Cells(of.filled(rng), 0.1).rows.reset_index(drop=True)
    first = rows.drop_duplicates("folder").index
    place = {folder: n for n, folder in enumerate(rows.loc[first, "folder"])}
    which = rows["folder"].map(place).to_numpy()
    lines = knobs_of(rows)
    trend = 0.2 * of.doublings
    for _ in range(sets):
        robustness = (trend + rng.normal(size=len(first)))[which]
        found = [
            agreement_of(rng.normal(size=len(first))[which], robustness, of_knob)
            for of_knob in lines.values()
            for _ in range(measures)
        ]
        wrong += min(holm([a.p for a in found if a])) < ALPHA
    return wrong / sets


def tables(sets: int) -> Iterator[str]:
    """The tables of docs/reading-the-report.md, as Markdown."""
    yield (
        "| seeds | slopes of the seeds | noise | family error | "
        + " | ".join(
            f"{kind}: size" for kind in ("trend", "interaction", "both", "equivalent", "non_inferior")
        )
        + " | power: trend | interaction | non_inferior |"
    )
    yield "|---" * 12 + "|"
    for seeds in (3, 5):
        of = null_table(seeds)
        for interaction in (0.0, 2.0):
            for noise in ("equal", "unequal"):
                truth: dict[str, Any] = {"interaction": interaction, "spread": spread_of(of, noise)}
                size, strong = sizes_of_tests(of, sets, 1, **truth), power(of, sets, 2, **truth)
                cells = [f"{family_error(of, sets, 0, **truth):.1%}"]
                cells += [
                    f"{size[k]:.1%}" for k in ("trend", "interaction", "both", "equivalent", "non_inferior")
                ]
                cells += [f"{strong[k]:.0%}" for k in ("trend", "interaction", "non_inferior")]
                yield (
                    f"| {seeds} | {'differ' if interaction else 'equal'} | {noise} | "
                    + " | ".join(cells)
                    + " |"
                )
    yield ""
    yield "| seeds | trials that collapse | family error |"
    yield "|---|---|---|"
    for seeds in (3, 5):
        for name in COLLAPSES:
            yield f"| {seeds} | {name} | {family_error(null_table(seeds), sets, 3, name):.1%} |"
    yield ""
    yield f"Agreement, 3 seeds, 5 measures: {agreement_error(null_table(3), sets, 4):.1%} of null grids."


if __name__ == "__main__":
    for line in tables(int(sys.argv[1])):
        print(line, flush=True)
