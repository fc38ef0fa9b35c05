"""Claims beyond the paper: known answers both ways, and error rates where nothing is the case."""

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy.special import ndtr

from tests.synthetic import PAPER_REGIMES, Table, experiment
from tfsgd.reporting.claims import evidence
from tfsgd.reporting.claims.claims import BEYOND, beyond_claims, claims
from tfsgd.reporting.claims.correlation_evidence import both_rise_at_equal_loss, explains, follows_confidence
from tfsgd.reporting.claims.edge_evidence import below_ceiling, ceiling_falls, momentum_is_rate
from tfsgd.reporting.claims.evidence import Described, Evidence, Impossible
from tfsgd.reporting.claims.verdicts import Judgement, holm, judge
from tfsgd.reporting.statistics import flipped_signs
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import EIGENVALUE, LARGEST_RATIO, RATIO, Metric, attacked

NULL_SETS = 400
FGSM = attacked("fgsm", 0.3)
ATTACKS = [("fgsm", 0.3), ("pgd", 0.3)]
REGIMES: dict[str, Any] = {
    "LR": {"learning_rate": 0.01, "momentum": [0.0, 0.5, 0.9]},
    "LR/BS": {"ratio": 0.00015625, "momentum": [0.0]},
    "Benchmark": PAPER_REGIMES["Benchmark"],
}
CONTROLS = {f"LR-{rate}": {"learning_rate": rate, "momentum": [0.0]} for rate in (0.02, 0.1)}


def table(**changes: Any) -> Table:
    return Table(experiment(**{"batch_sizes": [64, 512, 1024, 2048], "regimes": REGIMES} | changes))


def judged(trials: pd.DataFrame, snapshots: Sequence[float] = ()) -> dict[str, Judgement]:
    return {j.claim.key: j for j in judge(trials, "mnist", "stdcnn", ATTACKS, 0.3, snapshots=snapshots)}


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def decides(e: Evidence) -> str:
    """For or against, at 5 % two-sided without any correction; else nothing."""
    assert isinstance(e, evidence.Tested)
    if e.p >= 0.05:
        return ""
    return ("for" if e.agrees_for else "") if e.p_for <= e.p_against else "against" * e.agrees_against


def assert_rarely(found: Counter[str], *what: str) -> None:
    assert found.total() == NULL_SETS
    for verdict in what:
        assert found[verdict] <= 0.05 * NULL_SETS, found


# The ceiling


@pytest.mark.parametrize(
    ("share", "verdict"), [(0.5, "supported"), (1.03, "supported"), (2.0, "contradicted")]
)
def test_below_or_above_the_ceiling(share: float, verdict: str) -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    made = of.filled(rng(1), log2_eigenvalue=of.at_ceiling(share), spread=0.1)
    made["eigenvalue"] = 2 ** (np.log2(made["eigenvalue"]) * 0.1 + np.log2(of.ceiling * share) * 0.9)
    found = judged(of.explained(made))
    for regime in ("lr", "lr-bs", "benchmark"):
        assert found[f"ceiling-{regime}"].verdict == verdict
    e = found["ceiling-lr-bs"].evidence
    assert isinstance(e, evidence.Tested)
    assert e.effect == pytest.approx(share, rel=0.05)


def test_one_cell_above_the_ceiling_contradicts_it_and_is_named() -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    share = np.where((of.batch_size == 2048) & (of.momentum == 0), 2.0, 0.3)
    found = judged(of.explained(of.filled(rng(2), log2_eigenvalue=of.at_ceiling(share), spread=0.5)))
    assert found["ceiling-lr"].verdict == "contradicted"
    assert "at batch size 2048 and momentum 0" in str(found["ceiling-lr"].evidence.unit)


def test_what_collapsed_is_left_out_as_in_the_papers_claims() -> None:
    of = table(batch_sizes=[64, 512, 1024, 2048, 4096], seeds=[0, 1, 2, 3, 4])
    made = of.filled(rng(8), log2_eigenvalue=of.at_ceiling(0.5), spread=0.1)
    made["eigenvalue"] = 2 ** (np.log2(made["eigenvalue"]) * 0.1 + np.log2(of.ceiling * 0.5) * 0.9)
    made.loc[of.batch_size == 4096, "status"] = "collapsed"
    found = judged(of.explained(made))
    for key in ("ceiling-lr", "ceiling-lr-bs", "ceiling-falls-lr-bs"):
        assert found[key].verdict == "supported", key
        assert max(found[key].evidence.trains) == 2048, key
        assert "at 4096" in found[key].why, key
    assert max(found["confidence-fgsm-accuracy"].evidence.trains) == 2048


