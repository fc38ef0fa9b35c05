"""Contrasts and correlations against scipy, a linear model, and by hand."""

import numpy as np
import pytest
from scipy import stats

from tfsgd.reporting.statistics import contrast, orders_within, permuted_correlation, rank_correlation


def test_contrast_of_two_cells_is_the_paired_t_test() -> None:
    data = np.random.default_rng(0).normal(size=(5, 2))
    found = contrast(data, np.array([-1.0, 1.0]))
    expected = stats.ttest_rel(data[:, 1], data[:, 0])
    interval = expected.confidence_interval(0.95)
    assert found.estimate == pytest.approx((data[:, 1] - data[:, 0]).mean())
    assert 2 * min(found.p_greater, found.p_less) == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_contrast_is_that_of_a_linear_model_with_seeds_and_cells() -> None:
    seeds, cells = 4, 3
    data = np.random.default_rng(1).normal(size=(seeds, cells))
    weights = np.array([-0.5, 0.0, 0.5])
    design = np.zeros((seeds * cells, seeds + cells - 1))
    for i in range(seeds):
        for j in range(cells):
            design[i * cells + j, i] = 1
            if j:
                design[i * cells + j, seeds + j - 1] = 1
    inverse = np.linalg.inv(design.T @ design)
    beta = inverse @ design.T @ data.ravel()
    freedom = seeds * cells - design.shape[1]
    variance = ((data.ravel() - design @ beta) ** 2).sum() / freedom
    full = np.concatenate([np.zeros(seeds), weights[1:]])
    statistic = full @ beta / np.sqrt(variance * full @ inverse @ full)
    assert contrast(data, weights).p_greater == pytest.approx(stats.t.sf(statistic, freedom))


def test_rank_correlation_is_spearmans_and_its_partial_form() -> None:
    x, y, z = np.random.default_rng(3).normal(size=(3, 12))
    y = y - x + z
    plain, freedom = rank_correlation(x, y, [""] * 12)
    assert (plain, freedom) == (pytest.approx(stats.spearmanr(x, y).statistic), 10)
    xy, xz, yz = (stats.spearmanr(*pair).statistic for pair in ((x, y), (x, z), (y, z)))
    partial, freedom = rank_correlation(x, y, [""] * 12, z)
    assert partial == pytest.approx((xy - xz * yz) / np.sqrt((1 - xz**2) * (1 - yz**2)))
    assert freedom == 9


def test_means_that_differ_by_rounding_alone_are_ties() -> None:
    """Of accuracies on so many images equal means are common, and floats of equal sums differ in their last bit."""
    above, x = 0.1 + 0.2, np.array([1.0, 2.0, 3.0, 4.0])
    assert above > 0.3
    tied = rank_correlation(x, np.array([0.3, 0.3, 0.5, 0.6]), [""] * 4)
    assert rank_correlation(x, np.array([above, 0.3, 0.5, 0.6]), [""] * 4) == tied
    assert rank_correlation(x, np.array([0.3, above, 0.5, 0.6]), [""] * 4) == tied
    assert rank_correlation(x, np.array([0.3, 0.3 + 1e-9, 0.5, 0.6]), [""] * 4)[0] == pytest.approx(1)


def test_rank_correlation_within_regimes_ignores_differences_between_them() -> None:
    x = np.array([1.0, 2, 3, 4, 11, 12, 13, 14])
    y = np.array([4.0, 3, 2, 1, 14, 13, 12, 11])
    assert rank_correlation(x, y, [""] * 8)[0] > 0
    assert rank_correlation(x, y, list("aaaabbbb"))[0] == pytest.approx(-1)


def test_the_p_values_of_a_rank_correlation_are_those_of_all_orders() -> None:
    """SciPy's exact permutation test over all 720 orders of 6 values."""
    x, y = np.array([1.0, 5.0, 2.0, 4.0, 3.0, 6.0]), np.array([2.0, 6.0, 1.0, 4.0, 5.0, 3.0])
    found = permuted_correlation(x, y, [""] * 6)
    for p, side in ((found.p_greater, "greater"), (found.p_less, "less")):
        theirs = stats.permutation_test(
            (x,), lambda a: stats.spearmanr(a, y).statistic, permutation_type="pairings", alternative=side
        )
        assert p == pytest.approx(theirs.pvalue)


def test_orders_within_strata_keep_to_them() -> None:
    strata = tuple("abbacb")
    orders = orders_within(strata)
    assert len({tuple(order) for order in orders}) == len(orders) == 2 * 6
    assert (np.array(strata)[orders] == np.array(strata)).all()
    drawn = orders_within(tuple("a" * 10 + "b" * 3))
    assert (drawn[0] == np.arange(13)).all()
    assert (np.sort(drawn[:, 10:]) == [10, 11, 12]).all()
    assert len(drawn) == 10_000


def test_with_many_observations_both_ways_to_a_p_value_agree() -> None:
    x, noise, z = np.random.default_rng(3).normal(size=(3, 41))
    y = 0.3 * x + noise + z
    for given in (None, z):
        student = permuted_correlation(x, y, [""] * 41, given)
        permuted = permuted_correlation(x[:40], y[:40], [""] * 40, None if given is None else given[:40])
        freedom = permuted.freedom
        statistic = permuted.rho * np.sqrt(freedom / (1 - permuted.rho**2))
        assert permuted.p_greater == pytest.approx(stats.t.sf(statistic, freedom), abs=0.01)
        assert student.p_greater + student.p_less == pytest.approx(1)
