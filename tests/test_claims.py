"""Verdicts on synthetic trials with known answers, and on a thousand data sets without any effect."""

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from tests.synthetic import PAPER_REGIMES, Table, experiment
from tfsgd.reporting.claims import evidence
from tfsgd.reporting.claims.batch_evidence import batch_trend
from tfsgd.reporting.claims.claims import BEYOND, claims
from tfsgd.reporting.claims.verdicts import Judgement, holm, judge
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import NATURAL, attacked
from tfsgd.reporting.table.regime_labels import paper_regimes, regimes_of

Make = Callable[[Table], dict[str, Any]]

MOMENTA = [0.0, 0.5, 0.9]
REGIMES: dict[str, Any] = {
    "LR": {"learning_rate": 0.01, "momentum": MOMENTA},
    "LR/BS": {"ratio": 0.00015625, "momentum": MOMENTA},
    "Benchmark": PAPER_REGIMES["Benchmark"],
}
NULL_SETS = 1_000
ATTACKS = [("fgsm", 0.3), ("pgd", 0.3)]


def table(epsilons: tuple[float, ...] = (0.3,), **changes: Any) -> Table:
    return Table(experiment(**{"batch_sizes": [64, 256, 1024, 4096], "regimes": REGIMES} | changes), epsilons)


def judged(trials: pd.DataFrame, dataset: str = "mnist", model: str = "stdcnn") -> dict[str, Judgement]:
    """The primary judgements by the claim's key."""
    return {j.claim.key: j for j in judge(trials, dataset, model, ATTACKS, 0.3) if j.primary}


def verdict(key: str, trials: pd.DataFrame) -> str:
    return judged(trials)[key].verdict