def test_the_ceiling_is_judged_next_to_a_collapse_too() -> None:
    """The cells of a batch size at which another momentum collapsed are those that come close to the ceiling."""
    two = {"LR/BS": {"ratio": 0.00015625, "momentum": [0.0, 0.9]}}
    of = table(batch_sizes=[64, 256, 512, 1024, 2048], seeds=[0, 1, 2, 3, 4], regimes=two)
    share = np.where(of.batch_size == 2048, 1.5, 0.3)
    made = of.filled(rng(8), log2_eigenvalue=of.at_ceiling(share), spread=0.1)
    made.loc[(of.batch_size == 2048) & (made["momentum"] == 0.9), "status"] = "collapsed"
    found = judged(of.explained(made))["ceiling-lr-bs"]
    assert found.verdict == "contradicted"
    assert "at batch size 2048" in str(found.evidence.unit)
    assert found.evidence.trains == (64, 256, 512, 1024, 2048)
    assert "at 2048 5 of " in found.why


def test_at_the_limit_it_is_rarely_decided() -> None:
    """One cell at the limit and the others far below is the hardest null for it; all there, against it."""
    of = table()
    one = np.where(of.batch_size == 2048, 1.1, 0.1)
    generator = rng(3)
    for share, against in ((one, "for"), (np.full(len(one), 1.1), "against")):
        found: Counter[str] = Counter()
        for _ in range(NULL_SETS):
            made = of.explained(of.filled(generator, log2_eigenvalue=of.at_ceiling(share)))
            found[decides(below_ceiling(Cells(made, 0.1), RATIO, regime="LR/BS"))] += 1
        assert_rarely(found, against)


def test_the_ceiling_falls_where_the_share_of_it_stays() -> None:
    of = table(seeds=[0, 1, 2, 3, 4])
    at_edge = of.explained(of.filled(rng(4), log2_eigenvalue=of.at_ceiling(0.9), spread=0.5))
    assert judged(at_edge)["ceiling-falls-lr-bs"].verdict == "supported"
    flat = of.explained(of.filled(rng(5), spread=0.5))
    assert judged(flat)["ceiling-falls-lr-bs"].verdict == "contradicted"


def test_a_share_that_differs_by_the_margin_is_rarely_constant() -> None:
    of = table()
    share = 0.9 * 1.5 ** ((of.doublings - 3) / 2)  # from 512 to 2048 a factor of 1.5
    generator, found = rng(6), Counter[str]()
    for _ in range(NULL_SETS):
        made = of.explained(of.filled(generator, log2_eigenvalue=of.at_ceiling(share)))
        found[decides(ceiling_falls(Cells(made, 0.1), RATIO))] += 1
    assert_rarely(found, "for", "against")


def test_what_the_ceiling_needs() -> None:
    of = table()
    without = judged(of.filled(rng(7)))
    assert without["ceiling-lr"].verdict == without["ceiling-falls-lr-bs"].verdict == "not testable"
    made = of.explained(of.filled(rng(7)))
    assert isinstance(
        below_ceiling(Cells(made, 0.1), RATIO, regime="Benchmark"), Impossible
    )  # its rate decays
    assert isinstance(below_ceiling(Cells(made, 0.1), LARGEST_RATIO, regime="Benchmark"), evidence.Tested)
    few = table(seeds=[0, 1])
    found = judged(few.explained(few.filled(rng(8))))
    assert found["ceiling-lr"].verdict == found["ceiling-falls-lr-bs"].verdict == "descriptive"


def test_a_descent_eigenvalue_that_is_hardly_known_decides_nothing_about_the_ceiling_and_all_else_stays() -> (
    None
):
    """With BatchNorm the ceiling is that of training mode's λ1, the paper's claims are about inference mode's."""
    of = table(seeds=[0, 1, 2, 3, 4])
    made = of.explained(
        of.filled(rng(9), log2_eigenvalue=of.at_ceiling(0.5) + 0.05 * of.doublings, spread=0.1)
    )
    known, unknown = (judged(made.assign(descent_residual=r)) for r in (0.0, 0.5))
    assert known["ceiling-lr"].verdict == "supported"
    assert unknown["ceiling-lr"].verdict == "undecided"
    assert "not converged" in unknown["ceiling-lr"].why
    assert unknown["batch-lr-eigenvalue"].as_json() == known["batch-lr-eigenvalue"].as_json()


