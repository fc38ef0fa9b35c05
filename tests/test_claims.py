"""Verdicts on synthetic trials with known answers, numbers against independent truth, and what cannot be said."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from tests.null_claims import agreement_error, family_error, null_table, sizes_of_tests
from tests.synthetic import PAPER_REGIMES, Table, experiment
from tfsgd.plan.claim import Claim, Kind
from tfsgd.reporting.claims.claims import own_claims, paper_attacks, shipped_claims
from tfsgd.reporting.claims.kinds import KINDS
from tfsgd.reporting.claims.verdicts import Judgement, judge
from tfsgd.reporting.statistics import holm
from tfsgd.reporting.table.columns import Attack
from tfsgd.reporting.table.regime_labels import paper_regimes, regimes_of

Make = Callable[[Table], dict[str, Any]]

MOMENTA = [0.0, 0.5, 0.9]
REGIMES: dict[str, Any] = {
    "LR": {"learning_rate": 0.01, "momentum": MOMENTA},
    "LR/BS": {"ratio": 0.00015625, "momentum": MOMENTA},
    "Benchmark": PAPER_REGIMES["Benchmark"],
}


def table(**changes: Any) -> Table:
    return Table(experiment(**{"batch_sizes": [64, 256, 1024, 4096], "regimes": REGIMES} | changes))


def judged(
    trials: pd.DataFrame, dataset: str = "mnist", attacks: list[Attack] | None = None
) -> dict[str, Judgement]:
    claims = shipped_claims(dataset, "stdcnn", paper_attacks(0.3) if attacks is None else attacks)
    return {j.asked.key: j for j in judge(trials, claims)}


def verdict(key: str, trials: pd.DataFrame) -> str:
    return judged(trials)[key].verdict


def own(trials: pd.DataFrame, **block: Any) -> Judgement:
    """The judgement on a claim of one's own."""
    claim = Claim.model_validate({"statement": "so it is", "regimes": ["LR"]} | block)
    [found] = judge(trials, own_claims({"mine": claim}, {}, "here"))
    return found


# Numbers against independent truth


def test_a_slope_is_the_least_squares_slope_and_its_p_that_of_one_slope_a_seed() -> None:
    of = table(seeds=[0, 1, 2, 3])
    made = of.filled(np.random.default_rng(2), log2_eigenvalue=0.1 * of.doublings)
    lr = made[of.in_regime("LR") & (of.momentum == 0)]
    slopes = [
        np.polyfit(np.log2(rows["batch_size"]), np.log2(rows["eigenvalue"]), 1)[0]
        for _, rows in lr.groupby("seed")
    ]
    found = judged(made)["batch-lr-eigenvalue"].evidence
    assert found.interval
    assert found.effect == pytest.approx(2 ** np.mean(slopes))
    assert found.p == pytest.approx(stats.ttest_1samp(slopes, 0).pvalue)
    assert np.log2(found.interval) == pytest.approx(stats.ttest_1samp(slopes, 0).confidence_interval(0.95))


def test_an_interaction_is_the_t_test_of_the_difference_of_two_slopes() -> None:
    of = table(seeds=[0, 1, 2, 3])
    made = of.filled(np.random.default_rng(3))

    def slopes(regime: str) -> list[float]:
        rows = made[of.in_regime(regime) & (of.momentum == 0)]
        return [
            float(np.polyfit(np.log2(r["batch_size"]), np.log2(r["smallest_epsilon"]), 1)[0])
            for _, r in rows.groupby("seed")
        ]

    found = judged(made)["batch-interaction-smallest-epsilon"].evidence
    assert found.p is not None
    assert found.p == pytest.approx(stats.ttest_rel(slopes("LR"), slopes("LR/BS")).pvalue)