@pytest.fixture(autouse=True)
def _the_papers_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Those beyond the paper have tests of their own."""
    monkeypatch.setattr("tfsgd.reporting.claims.verdicts.beyond_claims", lambda *_: [])


# Numbers against independent truth


def test_slope_is_the_least_squares_slope_of_the_means() -> None:
    made = table().filled(np.random.default_rng(2), accuracy=-0.01 * table().doublings)
    lr = made[made["regimes"].map(lambda labels: "LR" in labels) & (made["momentum"] == 0)]
    slope = np.polyfit(np.log2(lr["batch_size"]), lr["test_accuracy"], 1)[0]
    found = judged(made)["batch-lr-natural-accuracy"].evidence
    assert isinstance(found, evidence.Tested)
    assert found.effect == pytest.approx(100 * slope)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


# Known answers, both ways


def effect(**by_regime: tuple[float, float, float, float]) -> Make:
    """Slopes by regime: accuracy and log2 λ1 per doubling, accuracy and log2 λ1 per unit of momentum.

    At 64, the batch size that LR and LR/BS share, nothing has an effect.
    """
    labels = {"lr": "LR", "lrbs": "LR/BS", "benchmark": "Benchmark"}

    def make(of: Table) -> dict[str, Any]:
        accuracy, eigenvalue = np.zeros(len(of.base)), np.zeros(len(of.base))
        for name, (a, b, c, d) in by_regime.items():
            inside = of.regime == labels[name]
            momentum = of.momentum * (of.doublings > 0)
            accuracy[inside] += (a * of.doublings + c * momentum)[inside]
            eigenvalue[inside] += (b * of.doublings + d * momentum)[inside]
        return {"accuracy": accuracy, "log2_eigenvalue": eigenvalue}

    return make


AS_THE_PAPER = effect(lr=(-0.02, 0.3, 0.1, -0.8), benchmark=(-0.02, 0.3, 0, 0))
THE_REVERSE = effect(lr=(0.02, -0.3, -0.1, 0.8), benchmark=(0.02, -0.3, 0, 0))
LRBS_MOVES = effect(lrbs=(0.02, 0.3, 0.1, -0.8))
BOTH_GROW = effect(lr=(0.02, 0.3, 0.1, 0.8), lrbs=(0.02, 0.3, 0, 0))
EVERYWHERE = effect(lr=(-0.02, 0.3, 0.1, -0.8), lrbs=(-0.02, 0.3, 0, 0))

KNOWN = [
    (AS_THE_PAPER, "batch-lr-natural-accuracy", "supported"),
    (THE_REVERSE, "batch-lr-natural-accuracy", "contradicted"),
    (AS_THE_PAPER, "batch-lr-fgsm-accuracy", "supported"),
    (THE_REVERSE, "batch-lr-fgsm-accuracy", "contradicted"),
    (AS_THE_PAPER, "batch-lr-pgd-accuracy", "supported"),
    (THE_REVERSE, "batch-lr-pgd-accuracy", "contradicted"),
    (AS_THE_PAPER, "batch-lr-eigenvalue", "supported"),
    (THE_REVERSE, "batch-lr-eigenvalue", "contradicted"),
    (AS_THE_PAPER, "batch-benchmark-natural-accuracy", "supported"),
    (THE_REVERSE, "batch-benchmark-natural-accuracy", "contradicted"),
    (AS_THE_PAPER, "batch-benchmark-eigenvalue", "supported"),
    (THE_REVERSE, "batch-benchmark-eigenvalue", "contradicted"),
    (AS_THE_PAPER, "constant-lrbs-natural-accuracy", "supported"),
    (LRBS_MOVES, "constant-lrbs-natural-accuracy", "contradicted"),
    (AS_THE_PAPER, "constant-lrbs-pgd-accuracy", "supported"),
    (LRBS_MOVES, "constant-lrbs-pgd-accuracy", "contradicted"),
    (AS_THE_PAPER, "constant-lrbs-eigenvalue", "supported"),
    (LRBS_MOVES, "constant-lrbs-eigenvalue", "contradicted"),
    (AS_THE_PAPER, "lower-lrbs-lr", "supported"),
    (THE_REVERSE, "lower-lrbs-lr", "contradicted"),
    (AS_THE_PAPER, "lower-lrbs-benchmark", "supported"),
    (THE_REVERSE, "lower-lrbs-benchmark", "contradicted"),
    (AS_THE_PAPER, "momentum-lr-natural-accuracy", "supported"),
    (THE_REVERSE, "momentum-lr-natural-accuracy", "contradicted"),
    (AS_THE_PAPER, "momentum-lr-fgsm-accuracy", "supported"),
    (AS_THE_PAPER, "momentum-lr-eigenvalue", "supported"),
    (THE_REVERSE, "momentum-lr-eigenvalue", "contradicted"),
    (AS_THE_PAPER, "momentum-more-natural-accuracy", "supported"),
    (LRBS_MOVES, "momentum-more-natural-accuracy", "contradicted"),
    (AS_THE_PAPER, "momentum-more-eigenvalue", "supported"),
    (LRBS_MOVES, "momentum-more-eigenvalue", "contradicted"),
    (AS_THE_PAPER, "momentum-lrbs-constant-natural-accuracy", "supported"),
    (LRBS_MOVES, "momentum-lrbs-constant-natural-accuracy", "contradicted"),
    (LRBS_MOVES, "momentum-lrbs-trend-natural-accuracy", "supported"),
    (LRBS_MOVES, "momentum-lrbs-trend-eigenvalue", "supported"),
    (effect(lr=(0.02, 0.3, 0, 0)), "counter-lr-fgsm-accuracy", "supported"),
    (effect(lr=(-0.02, 0.3, 0, 0)), "counter-lr-fgsm-accuracy", "contradicted"),
    (effect(lr=(0.02, -0.3, 0, 0)), "counter-lr-fgsm-accuracy", "contradicted"),
    (effect(benchmark=(0.02, 0.3, 0, 0)), "counter-benchmark-pgd-accuracy", "supported"),
    (AS_THE_PAPER, "curvature-across-plain-fgsm-accuracy", "supported"),
    (BOTH_GROW, "curvature-across-plain-fgsm-accuracy", "contradicted"),
    (EVERYWHERE, "curvature-within-plain-fgsm-accuracy", "supported"),
    (EVERYWHERE, "curvature-within-given-loss-fgsm-accuracy", "supported"),
    (AS_THE_PAPER, "curvature-across-given-loss-fgsm-accuracy", "supported"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "key", "expected"), KNOWN)
def test_known_answers(make: Make, key: str, expected: str) -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    trials = of.filled(np.random.default_rng(4), **make(of), spread=0.6)
    assert verdict(key, trials) == expected


def test_every_kind_of_claim_has_a_known_answer() -> None:
    kinds = {key.rsplit("-", 2)[0] for _, key, _ in KNOWN} | {key.rsplit("-", 1)[0] for _, key, _ in KNOWN}
    for claim in claims("mnist", "stdcnn"):
        assert {claim.key.rsplit("-", 2)[0], claim.key.rsplit("-", 1)[0]} & kinds, claim.key


def test_three_seeds_and_three_batch_sizes_are_enough() -> None:
    of = table(
        batch_sizes=[64, 512, 4096], regimes=REGIMES | {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}
    )
    trials = of.filled(np.random.default_rng(5), **AS_THE_PAPER(of), spread=0.6)
    assert verdict("batch-lr-natural-accuracy", trials) == "supported"


# No effect, a thousand times


@pytest.mark.parametrize("batch_sizes", [[64, 512, 4096]])
def test_at_most_five_per_cent_of_null_data_sets_support_a_claim(batch_sizes: list[int]) -> None:
    of = table(batch_sizes=batch_sizes)
    of.columns.remove("pgd_0.3")
    rng = np.random.default_rng(6)
    found: dict[str, Counter[str]] = {"supported": Counter(), "contradicted": Counter()}
    for _ in range(NULL_SETS):
        for j in judge(of.filled(rng), "mnist", "stdcnn", ATTACKS, 0.3):
            if j.verdict in found and "constant" not in j.claim.key:  # there, no effect is the claim
                found[j.verdict][j.claim.key] += 1
    for counts in found.values():
        assert max(counts.values(), default=0) <= 0.05 * NULL_SETS, counts


def test_at_most_five_per_cent_support_constancy_when_the_range_is_the_margin() -> None:
    """The hardest null for an equivalence: the ends differ by the margin itself. Without Holm's help."""
    of = table(batch_sizes=[64, 512, 4096])
    rng = np.random.default_rng(7)
    constant = [c for c in claims("mnist", "stdcnn", ["fgsm"]) if "constant" in c.key]
    assert len(constant) == 6
    share = of.doublings / 6 + of.momentum / 0.9
    found: Counter[str] = Counter()
    for _ in range(NULL_SETS):
        cells = Cells(of.filled(rng, accuracy=0.02 * share, log2_eigenvalue=np.log2(1.5) * share), 0.1)
        for claim in constant:
            e = claim.evidence(cells, attacked("fgsm", 0.3) if claim.metric.attack else claim.metric)
            assert isinstance(e, evidence.Tested)
            found[claim.key] += 2 * e.p_for < 0.05 and e.agrees_for
    assert max(found.values()) <= 0.05 * NULL_SETS, found


