"""Claims are judged on the largest range of batch sizes that trains: which it is, and what is said."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.synthetic import Table, experiment
from tfsgd.reporting.claims.claims import paper_attacks, shipped_claims
from tfsgd.reporting.claims.kinds import adjoining
from tfsgd.reporting.claims.verdicts import Judgement, judge

SIZES = [64, 128, 256, 512, 1024, 2048, 4096]
REGIMES: dict[str, Any] = {
    "LR": {"learning_rate": 0.01, "momentum": [0.0, 0.9]},
    "LR/BS": {"ratio": 0.00015625, "momentum": [0.0, 0.9]},
}


def falling(seeds: int = 5) -> tuple[Table, pd.DataFrame]:
    """Accuracy falls by 2 points a doubling under LR and LR/BS, λ1 rises by a third."""
    of = Table(experiment(batch_sizes=SIZES, seeds=[*range(seeds)], regimes=REGIMES))
    rng = np.random.default_rng(41)
    return of, of.filled(rng, -0.02 * of.doublings, 0.4 * of.doublings, spread=0.4)


def spoil(
    of: Table,
    trials: pd.DataFrame,
    sizes: Sequence[int],
    status: str = "collapsed",
    momentum: float = 0.0,
    **only: Any,
) -> None:
    bad = of.in_regime(only.get("regime", "LR")) & np.isin(of.batch_size, sizes) & (of.momentum == momentum)
    trials.loc[bad & np.isin(of.seed, only.get("seeds", range(99))), "status"] = status


def judged(trials: pd.DataFrame) -> dict[str, Judgement]:
    return {j.asked.key: j for j in judge(trials, shipped_claims("mnist", "stdcnn", paper_attacks(0.3)))}


# Which range


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ([], [[64, 128, 256, 512]]),
        ([512], [[64, 128, 256]]),
        ([64], [[128, 256, 512]]),
        ([128], [[64], [256, 512]]),
        ([64, 128, 256, 512], []),
        ([128, 256], [[64], [512]]),
    ],
)
def test_ranges_lie_between_the_bad_batch_sizes(bad: list[int], expected: list[list[int]]) -> None:
    assert adjoining([512, 64, 256, 128], bad) == expected


@pytest.mark.parametrize(
    ("bad", "expected"),
    [
        ([4096], [64, 128, 256, 512, 1024, 2048]),
        ([2048, 4096], [64, 128, 256, 512, 1024]),
        ([128], [256, 512, 1024, 2048, 4096]),
        ([512], [64, 128, 256]),  # as long as 1024 to 4096: the smaller ones
        ([128, 1024], None),  # 64, 256 to 512, 2048 to 4096: none has three
    ],
)
def test_the_largest_range_is_judged(bad: list[int], expected: list[int] | None) -> None:
    of, trials = falling()
    spoil(of, trials, bad)
    found = judged(trials)["batch-lr-natural-accuracy"]
    if expected is None:
        assert (found.verdict, found.evidence.trains) == ("undecided", ())
        assert f"{5 * len(bad)} collapsed" in found.why
    else:
        assert (found.verdict, [*found.evidence.trains]) == ("supported", expected)


def test_of_equally_large_ranges_that_with_more_seeds_is_judged() -> None:
    of, trials = falling()
    spoil(of, trials, [512])
    unfinished = of.in_regime("LR") & (of.batch_size == 128) & (of.seed == 4)
    found = judged(trials[~unfinished])["batch-lr-natural-accuracy"]
    assert (found.evidence.trains, found.evidence.seeds) == ((1024, 2048, 4096), 5)
    assert "64, 128, 256 not judged" in found.why


def test_the_numbers_are_those_of_the_range_alone() -> None:
    of, trials = falling()
    without = trials[~(of.in_regime("LR") & (of.momentum == 0) & (of.batch_size == 4096))]
    spoil(of, trials, [4096], seeds=[2])
    narrowed, cut = (judged(t)["batch-lr-natural-accuracy"].evidence for t in (trials, without))
    assert not isinstance(narrowed, str)
    for key in ("effect", "interval", "p_for", "p_against", "n"):
        assert getattr(narrowed, key) == getattr(cut, key), key


# Each kind of claim


def test_every_kind_of_claim_is_judged_where_it_trains() -> None:
    of, trials = falling()
    spoil(of, trials, [4096])
    spoil(of, trials, [4096], regime="LR/BS")
    for key, judgement in judged(trials).items():
        if "benchmark" in key or judgement.asked.role == "beyond":
            continue
        assert max(judgement.evidence.trains) == 2048, key
        of_two = len(judgement.asked.claim.regimes)
        assert f"at 4096 {5 * of_two} of {5 * of_two * (1 + key.startswith('momentum'))}" in judgement.why, key


def test_a_claim_about_two_regimes_needs_both_to_train() -> None:
    of, trials = falling()
    spoil(of, trials, [2048], regime="LR/BS")
    found = judged(trials)
    assert found["lower-lrbs-lr"].evidence.trains == (64, 128, 256, 512, 1024)
    assert found["lower-lrbs-lr"].evidence.n.endswith("2 batch sizes (512-1024) x 2 regimes")
    assert found["counter-lr"].evidence.trains == ()


def test_a_momentum_that_never_trains_leaves_the_claim_undecided() -> None:
    of, trials = falling()
    spoil(of, trials, SIZES[1:], momentum=0.9)
    found = judged(trials)["momentum-lr-natural-accuracy"]
    assert found.verdict not in ("supported", "contradicted")
    assert "30 collapsed" in found.why


def test_an_uncertain_eigenvalue_in_the_range_still_decides_nothing() -> None:
    of, trials = falling()
    spoil(of, trials, [4096])
    for size, expected in ((4096, "supported"), (256, "undecided")):
        one = of.in_regime("LR") & (of.batch_size == size) & (of.momentum == 0) & (of.seed == 1)
        doubtful = trials.copy()
        doubtful.loc[one, ["converged", "residual"]] = [False, 0.4]
        assert judged(doubtful)["batch-lr-eigenvalue"].verdict == expected


def test_few_seeds_are_described_on_the_range() -> None:
    of, trials = falling(seeds=2)
    spoil(of, trials, [4096])
    found = judged(trials)["batch-lr-natural-accuracy"]
    assert (found.verdict, found.evidence.range) == ("descriptive", "from 64 to 2048")
    assert found.why.startswith("from 64 to 2048 (at 4096 2 of 2 collapsed): ")
    assert found.why.endswith("2 of at least 3 seeds")


# What is said


def test_the_verdict_says_its_range_and_what_happened_outside() -> None:
    of, trials = falling()
    spoil(of, trials, [2048], seeds=[1, 3])
    spoil(of, trials, [4096])
    spoil(of, trials, [4096], status="diverged", seeds=[0])
    found = judged(trials)["batch-lr-natural-accuracy"]
    outside = "at 2048 2 of 5 collapsed; at 4096 1 of 5 diverged and 4 of 5 collapsed"
    assert found.why.startswith(f"from 64 to 1024 ({outside}): p")
    assert found.as_json()["range"] == {
        "batch_sizes": [64, 128, 256, 512, 1024],
        "left_out": outside,
    }
    assert found.verdict == "supported"


def test_without_bad_trials_there_is_no_range_to_say() -> None:
    found = judged(falling()[1])["batch-lr-natural-accuracy"]
    assert (found.evidence.trains, found.evidence.left_out, found.as_json()["range"]) == ((), "", None)