def test_non_inferiority_is_one_sided_against_the_margin() -> None:
    of = table(seeds=[0, 1, 2, 3, 4], batch_sizes=[64, 256, 1024])
    made = of.filled(np.random.default_rng(4), log2_epsilon=-0.05 * of.doublings)
    rows = made[of.in_regime("LR/BS") & (of.momentum == 0)]
    pivot = np.log2(rows.pivot(index="seed", columns="batch_size", values="smallest_epsilon"))
    p_values = [
        stats.ttest_1samp(pivot[b] - pivot[64], -np.log2(1.25), alternative="greater").pvalue
        for b in (256, 1024)
    ]
    found = judged(made)["lrbs-keeps-smallest-epsilon"].evidence
    assert found.p is not None
    assert found.p == pytest.approx(max(p_values))
    assert found.effect == pytest.approx(2 ** min((pivot[b] - pivot[64]).mean() for b in (256, 1024)))


def test_equivalence_is_two_one_sided_tests_of_every_pair() -> None:
    of = table(seeds=[0, 1, 2, 3, 4], batch_sizes=[64, 256, 1024])
    made = of.filled(np.random.default_rng(5))
    rows = made[of.in_regime("LR/BS") & (of.momentum == 0)]
    pivot = np.log2(rows.pivot(index="seed", columns="batch_size", values="eigenvalue"))
    p_values = []
    for a, b in ((64, 256), (64, 1024), (256, 1024)):
        for limit, tail in ((-np.log2(1.5), "greater"), (np.log2(1.5), "less")):
            p_values.append(stats.ttest_1samp(pivot[b] - pivot[a], limit, alternative=tail).pvalue)
    found = judged(made)["constant-lrbs-eigenvalue"].evidence
    assert found.p is not None
    assert found.p_for == pytest.approx(max(p_values))


def test_the_seeds_that_are_needed_would_decide() -> None:
    of = table()
    found = judged(of.filled(np.random.default_rng(6), log2_eigenvalue=0.04 * of.doublings))[
        "batch-lr-eigenvalue"
    ]
    e, needed = found.evidence, found.seeds_needed
    assert found.verdict == "undecided"
    assert needed
    for seeds, decides in ((needed - 1, False), (needed, True)):
        p = 2 * stats.t.sf(e.distance * np.sqrt(seeds) / e.spread, seeds - 1)
        assert (p < 0.05 / found.family) == decides


# Known answers, both ways


def effect(**by_regime: tuple[float, float, float, float, float, float]) -> Make:
    """Slopes by regime: accuracy, log2 λ1 and log2 smallest epsilon per doubling, and the same per unit of momentum.

    At 64, the batch size that LR and LR/BS share, nothing has an effect.
    """
    labels = {"lr": "LR", "lrbs": "LR/BS", "benchmark": "Benchmark"}

    def make(of: Table) -> dict[str, Any]:
        numbers = np.zeros((3, len(of.base)))
        for name, slopes in by_regime.items():
            inside = of.regime == labels[name]
            for row, batch, momentum in zip(numbers, slopes[:3], slopes[3:], strict=True):
                row += np.where(
                    inside, batch * of.doublings + momentum * of.momentum * (of.doublings > 0), 0.0
                )
        return dict(zip(("accuracy", "log2_eigenvalue", "log2_epsilon"), numbers, strict=True))

    return make


AS_THE_PAPER = effect(lr=(-0.02, 0.3, -0.2, 0.1, -0.8, 0.6), benchmark=(-0.02, 0.3, -0.2, 0, 0, 0))
THE_REVERSE = effect(lr=(0.02, -0.3, 0.2, -0.1, 0.8, -0.6), benchmark=(0.02, -0.3, 0.2, 0, 0, 0))
LRBS_MOVES = effect(lrbs=(-0.02, 0.5, -0.3, 0.1, -1.8, 0.9))