def test_a_noisier_large_batch_does_not_make_trends() -> None:
    of = table(regimes={"LR": {"learning_rate": 0.01, "momentum": [0.0]}})
    rng = np.random.default_rng(8)
    spread = np.where(of.batch_size == 4096, 6.0, 1.0)
    found: Counter[str] = Counter()
    for _ in range(NULL_SETS):
        cells = Cells(of.filled(rng, spread=spread), 0.1)
        e = batch_trend(cells, NATURAL, regime="LR", sign=1)
        found["rises"] += isinstance(e, evidence.Tested) and e.p < 0.05 and e.agrees_for
    assert max(found.values()) <= 0.05 * NULL_SETS, found


# What cannot be said


def test_a_flat_trend_is_no_proof_of_constancy() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(9), spread=10.0)
    assert verdict("constant-lrbs-natural-accuracy", trials) == "undecided"


def test_a_bump_without_a_trend_is_not_constant() -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    bump = np.where(np.isin(of.batch_size, [256, 1024]), 0.06, 0.0)
    trials = of.filled(np.random.default_rng(10), accuracy=bump, spread=0.5)
    assert verdict("constant-lrbs-natural-accuracy", trials) == "contradicted"
    assert verdict("batch-lr-natural-accuracy", trials) == "undecided"


def test_fewer_than_three_seeds_or_batch_sizes_are_only_described() -> None:
    few_seeds, few_sizes = table(seeds=[0, 1]), table(batch_sizes=[64, 4096])
    for of in (few_seeds, few_sizes):
        found = judged(of.filled(np.random.default_rng(11), **AS_THE_PAPER(of)))
        assert {j.verdict for j in found.values()} <= {"descriptive", "not testable"}
        assert found["batch-lr-natural-accuracy"].verdict == "descriptive"
        assert not isinstance(found["batch-lr-natural-accuracy"].evidence, evidence.Impossible)
        assert "of at least 3" in found["batch-lr-natural-accuracy"].why


@pytest.mark.parametrize("level", [0.0, 0.015, 0.1, 0.09])
def test_the_floor_is_not_testable(level: float) -> None:
    of = table()
    trials = of.filled(np.random.default_rng(12), **AS_THE_PAPER(of))
    trials["pgd_0.3"] = level + 1e-4 * np.random.default_rng(13).random(len(trials))
    found = judged(trials)
    for key, j in found.items():
        if "pgd" in key:
            assert (j.verdict, j.why.split(":")[0]) == ("not testable", "floor")
        elif "fgsm" in key:
            assert j.verdict != "not testable"


