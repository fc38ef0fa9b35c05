"""Contrasts and correlations against scipy, a linear model, and by hand."""

import numpy as np
import pytest
from scipy import stats

from tfsgd.reporting.statistics import contrast, rank_correlation


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


def test_rank_correlation_within_regimes_ignores_differences_between_them() -> None:
    x = np.array([1.0, 2, 3, 4, 11, 12, 13, 14])
    y = np.array([4.0, 3, 2, 1, 14, 13, 12, 11])
    assert rank_correlation(x, y, [""] * 8)[0] > 0
    assert rank_correlation(x, y, list("aaaabbbb"))[0] == pytest.approx(-1)