KNOWN = [
    (AS_THE_PAPER, "batch-lr-eigenvalue", "supported"),
    (THE_REVERSE, "batch-lr-eigenvalue", "contradicted"),
    (AS_THE_PAPER, "batch-lr-smallest-epsilon", "supported"),
    (THE_REVERSE, "batch-lr-smallest-epsilon", "contradicted"),
    (AS_THE_PAPER, "batch-benchmark-eigenvalue", "supported"),
    (THE_REVERSE, "batch-benchmark-smallest-epsilon", "contradicted"),
    (AS_THE_PAPER, "batch-interaction-eigenvalue", "supported"),
    (THE_REVERSE, "batch-interaction-eigenvalue", "contradicted"),
    (AS_THE_PAPER, "batch-interaction-smallest-epsilon", "supported"),
    (THE_REVERSE, "batch-interaction-smallest-epsilon", "contradicted"),
    (AS_THE_PAPER, "lrbs-keeps-natural-accuracy", "supported"),
    (LRBS_MOVES, "lrbs-keeps-natural-accuracy", "contradicted"),
    (AS_THE_PAPER, "lrbs-keeps-smallest-epsilon", "supported"),
    (LRBS_MOVES, "lrbs-keeps-smallest-epsilon", "contradicted"),
    (AS_THE_PAPER, "momentum-lr-eigenvalue", "supported"),
    (THE_REVERSE, "momentum-lr-eigenvalue", "contradicted"),
    (AS_THE_PAPER, "momentum-lr-smallest-epsilon", "supported"),
    (THE_REVERSE, "momentum-lr-smallest-epsilon", "contradicted"),
    (AS_THE_PAPER, "momentum-lrbs-constant-eigenvalue", "supported"),
    (LRBS_MOVES, "momentum-lrbs-constant-eigenvalue", "contradicted"),
    (AS_THE_PAPER, "momentum-lrbs-constant-smallest-epsilon", "supported"),
    (effect(lr=(0, 0.3, 0.2, 0, 0, 0)), "counter-lr", "supported"),
    (AS_THE_PAPER, "counter-lr", "contradicted"),
    (THE_REVERSE, "counter-lr", "contradicted"),
    (AS_THE_PAPER, "batch-lr-natural-accuracy", "supported"),
    (THE_REVERSE, "batch-benchmark-natural-accuracy", "contradicted"),
    (AS_THE_PAPER, "constant-lrbs-natural-accuracy", "supported"),
    (LRBS_MOVES, "constant-lrbs-eigenvalue", "contradicted"),
    (AS_THE_PAPER, "lower-lrbs-lr", "supported"),
    (THE_REVERSE, "lower-lrbs-lr", "contradicted"),
    (AS_THE_PAPER, "lower-lrbs-benchmark", "supported"),
    (AS_THE_PAPER, "momentum-more-eigenvalue", "supported"),
    (LRBS_MOVES, "momentum-more-eigenvalue", "contradicted"),
    (LRBS_MOVES, "momentum-lrbs-trend-smallest-epsilon", "supported"),
    (AS_THE_PAPER, "batch-lr-fgsm-accuracy", "supported"),
    (THE_REVERSE, "batch-benchmark-pgd-accuracy", "contradicted"),
    (AS_THE_PAPER, "constant-lrbs-fgsm-accuracy", "supported"),
    (AS_THE_PAPER, "momentum-lr-pgd-accuracy", "supported"),
    (LRBS_MOVES, "momentum-lrbs-constant-fgsm-accuracy", "contradicted"),
]  # fmt: skip


@pytest.mark.parametrize(("make", "key", "expected"), KNOWN)
def test_known_answers(make: Make, key: str, expected: str) -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    trials = of.filled(np.random.default_rng(4), **make(of), spread=0.6)
    assert verdict(key, trials) == expected


def test_every_kind_of_shipped_claim_has_a_known_answer() -> None:
    known = {key for _, key, _ in KNOWN}
    of = [c for c in shipped_claims("mnist", "stdcnn", paper_attacks(0.3)) if c.role != "beyond"]
    assert {(c.claim.kind, c.claim.knob) for c in of} == {
        (c.claim.kind, c.claim.knob) for c in of if c.key in known
    }
    assert known <= {c.key for c in of}


CEILINGS = [(0.8, "supported"), (1.3, "contradicted")]


@pytest.mark.parametrize(("share", "expected"), CEILINGS)
def test_below_a_ceiling_in_every_cell(share: float, expected: str) -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    highest = np.where((of.batch_size == 1024) & (of.momentum == 0.5), share, 0.7)
    made = of.filled(np.random.default_rng(7), log2_eigenvalue=of.at_ceiling(highest), spread=0.5)
    found = judged(of.explained(made))["ceiling-lr"]
    assert found.verdict == expected
    assert found.evidence.p is not None
    assert found.evidence.effect == pytest.approx(share, rel=0.1)
    assert found.evidence.unit
    assert "batch size 1024 and momentum 0.5, the highest" in str(found.evidence.unit)