# Equal train loss

MANY: dict[str, Any] = {"batch_sizes": [64, 128, 256, 512, 1024, 2048, 4096], "seeds": [0, 1, 2, 3, 4]}


def with_loss(of: Table, generator: np.random.Generator, own: float) -> pd.DataFrame:
    """λ1 and accuracy follow the train loss, which rises with the batch size, and the batch size itself by `own`."""
    loss = 0.1 * of.doublings - 0.3 * of.momentum + 0.1 * generator.normal(size=len(of.base))
    made = of.filled(
        generator, 0.05 * loss + 0.02 * own * of.doublings, loss + 0.5 * own * of.doublings, spread=0.5
    )
    return made.assign(train_loss=np.exp(loss))


def test_what_follows_the_train_loss_alone_rarely_rises_at_equal_train_loss() -> None:
    of = table(**MANY)
    generator, found = rng(9), Counter[str]()
    for _ in range(NULL_SETS):
        cells = Cells(with_loss(of, generator, own=0.0), 0.1)
        found[decides(both_rise_at_equal_loss(cells, FGSM, regime="LR"))] += 1
    assert_rarely(found, "for", "against")


def test_what_follows_the_batch_size_rises_at_equal_train_loss() -> None:
    of = table(**MANY)
    key = "equal-loss-counter-lr-fgsm-accuracy"
    for own, verdict in ((1.0, "supported"), (-1.0, "contradicted")):
        found = judged(with_loss(of, rng(10), own))[key]
        assert found.verdict == verdict
        assert "partial" in found.evidence.detail
    without = judged(with_loss(table(), rng(10), 1.0))["equal-loss-counter-benchmark-fgsm-accuracy"]
    assert (without.verdict, without.why) == (
        "not testable", "no snapshots, and 4 of at least 8 cells under Benchmark",
    )  # fmt: skip


def test_momentum_is_not_taken_for_the_batch_size_where_one_size_lacks_momenta() -> None:
    """Both rise with momentum alone, and the largest batch size has the highest alone: it tells nothing of sizes."""
    of = table()
    made = of.filled(rng(13), 0.1 * of.momentum, 2 * of.momentum, spread=0.5)
    largest = of.batch_size == 2048
    some, none = (
        both_rise_at_equal_loss(Cells(made[~(largest & dropped)], 0.1), FGSM, regime="LR")
        for dropped in (of.momentum < 0.9, of.momentum >= 0.0)
    )
    assert some == none
    assert isinstance(some, evidence.Tested)
    assert abs(some.effect) < 0.4
    assert some.cells == 9


def test_snapshots_come_before_correlations() -> None:
    """At the end both fall with the batch size; where the train loss is equal, both rise."""
    of = table(seeds=[0, 1, 2, 3, 4])
    made = of.filled(rng(11), -0.02 * of.doublings, -0.3 * of.doublings, spread=0.5)
    there = of.filled(rng(12), 0.02 * of.doublings, 0.3 * of.doublings, spread=0.5)
    for column in ("fgsm_0.3", "eigenvalue"):
        made[f"{column}@0.5"] = there[column]
        made[f"{column}@0.1"] = there[column].where(of.batch_size < 1000)  # larger ones never got there
    found = judged(made, snapshots=(0.5, 0.1))
    assert found["counter-lr-fgsm-accuracy"].verdict == "contradicted"
    equal = found["equal-loss-counter-lr-fgsm-accuracy"]
    assert equal.verdict == "supported"
    assert equal.evidence.detail.startswith("at the first epoch with a train loss of at most 0.5; λ1: factor")
    lr = there[(of.regime == "LR") & (of.momentum == 0)]
    expected = np.polyfit(np.log2(lr["batch_size"]), lr["fgsm_0.3"], 1)[0]
    assert isinstance(equal.evidence, evidence.Tested)
    assert equal.evidence.effect == pytest.approx(100 * expected)


# Momentum as a rate


def test_momentum_that_is_a_rate_and_momentum_that_is_more() -> None:
    of = table(regimes=REGIMES | CONTROLS, seeds=[0, 1, 2, 3, 4])
    falls = -0.3 * np.log2(of.base["learning_rate"].to_numpy() / (1 - of.momentum) / 0.01)
    key = "momentum-is-rate-eigenvalue"
    assert judged(of.filled(rng(13), log2_eigenvalue=falls, spread=0.5))[key].verdict == "supported"
    more = falls - (of.momentum == 0.9)
    found = judged(of.filled(rng(14), log2_eigenvalue=more, spread=0.5))[key]
    assert found.verdict == "contradicted"
    assert isinstance(found.evidence, evidence.Tested)
    assert found.evidence.effect == pytest.approx(0.5, rel=0.1)
    assert str(found.evidence.unit).startswith("factor of momentum 0.9 against")


