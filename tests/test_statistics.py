"""Contrasts and seeds against scipy."""

import numpy as np
import pytest
from scipy import stats

from tfsgd.reporting.statistics import contrast, seeds_needed


def test_contrast_of_two_cells_is_the_paired_t_test() -> None:
    data = np.random.default_rng(0).normal(size=(5, 2))
    found = contrast(data, np.array([-1.0, 1.0]))
    expected = stats.ttest_rel(data[:, 1], data[:, 0])
    interval = expected.confidence_interval(0.95)
    assert found.estimate == pytest.approx((data[:, 1] - data[:, 0]).mean())
    assert 2 * min(found.p_greater, found.p_less) == pytest.approx(expected.pvalue)
    assert (found.low, found.high) == pytest.approx((interval.low, interval.high))


def test_contrast_of_many_cells_is_the_t_test_of_one_number_a_seed() -> None:
    data, weights = np.random.default_rng(1).normal(size=(4, 3)), np.array([-0.5, 0.1, 0.4])
    found = contrast(data, weights, above=0.2)
    for p, side in ((found.p_greater, "greater"), (found.p_less, "less")):
        assert p == pytest.approx(stats.ttest_1samp(data @ weights, 0.2, alternative=side).pvalue)


def test_seeds_that_are_all_alike_are_as_sure_as_can_be() -> None:
    found = contrast(np.array([[0.0, 1.0]] * 3), np.array([-1.0, 1.0]))
    assert (found.estimate, found.low, found.high) == (1.0, 1.0, 1.0)
    assert found.p_greater < 1e-12
    assert contrast(np.zeros((3, 2)), np.array([-1.0, 1.0])).p_less == 1.0


def test_seeds_needed_grow_with_the_spread_and_end() -> None:
    assert seeds_needed(1.0, 0.01, 1, True) == 3
    assert seeds_needed(1.0, 1.0, 1, True) == 7
    assert seeds_needed(-1.0, 1.0, 13, True) == 13
    assert seeds_needed(0.1, 1.0, 13, True) is None