# One's own claims


@pytest.mark.parametrize(
    ("block", "expected"),
    [
        ({"kind": "trend", "metric": "lambda1", "expected": "rises"}, "supported"),
        ({"kind": "trend", "metric": "lambda1", "expected": "falls", "at_most": 1024}, "contradicted"),
        (
            {"kind": "trend", "metric": "natural_accuracy", "expected": "rises", "momentum": 0.5},
            "contradicted",
        ),
        (
            {"kind": "trend", "metric": "smallest_epsilon", "expected": "rises", "knob": "momentum"},
            "supported",
        ),
        (
            {"kind": "difference", "metric": "eigenvalue", "regimes": ["LR", "LR/BS"], "expected": "rises"},
            "supported",
        ),
        ({"kind": "equivalent", "metric": "eigenvalue", "margin": 1.2}, "contradicted"),
        ({"kind": "equivalent", "metric": "eigenvalue", "regimes": ["LR/BS"], "margin": 1.2}, "supported"),
        (
            {
                "kind": "equivalent",
                "metric": "eigenvalue",
                "regimes": ["LR", "LR/BS"],
                "momentum": [0.9, 0.0],
            },
            "supported",
        ),
        ({"kind": "below", "metric": "lambda1", "margin": 1000}, "supported"),
        ({"kind": "both", "metric": ["lambda1", "natural_accuracy"], "expected": "rises"}, "contradicted"),
        ({"kind": "agreement", "metric": "lambda1", "expected": "falls"}, "supported"),
        ({"kind": "agreement", "metric": "lambda1", "expected": "rises"}, "contradicted"),
    ],
)
def test_own_claims_of_every_kind(block: dict[str, Any], expected: str) -> None:
    """The third kind of equivalence: momentum 0.9 takes off λ1 on the average what the batch sizes have put on it."""
    of = table(seeds=[0, 1, 2, 3, 4])
    flat = -np.mean([0.3 * of.doublings[of.doublings == d][0] for d in (0, 2, 4, 6)]) / 0.9
    make = effect(lr=(-0.02, 0.3, -0.2, 0, flat * 4 / 3, 0.6))
    assert own(of.filled(np.random.default_rng(8), **make(of), spread=0.5), **block).verdict == expected


def test_a_claim_about_ones_own_regime_is_judged_by_its_label() -> None:
    of = table(
        seeds=[0, 1, 2], regimes={"cosine": {"learning_rate": 0.03, "momentum": [0.5], "schedule": "cosine"}}
    )
    made = of.filled(np.random.default_rng(9), log2_eigenvalue=0.3 * of.doublings, spread=0.5)
    made["schedule"] = "cosine"
    found = own(made, kind="trend", metric="lambda1", expected="rises", regimes=["cosine"])
    assert (found.verdict, found.asked.role) == ("supported", "own")
    assert {j.verdict for j in judged(made).values()} == {"not testable"}


def test_every_kind_is_known_to_the_config() -> None:
    assert set(KINDS) == set(Kind.__args__)  # type: ignore[attr-defined]


# Held to their level; docs/reading-the-report.md has more sets (python -m tests.null_claims)


@pytest.mark.parametrize("collapse", ["none", "at random", "where the smallest ε is small"])
def test_at_most_five_per_cent_of_null_data_sets_have_a_false_verdict(collapse: str) -> None:
    """300 sets, seeds whose slopes differ; four standard errors are 5 per cent more."""
    assert family_error(null_table(3), 150, 10, collapse, interaction=2.0) <= 0.05 + 0.05


def test_each_kind_of_test_has_its_size() -> None:
    sizes = sizes_of_tests(null_table(4), 150, 11, interaction=1.0)
    assert set(sizes) == {"trend", "interaction", "difference", "both", "equivalent", "non_inferior"}
    assert all(size <= 0.05 + 0.05 for size in sizes.values()), sizes
    assert sizes["trend"] > 0.02