def test_momentum_as_a_rate_is_spoilt_by_its_own_trials_alone() -> None:
    """LR/BS without momentum is no control where its rate is another one."""
    of = table(regimes=REGIMES | CONTROLS)
    made = of.filled(rng(21), spread=0.5)
    whole = momentum_is_rate(Cells(made, 0.1), EIGENVALUE)
    assert isinstance(whole, evidence.Tested)
    for regime, is_spoilt in (("LR/BS", False), ("LR-0.1", True), ("LR", True)):
        bad = (of.regime == regime) & (of.batch_size == 2048) & (of.momentum == 0)
        status = np.where(bad, "collapsed", made["status"])
        found = momentum_is_rate(Cells(made.assign(status=status), 0.1), EIGENVALUE)
        assert (found != whole) == is_spoilt
        assert found.range == ("from 64 to 1024" if is_spoilt else "")


def test_a_difference_of_the_margin_is_rarely_none() -> None:
    of = table(regimes=REGIMES | CONTROLS)
    effect = np.where(of.momentum == 0.9, np.log2(1.5), 0.0)
    generator, found = rng(15), Counter[str]()
    for _ in range(NULL_SETS):
        made = of.filled(generator, log2_eigenvalue=effect)
        found[decides(momentum_is_rate(Cells(made, 0.1), EIGENVALUE))] += 1
    assert_rarely(found, "for", "against")


def test_without_the_same_rate_momentum_has_no_control() -> None:
    of = table(regimes={"LR": REGIMES["LR"]} | {"LR-0.03": {"learning_rate": 0.03, "momentum": [0.0]}})
    found = momentum_is_rate(Cells(of.filled(rng(16)), 0.1), EIGENVALUE)
    assert isinstance(found, Impossible)
    assert "rate η/(1−γ)" in found.reason
    paper = table(
        batch_sizes=[64, 128, 2048]
    )  # LR/BS has the rate 0.02 at 128, LR at momentum 0.5 is like it
    alone = momentum_is_rate(Cells(paper.filled(rng(17)), 0.1), EIGENVALUE)
    assert isinstance(alone, Described)
    assert alone.detail == "batch sizes: 1 at momentum 0.5"


# Confidence


def test_seeds_of_a_correlation_are_those_with_cells_enough_for_one() -> None:
    """Two more seeds of one cell are no seeds of a correlation over all; where each has a few cells, there is none."""
    of = table(seeds=[0, 1, 2, 3, 4], regimes={"LR": REGIMES["LR"]})
    made = of.explained(of.filled(rng(22)), 0.8 + 0.05 * rng(23).normal(size=len(of.base)))
    place = np.unique(of.doublings + of.momentum, return_inverse=True)[1]  # of a cell
    more_of_one = (of.seed < 3) | (place == 0)
    apart = (of.seed - place) % 5 < 3  # of each cell three seeds, of each seed 7 or 8 of 12 cells
    for kept, seeds in ((more_of_one, 3), (apart, 2)):
        for test, parameters in (
            (explains, {"within": False, "given_loss": False}),
            (follows_confidence, {}),
            (both_rise_at_equal_loss, {"regime": "LR"}),
        ):
            e = test(Cells(made[kept], 0.1), FGSM, **parameters)
            assert (e.seeds, e.n) == (seeds, f"12 cells, {seeds} seeds")
            assert isinstance(e, evidence.Tested) == (seeds == 3)


def test_robustness_that_follows_confidence_or_curvature() -> None:
    of = table(**MANY)
    cause = rng(18).normal(size=7)[np.log2(of.batch_size / 64).astype(int)] + of.momentum
    other = rng(19).normal(size=7)[np.log2(of.batch_size / 64).astype(int)] - of.momentum
    for confidence, curvature, verdict in ((-cause, other, "supported"), (other, -cause, "contradicted")):
        made = of.filled(rng(20), 0.05 * cause, curvature, spread=0.2)
        found = judged(of.explained(made, 0.8 + 0.05 * confidence))["confidence-fgsm-accuracy"]
        assert found.verdict == verdict
        assert "with confidence" in found.evidence.detail