def test_one_cell_above_the_floor_is_tested() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(14))
    trials["pgd_0.3"] = np.where(of.batch_size == 64, 0.05, 0.001) + 1e-4 * of.seed
    assert verdict("batch-lr-pgd-accuracy", trials) != "not testable"


@pytest.mark.parametrize("status", ["diverged", "collapsed"])
def test_bad_trials_forbid_support_where_no_range_without_them_is_left(status: str) -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    trials = of.filled(np.random.default_rng(15), **AS_THE_PAPER(of), spread=0.5)
    before = judged(trials)
    one = (of.regime == "LR") & (of.batch_size == 256) & (of.momentum == 0) & (of.seed == 4)
    trials.loc[one, "status"] = status
    after = judged(trials)
    assert before["batch-lr-natural-accuracy"].verdict == "supported"
    assert after["batch-lr-natural-accuracy"].verdict == "undecided"
    assert f"1 {status}" in after["batch-lr-natural-accuracy"].why
    assert after["curvature-across-plain-fgsm-accuracy"].verdict == "undecided"
    assert after["batch-benchmark-natural-accuracy"].verdict == "supported"  # outside its range


def test_bad_trials_in_a_cell_that_dropped_out_count_too() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(16), **AS_THE_PAPER(of), spread=0.5)
    trials.loc[(of.regime == "LR") & (of.batch_size == 256) & (of.momentum == 0), "status"] = "diverged"
    found = judged(trials)["batch-lr-natural-accuracy"]
    assert (found.verdict, found.evidence.cells) == ("undecided", 3)
    assert "3 diverged" in found.why


def test_an_eigenvalue_that_is_hardly_known_decides_nothing() -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    trials = of.filled(np.random.default_rng(17), **AS_THE_PAPER(of), spread=0.5)
    one = (of.regime == "LR") & (of.batch_size == 1024) & (of.momentum == 0) & (of.seed == 1)
    trials.loc[one, ["converged", "residual"]] = [False, 0.4]
    found = judged(trials)
    assert found["batch-lr-eigenvalue"].verdict == "undecided"
    assert "not converged" in found["batch-lr-eigenvalue"].why
    assert found["batch-lr-natural-accuracy"].verdict == "supported"


def test_a_negative_eigenvalue_has_no_logarithm_and_decides_nothing() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(18), **AS_THE_PAPER(of), spread=0.5)
    trials.loc[(of.regime == "LR") & (of.batch_size == 1024) & (of.seed == 1), "eigenvalue"] = -3.0
    assert judged(trials)["batch-lr-eigenvalue"].verdict != "supported"


# Which trials


def test_a_trial_of_two_regimes_counts_in_both_curves_and_once_elsewhere() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(19))
    assert len(trials) == 3 * (4 * 3 * 2 + 4 - 3)  # LR and LR/BS share the batch size 64
    found = judged(trials)
    assert found["constant-lrbs-natural-accuracy"].evidence.cells == 4
    assert found["momentum-more-natural-accuracy"].evidence.cells == 2 * 3 * 3  # without 64
    assert found["curvature-across-plain-fgsm-accuracy"].evidence.cells == 4 * 3 * 2 + 4 - 3


def test_regimes_are_known_by_what_they_do() -> None:
    of = table(
        regimes={
            "LR": {"learning_rate": 0.1, "momentum": [0.0]},
            "scaled": {"ratio": 0.001, "momentum": [0.0]},
            "slow": {"learning_rate": 0.01, "momentum": [0.0]},
            "Benchmark": {"ratio": 0.001, "momentum": [0.9], "halve_every_epochs": 5},
        }
    )
    found = paper_regimes(regimes_of(of.filled(np.random.default_rng(20))))
    assert {kind: regime.name for kind, regime in found.items()} == {"LR": "slow", "LR/BS": "scaled"}


def test_an_unfinished_seed_narrows_the_range_instead_of_losing_it() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(21), **AS_THE_PAPER(of), spread=0.3)
    begun = trials[~((of.seed == 2) & (of.batch_size == 4096))]
    found = judged(begun)["batch-lr-natural-accuracy"]
    assert found.evidence.n == "3 seeds x 3 batch sizes (64-1024)"
    assert found.verdict == "supported"


def test_a_regime_that_is_not_there_is_not_testable() -> None:
    of = table(regimes={"LR": {"learning_rate": 0.01, "momentum": [0.0]}})
    found = judged(of.filled(np.random.default_rng(22)))
    for key in ("batch-benchmark-eigenvalue", "constant-lrbs-eigenvalue", "momentum-lr-eigenvalue"):
        assert found[key].verdict == "not testable"
        assert found[key].why
    assert found["momentum-more-eigenvalue"].verdict == "not testable"


