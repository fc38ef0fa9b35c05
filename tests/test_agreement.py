"""The agreement of signs: against all orders counted by hand, scipy's Kendall, and planted relations."""

import itertools
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tests.synthetic import Table, experiment
from tfsgd.reporting.claims.agreement import Agreement, agreement_of, agreements, knobs_of, worst_knobs
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.columns import Column

REGIMES: dict[str, Any] = {
    "LR": {"learning_rate": 0.01, "momentum": [0.0, 0.5, 0.9]},
    "LR/BS": {"ratio": 0.00015625, "momentum": [0.0, 0.5, 0.9]},
    "LR-0.1": {"learning_rate": 0.1, "momentum": [0.0]},
}


def table() -> Table:
    return Table(experiment(batch_sizes=[16, 64, 256, 1024], regimes=REGIMES))


def counted(
    measure: np.ndarray, other: np.ndarray, lines: list[tuple[int, list[int]]]
) -> tuple[float, float, float]:
    """The value and both tails, over every order of `other` within each line."""

    def total(values: np.ndarray) -> float:
        pairs = ((i, j) for _, rows in lines for i, j in itertools.combinations(rows, 2))
        return sum(float(np.sign(measure[i] - measure[j]) * np.sign(values[i] - values[j])) for i, j in pairs)

    sums = []
    for orders in itertools.product(*(itertools.permutations(rows) for _, rows in lines)):
        reordered = other.copy()
        for (_, rows), order in zip(lines, orders, strict=True):
            reordered[rows] = other[list(order)]
        sums.append(total(reordered))
    found, pairs = total(other), sum(len(rows) * (len(rows) - 1) // 2 for _, rows in lines)
    return found / pairs, float(np.mean(np.array(sums) >= found)), float(np.mean(np.array(sums) <= found))


@pytest.mark.parametrize("tied", [False, True])
def test_value_and_p_are_those_of_all_orders(tied: bool) -> None:
    measure, other = np.random.default_rng(0).normal(size=(2, 9))
    if tied:
        measure, other = measure.round(), other.round()
    lines = [(0, [0, 1, 2, 3]), (1, [4, 5, 6]), (2, [7, 8])]
    found = agreement_of(measure, other, lines)
    assert isinstance(found, Agreement)
    assert (found.estimate, found.p_greater, found.p_less) == pytest.approx(counted(measure, other, lines))
    assert found.pairs == 6 + 3 + 1


def test_one_line_is_kendalls_tau() -> None:
    measure, other = np.random.default_rng(1).normal(size=(2, 6))
    found = agreement_of(measure, other, [(0, list(range(6)))])
    assert isinstance(found, Agreement)
    expected = stats.kendalltau(measure, other, method="exact", alternative="greater")
    assert (found.estimate, found.p_greater) == pytest.approx((expected.statistic, expected.pvalue))


def test_unknown_values_take_no_part_and_nothing_to_compare_is_none() -> None:
    measure = np.array([1.0, np.nan, 3.0])
    found = agreement_of(measure, np.array([1.0, 2.0, 3.0]), [(0, [0, 1, 2])])
    assert isinstance(found, Agreement)
    assert (found.estimate, found.pairs) == (1.0, 1)
    assert agreement_of(measure, measure, [(0, [0, 1])]) is None


def test_networks_of_a_line_differ_in_the_knob_alone() -> None:
    rows = Cells(table().filled(np.random.default_rng(2)), 0.1).rows.reset_index(drop=True)
    knobs = knobs_of(rows)
    assert set(knobs) == {
        "batch size, LR", "batch size, LR/BS", "batch size, LR-0.1",
        "momentum, LR", "momentum, LR/BS", "learning rate",
    }  # fmt: skip
    columns = {"batch size": "batch_size", "momentum": "momentum", "learning rate": "learning_rate"}
    for name, lines in knobs.items():
        knob = columns[name.partition(",")[0]]
        for seed, members in lines:
            of = rows.loc[list(members)]
            assert set(of["seed"]) == {seed}
            assert of[knob].is_unique
            fixed = {"batch_size", "momentum"} - {knob} | ({"regime"} if knob != "learning_rate" else set())
            assert all(of[column].nunique() == 1 for column in fixed)


def test_a_planted_relation_is_found_on_its_knobs_alone() -> None:
    """Along the batch size under LR, and between LR and what has another rate at the same batch size."""
    of = table()
    rng = np.random.default_rng(3)
    lr = of.regime == "LR"
    trials = of.filled(rng, log2_epsilon=np.where(lr, -0.3 * of.doublings, 0.0))
    trials["follows"] = -np.log2(trials["smallest_epsilon"]) + 0.01 * rng.normal(size=len(trials))
    trials["along"] = np.where(lr, of.doublings, 0.0) + 0.3 * rng.normal(size=len(trials))
    columns = [
        Column("follows", title="follows"),
        Column("along", title="along"),
        Column("noise", title="noise"),
    ]
    trials["noise"] = rng.normal(size=len(trials))
    found = {(e.measure, e.knob): e.sign for e in agreements(Cells(trials, 0.1), columns)}
    assert {sign for (measure, _), sign in found.items() if measure == "follows"} == {-1}
    assert {knob for (measure, knob), sign in found.items() if measure == "along" and sign} == {
        "batch size, LR",
        "learning rate",
    }
    assert not any(sign for (measure, _), sign in found.items() if measure == "noise")
    said = dict(worst_knobs(agreements(Cells(trials, 0.1), columns)))
    assert said["follows"] == "falls with robustness on every knob"
    assert said["along"].startswith("not told on 4 of 6 knobs")


def test_a_measure_that_changes_sign_says_where() -> None:
    of = table()
    trials = of.filled(np.random.default_rng(4), log2_epsilon=0.3 * of.doublings + 2.0 * of.momentum)
    trials["odd"] = of.doublings - 100 * of.momentum
    said = dict(worst_knobs(agreements(Cells(trials, 0.1), [Column("odd", title="odd")])))
    assert said["odd"].startswith("changes sign: +1.00 (batch size, LR)")


def test_without_a_smallest_epsilon_there_is_no_table() -> None:
    trials = table().filled(np.random.default_rng(5)).drop(columns="smallest_epsilon")
    assert agreements(Cells(trials, 0.1), [Column("eigenvalue", title="λ1")]) == []