def test_at_most_five_per_cent_of_null_grids_have_an_agreement() -> None:
    assert agreement_error(null_table(3), 150, 12, measures=3) <= 0.05 + 0.05


# What cannot be said


def test_a_flat_trend_is_no_proof_of_constancy() -> None:
    trials = table().filled(np.random.default_rng(9), spread=10.0)
    assert verdict("constant-lrbs-natural-accuracy", trials) == "undecided"


def test_a_bump_without_a_trend_is_not_constant() -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    bump = np.where(np.isin(of.batch_size, [256, 1024]), 0.06, 0.0)
    trials = of.filled(np.random.default_rng(10), accuracy=bump, spread=0.5)
    assert verdict("constant-lrbs-natural-accuracy", trials) == "contradicted"
    assert verdict("batch-lr-natural-accuracy", trials) == "undecided"


def test_fewer_than_three_seeds_or_batch_sizes_are_only_described() -> None:
    for of in (table(seeds=[0, 1]), table(batch_sizes=[64, 4096])):
        found = judged(of.filled(np.random.default_rng(11), **AS_THE_PAPER(of)))
        assert {j.verdict for j in found.values()} <= {"descriptive", "not testable"}
        assert found["batch-lr-eigenvalue"].verdict == "descriptive"
        assert found["batch-lr-eigenvalue"].evidence.unit
        assert "of at least 3" in found["batch-lr-eigenvalue"].why


def test_one_seed_has_an_effect_and_no_interval() -> None:
    of = table(seeds=[0])
    found = judged(of.filled(np.random.default_rng(11), **AS_THE_PAPER(of)))["batch-lr-eigenvalue"]
    assert found.evidence.unit
    assert found.evidence.p is None
    assert found.evidence.interval is None
    assert found.evidence.effect == pytest.approx(2**0.3, rel=0.1)


@pytest.mark.parametrize("level", [0.0, 0.015, 0.1, 0.09])
def test_the_floor_is_not_testable(level: float) -> None:
    of = table()
    trials = of.filled(np.random.default_rng(12), **AS_THE_PAPER(of))
    trials["pgd_0.3"] = level + 1e-4 * np.random.default_rng(13).random(len(trials))
    for key, j in judged(trials).items():
        if "pgd" in key:
            assert (j.verdict, j.why.split(":")[0]) == ("not testable", "floor")
        elif "fgsm" in key:
            assert j.verdict != "not testable"


def test_what_was_not_measured_is_said() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(13)).drop(columns=["smallest_epsilon", "pgd_0.3"])
    found = judged(trials)
    assert found["batch-lr-smallest-epsilon"].why == "smallest ε was not measured"
    assert found["batch-lr-pgd-accuracy"].why == "no trial was attacked with pgd at ε = 0.3"


@pytest.mark.parametrize("status", ["diverged", "collapsed"])
def test_bad_trials_forbid_support_where_no_range_without_them_is_left(status: str) -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    trials = of.filled(np.random.default_rng(15), **AS_THE_PAPER(of), spread=0.5)
    one = (of.regime == "LR") & (of.batch_size == 256) & (of.momentum == 0) & (of.seed == 4)
    after = judged(trials.assign(status=trials["status"].mask(one, status)))
    assert judged(trials)["batch-lr-eigenvalue"].verdict == "supported"
    assert after["batch-lr-eigenvalue"].verdict == "undecided"
    assert f"1 {status}" in after["batch-lr-eigenvalue"].why
    assert after["batch-benchmark-eigenvalue"].verdict == "supported"  # outside its range


def test_an_eigenvalue_that_is_hardly_known_decides_nothing_about_λ1_alone() -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    trials = of.filled(np.random.default_rng(17), **AS_THE_PAPER(of), spread=0.5)
    one = (of.regime == "LR") & (of.batch_size == 1024) & (of.momentum == 0) & (of.seed == 1)
    trials.loc[one, ["converged", "residual"]] = [False, 0.4]
    found = judged(trials)
    assert found["batch-lr-eigenvalue"].verdict == "undecided"
    assert "not converged" in found["batch-lr-eigenvalue"].why
    assert found["batch-lr-smallest-epsilon"].verdict == "supported"


