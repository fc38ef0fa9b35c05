"""Simulations without any effect, in which trials collapse: how often does the range that trains make a verdict?

`python -m tests.null_ranges 2000` prints the figures that stand in docs/reading-the-report.md.
"""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from tests.synthetic import Table, experiment
from tfsgd.reporting.claims.claims import claims
from tfsgd.reporting.claims.evidence import Tested
from tfsgd.reporting.claims.verdicts import Judgement, judge
from tfsgd.reporting.paper import ACCURACY_MARGIN, ALPHA, EIGENVALUE_MARGIN
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import attacked

Rng = np.random.Generator
Collapse = Callable[[Table, pd.DataFrame, Rng], np.ndarray]  # (trials,) bool

MOMENTA = [0.0, 0.5, 0.9]
REGIMES: dict[str, Any] = {
    "LR": {"learning_rate": 0.01, "momentum": MOMENTA},
    "LR/BS": {"ratio": 0.00015625, "momentum": MOMENTA},
    "Benchmark": {"learning_rate": 0.01, "halve_every_epochs": 5, "momentum": [0.9]},
}
FEW: dict[str, Any] = {  # few claims, so that Holm's correction helps least
    "LR": {"learning_rate": 0.01, "momentum": [0.0]},
    "LR/BS": {"ratio": 0.00015625, "momentum": [0.0]},
}
FOUR = [64, 256, 1024, 4096]
SEVEN = [64, 128, 256, 512, 1024, 2048, 4096]
ATTACKS = [("fgsm", 0.3)]


def null_table(batch_sizes: list[int], seeds: int, regimes: dict[str, Any]) -> Table:
    of = Table(experiment(batch_sizes=batch_sizes, seeds=[*range(seeds)], regimes=regimes), (0.3,))
    of.columns.remove("pgd_0.3")
    return of


def at_random(of: Table, trials: pd.DataFrame, rng: Rng) -> np.ndarray:
    """One trial in 50, whatever it is."""
    return rng.random(len(trials)) < 0.02


def at_the_largest(of: Table, trials: pd.DataFrame, rng: Rng) -> np.ndarray:
    """All at the largest batch size, and each second time half of those at the next smaller one."""
    sizes = np.unique(of.batch_size)
    also = (of.batch_size == sizes[-2]) & (rng.random(len(trials)) < 0.5) & (rng.random() < 0.5)
    return np.asarray((of.batch_size == sizes[-1]) | also)


def with_low_accuracy(of: Table, trials: pd.DataFrame, rng: Rng) -> np.ndarray:
    """Those whose accuracy, natural or under attack, would have been low: at the largest batch size 40 % of them."""
    return _graded(of, trials[["test_accuracy", "fgsm_0.3"]].min(axis=1).to_numpy())


def with_high_eigenvalue(of: Table, trials: pd.DataFrame, rng: Rng) -> np.ndarray:
    """Those whose λ1 would have been high: at the largest batch size 40 % of them."""
    return _graded(of, -trials["eigenvalue"].to_numpy())


def _graded(of: Table, merit: np.ndarray) -> np.ndarray:
    """The worst of each batch size: none at the smallest, 40 % at the largest, quadratic in between."""
    share = 0.4 * (of.doublings / of.doublings.max()) ** 2
    result = np.zeros(len(merit), bool)
    for size in np.unique(of.batch_size):
        inside = of.batch_size == size
        result[inside] = merit[inside] < np.quantile(merit[of.doublings > 0], share[inside][0])
    return result


KINDS: dict[str, Collapse] = {
    "at random": at_random,
    "at the largest batch sizes": at_the_largest,
    "where accuracy is low": with_low_accuracy,
    "where λ1 is high": with_high_eigenvalue,
}


@dataclass(frozen=True)
class Rates:
    """Shares of the data sets, in [0, 1]."""

    any_false: float  # with at least one false verdict among all claims: the family
    worst_claim: float  # the claim that is falsely judged most often
    narrowed: float  # of the verdicts that could be given, those on a range


def is_false(j: Judgement) -> bool:
    """Without any effect, near-constancy is right and everything else that is definite is wrong."""
    constant = "constant" in j.claim.key
    return j.verdict == "contradicted" or (j.verdict == "supported" and not constant)


def simulate(collapse: Collapse, of: Table, sets: int, seed: int) -> Rates:
    """Judges so many data sets without any effect, in which trials collapse."""
    rng = np.random.default_rng(seed)
    families, tested, narrowed = 0, 0, 0
    by_claim: dict[str, int] = {}
    for _ in range(sets):
        trials = of.filled(rng)
        trials.loc[collapse(of, trials, rng), "status"] = "collapsed"
        found = judge(trials, "mnist", "stdcnn", ATTACKS, 0.3)
        wrong = [j.claim.key for j in found if is_false(j)]
        families += bool(wrong)
        for key in wrong:
            by_claim[key] = by_claim.get(key, 0) + 1
        tested += sum(j.p_holm is not None for j in found)
        narrowed += sum(j.p_holm is not None and bool(j.evidence.trains) for j in found)
    return Rates(families / sets, max(by_claim.values(), default=0) / sets, narrowed / max(tested, 1))


def simulate_margin(collapse: Collapse, of: Table, sets: int, seed: int) -> float:
    """The hardest null of near-constancy: one step between the two smallest batch sizes, of the margin itself.

    Returns:
        The share of data sets in which the claim that is falsely supported most often is, without Holm's help. A
        range without the smallest batch size has no step: nothing is wrong there.
    """
    rng = np.random.default_rng(seed)
    step = (of.doublings > 0).astype(float)
    smallest = int(of.batch_size.min())
    constant = [c for c in claims("mnist", "stdcnn", ["fgsm"]) if c.key.startswith("constant")]
    wrong = dict.fromkeys((c.key for c in constant), 0)
    for _ in range(sets):
        trials = of.filled(rng, accuracy=-ACCURACY_MARGIN * step, log2_eigenvalue=EIGENVALUE_MARGIN * step)
        trials.loc[collapse(of, trials, rng), "status"] = "collapsed"
        cells = Cells(trials, 0.1)
        for claim in constant:
            e = claim.evidence(cells, attacked("fgsm", 0.3) if claim.metric.attack else claim.metric)
            if isinstance(e, Tested) and not e.invalid_trials and (not e.trains or smallest in e.trains):
                wrong[claim.key] += 2 * e.p_for < ALPHA and e.agrees_for
    return max(wrong.values()) / sets


def main() -> None:
    sets = int(sys.argv[1]) if len(sys.argv) > 1 else 200
    for name, regimes, batch_sizes, seeds in (
        ("all claims", REGIMES, FOUR, 3),
        ("few claims", FEW, SEVEN, 3),
        ("few claims", FEW, SEVEN, 5),
        ("all claims", REGIMES, SEVEN, 3),
    ):
        of = null_table(batch_sizes, seeds, regimes)
        for kind, collapse in KINDS.items():
            rates = simulate(collapse, of, sets, seed=31)
            margin = simulate_margin(collapse, of, sets, seed=32)
            print(
                f"{name}, {len(batch_sizes)} batch sizes, {seeds} seeds, collapsed {kind}: "
                f"any false {100 * rates.any_false:.2f} %, worst claim {100 * rates.worst_claim:.2f} %, "
                f"at the margin {100 * margin:.2f} %, narrowed {100 * rates.narrowed:.0f} %",
                flush=True,
            )


if __name__ == "__main__":
    main()