# Epsilons


def test_the_papers_epsilon_is_judged_even_if_it_was_not_measured() -> None:
    of = table(epsilons=(0.05, 0.1))
    found = [j for j in judge(of.filled(np.random.default_rng(23)), "mnist", "stdcnn", of.attacks, 0.3)]
    at = {j.epsilon: j for j in found if j.claim.key == "batch-lr-fgsm-accuracy"}
    assert list(at) == [0.05, 0.1, 0.3]
    assert (at[0.3].verdict, at[0.3].primary) == ("not testable", True)
    assert "0.3" in at[0.3].why
    assert at[0.1].verdict == "undecided"


def test_verdicts_may_differ_between_epsilons() -> None:
    of = table(epsilons=(0.1, 0.3), seeds=[0, 1, 2, 3, 4])
    trials = of.filled(np.random.default_rng(24), spread=0.5)
    trials["fgsm_0.1"] -= 0.02 * of.doublings
    trials["fgsm_0.3"] += 0.02 * of.doublings
    found = judge(trials, "mnist", "stdcnn", of.attacks, 0.3)
    at = {j.epsilon: j.verdict for j in found if j.claim.key == "batch-lr-fgsm-accuracy"}
    assert at == {0.1: "supported", 0.3: "contradicted"}


def test_the_counter_example_is_expected_for_its_data_set_alone() -> None:
    for dataset, model, expected in (("fashion_mnist", "stdcnn", "yes"), ("cifar10", "c1", "no")):
        counter = [c for c in claims(dataset, model) if c.key.startswith("counter")]
        assert all(c.expected.startswith(expected) for c in counter)


def test_holm_corrects_the_claims_at_an_epsilon_together() -> None:
    of = table()
    found = [
        j
        for j in judge(of.filled(np.random.default_rng(25)), "mnist", "stdcnn", of.attacks, 0.3)
        if j.p_holm is not None
    ]
    p_values = [j.evidence.p for j in found if isinstance(j.evidence, evidence.Tested)]
    assert [j.p_holm for j in found] == pytest.approx(holm(p_values))
    assert len(found) == 42


def test_attacks_that_are_measured_besides_change_no_verdict_on_the_papers() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(26), -0.004 * of.doublings)
    besides = trials.assign(**{"apgd_0.3": trials["pgd_0.3"], "noise_0.3": trials["fgsm_0.3"]})
    more = [*of.attacks, ("apgd", 0.3), ("noise", 0.3)]
    alone = [j.as_json() for j in judge(trials, "mnist", "stdcnn", of.attacks, 0.3)]
    both = judge(besides, "mnist", "stdcnn", more, 0.3)
    assert [j.as_json() for j in both if j.claim.metric.attack not in ("apgd", "noise")] == alone
    others = [j for j in both if j.claim.metric.attack in ("apgd", "noise") and j.claim.group != BEYOND]
    tested = [j for j in others if isinstance(j.evidence, evidence.Tested)]
    p_values = [j.evidence.p for j in tested if isinstance(j.evidence, evidence.Tested)]
    assert [j.p_holm for j in tested] == pytest.approx(holm(p_values))


def test_a_cell_of_too_few_seeds_takes_no_part_in_a_correlation() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(27))
    lost = (of.batch_size == of.batch_size.max()) & (of.regime == "LR") & (of.momentum == 0) & (of.seed > 0)
    key = "curvature-across-plain-fgsm-accuracy"
    full, fewer = (judged(t)[key].evidence for t in (trials, trials[~lost]))
    assert fewer.cells == full.cells - 1
    assert fewer.n == f"{full.cells - 1} cells, 3 seeds"


def test_n_says_how_many_cells_there_are_where_it_is_not_their_product() -> None:
    of = table()
    found = judged(of.filled(np.random.default_rng(28)))
    assert found["lower-lrbs-benchmark"].evidence.n.endswith("x 2 momenta x 2 regimes (4 cells)")
    assert "cells" not in found["batch-lr-natural-accuracy"].evidence.n


def test_what_the_paper_expects_of_its_counter_example() -> None:
    for dataset, expected in (
        ("fashion_mnist", {"batch": "opposite", "counter": "holds"}),
        ("mnist", {"batch": "holds", "counter": "fails"}),
    ):
        of = claims(dataset, "stdcnn")
        for start, expects in expected.items():
            assert {c.expectation for c in of if c.key.startswith(start) and c.metric.attack} == {expects}
        assert all(c.expectation for c in of if c.metric.attack is None)