def test_a_negative_eigenvalue_has_no_logarithm_and_decides_nothing() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(18), **AS_THE_PAPER(of), spread=0.5)
    trials.loc[(of.regime == "LR") & (of.batch_size == 1024) & (of.seed == 1), "eigenvalue"] = -3.0
    assert verdict("batch-lr-eigenvalue", trials) != "supported"


# Which trials, which family


def test_a_trial_of_two_regimes_counts_in_both_curves() -> None:
    of = table()
    found = judged(of.filled(np.random.default_rng(19)))
    assert len(found["constant-lrbs-natural-accuracy"].evidence.sample) == 4
    assert len(found["momentum-more-eigenvalue"].evidence.sample) == 2 * 3 * 3  # without 64


def test_regimes_are_known_by_what_they_do() -> None:
    regimes = {
        "LR": {"learning_rate": 0.1, "momentum": [0.0]},
        "scaled": {"ratio": 0.001, "momentum": [0.0]},
        "slow": {"learning_rate": 0.01, "momentum": [0.0]},
        "Benchmark": {"ratio": 0.001, "momentum": [0.9], "halve_every_epochs": 5},
    }
    rules = {label: [rule] for label, rule in experiment(regimes=regimes).regimes.items()}
    made = table(regimes=regimes).filled(np.random.default_rng(20))
    found = paper_regimes(regimes_of(made, rules))
    assert {kind: regime.name for kind, regime in found.items()} == {"LR": "slow", "LR/BS": "scaled"}


def test_an_unfinished_seed_narrows_the_range_instead_of_losing_it() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(21), **AS_THE_PAPER(of), spread=0.1)
    begun = trials[~((of.seed == 2) & (of.batch_size == 4096))]
    found = judged(begun)["batch-lr-eigenvalue"]
    assert found.evidence.n == "3 seeds x 3 batch sizes (64-1024)"


def test_a_regime_that_is_not_there_is_not_testable() -> None:
    of = table(regimes={"LR": {"learning_rate": 0.01, "momentum": [0.0]}})
    found = judged(of.filled(np.random.default_rng(22)))
    for key in ("batch-benchmark-eigenvalue", "constant-lrbs-eigenvalue", "momentum-lr-eigenvalue"):
        assert found[key].verdict == "not testable"
        assert found[key].why
    assert found["momentum-more-eigenvalue"].verdict == "not testable"


def test_holm_corrects_a_family_and_nothing_else_changes_it() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(25)).assign(**{"noise_0.1": 0.5})
    alone, more = judged(trials, attacks=[]), judged(trials, attacks=[*paper_attacks(0.3), ("noise", 0.1)])
    assert {k: j.p_holm for k, j in more.items() if not j.asked.attack} == {
        k: j.p_holm for k, j in alone.items()
    }
    primary = [j for j in alone.values() if j.asked.role == "primary"]
    p_values = [j.evidence.p for j in primary if j.evidence.p is not None]
    assert [j.p_holm for j in primary] == pytest.approx(holm(p_values))
    assert {j.family for j in primary} == {len(primary)} == {13}


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.5, 0.9]) == [1.0, 1.0]
    assert holm([]) == []


def test_what_the_paper_expects_of_its_counter_example() -> None:
    expected = {"fashion_mnist": ("opposite", "holds"), "mnist": ("holds", "fails")}
    for dataset, (robustness, counter) in expected.items():
        of = {c.key: c.expectation for c in shipped_claims(dataset, "stdcnn", paper_attacks(0.3))}
        assert of["batch-lr-smallest-epsilon"] == of["batch-lr-pgd-accuracy"] == robustness
        assert (of["counter-lr"], of["batch-lr-eigenvalue"], of["ceiling-lr"]) == (counter, "holds", None)


def test_n_says_how_many_cells_there_are_where_it_is_not_their_product() -> None:
    found = judged(table().filled(np.random.default_rng(28)))
    assert found["lower-lrbs-benchmark"].evidence.n.endswith("x 2 momenta x 2 regimes (4 cells)")
    assert "cells" not in found["batch-lr-eigenvalue"].evidence.n