@pytest.mark.parametrize("strength", [0.0, 1.0])
def test_two_causes_of_equal_strength_are_rarely_told_apart(strength: float) -> None:
    """Confidence and λ1 are drawn alike, cell by cell, and the accuracy follows both, or neither."""
    of = table(**MANY)
    cell = pd.factorize(pd.MultiIndex.from_frame(of.base[["regime", "batch_size", "momentum"]]))[0]
    generator, found = rng(21), Counter[str]()
    for _ in range(NULL_SETS):
        first, second, third = generator.normal(size=(3, cell.max() + 1))
        accuracy = 0.01 * (strength * (first + second) + third)[cell]
        made = of.filled(generator, accuracy, first[cell], spread=0.2)
        noise = 0.02 * generator.normal(size=len(made))
        cells = Cells(of.explained(made, 0.8 + 0.01 * (second[cell] + noise)), 0.1)
        found[decides(follows_confidence(cells, FGSM))] += 1
    assert_rarely(found, "for", "against")


@pytest.mark.parametrize("kind", ["confidence", "within"])
def test_few_cells_in_a_steady_order_by_chance_are_rarely_decided(kind: str) -> None:
    """8 cells whose seeds agree on them: nothing but the cells themselves is drawn anew."""
    regimes = {
        "LR": {"learning_rate": 0.01, "momentum": [0.0]},
        "LR/BS": {"ratio": 0.00015625, "momentum": [0.0]},
    }
    of = table(regimes=regimes | {"Benchmark": PAPER_REGIMES["Benchmark"]}, batch_sizes=[64, 256, 1024])
    cell = pd.factorize(pd.MultiIndex.from_frame(of.base[["regime", "batch_size", "momentum"]]))[0]
    assert cell.max() + 1 == 8
    within = partial(explains, within=True, given_loss=False)
    evidence_of = follows_confidence if kind == "confidence" else within
    generator, found = rng(23), Counter[str]()
    for _ in range(NULL_SETS):
        first, second, third = generator.normal(size=(3, 8))
        made = of.filled(generator, 0.05 * third[cell], first[cell], spread=0.05)
        trials = of.explained(made, 0.8 + 0.01 * second[cell])
        e = evidence_of(Cells(trials, 0.1), FGSM)
        found[decides(e)] += 1
        assert isinstance(e, evidence.Tested)
        assert e.p >= (2 / 256 if kind == "confidence" else 2 / 72)
    assert found["for"] + found["against"] <= 0.07 * NULL_SETS, found


def test_flipped_signs_by_hand() -> None:
    assert flipped_signs(np.array([1.0, 2.0, 3.0])) == (1 / 8, 1.0)
    assert flipped_signs(np.array([3.0, -2.0])) == (2 / 4, 3 / 4)
    many = rng(24).normal(size=30)
    greater, less = flipped_signs(many + 0.3)
    assert greater + less == pytest.approx(1, abs=1e-3)
    assert greater == pytest.approx(1 - ndtr((many + 0.3).sum() / np.linalg.norm(many + 0.3)), abs=0.02)


# Beside the paper's


def test_the_papers_verdicts_do_not_depend_on_them(monkeypatch: pytest.MonkeyPatch) -> None:
    of = table()
    trials = of.explained(of.filled(rng(22), -0.02 * of.doublings, 0.3 * of.doublings))
    both = judge(trials, "mnist", "stdcnn", ATTACKS, 0.3)
    monkeypatch.setattr("tfsgd.reporting.claims.verdicts.beyond_claims", lambda *_: [])
    alone = judge(trials, "mnist", "stdcnn", ATTACKS, 0.3)
    assert [j.as_json() for j in both if j.claim.group != BEYOND] == [j.as_json() for j in alone]
    beyond = [j for j in both if j.claim.group == BEYOND and j.p_holm is not None]
    p_values = [j.evidence.p for j in beyond if isinstance(j.evidence, evidence.Tested)]
    assert len(beyond) > 3
    assert [j.p_holm for j in beyond] == pytest.approx(holm(p_values))


def test_they_have_names_of_their_own_and_are_about_every_attack() -> None:
    keys = [c.key for c in beyond_claims("fashion_mnist", "stdcnn", ["fgsm", "pgd", "square"])]
    assert len(set(keys)) == len(keys) == 5 + 3 * 3
    assert not set(keys) & {c.key for c in claims("fashion_mnist", "stdcnn")}
    metrics: list[Metric] = [c.metric for c in beyond_claims("mnist", "m1")]
    assert {m.attack for m in metrics} == {None, "fgsm", "pgd"}
