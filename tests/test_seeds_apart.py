"""Seeds of the initialization and of the order of the batches, each by itself."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.conftest import Config
from tests.synthetic import experiment as synthetic
from tests.synthetic import realistic, write_sweep
from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.trials import grid
from tfsgd.reporting.claims.verdicts import judgements_of
from tfsgd.reporting.page.report_text import seeds_apart
from tfsgd.reporting.statistics import variance_components
from tfsgd.reporting.table.studies import read_studies
from tfsgd.training.train import train


def test_each_order_with_each_initialization(config: Config) -> None:
    asked = load_experiment(config(seeds=[0, 1], order_seeds=[0, 1, 2], batch_sizes=[64]))
    per_seed = len(grid(load_experiment(config(seeds=[0], batch_sizes=[64]))))
    trials = grid(asked)
    assert len(trials) == 6 * per_seed
    assert {(t.seed, t.settings.order_seed) for t in trials} == {
        (0, None), (0, 1), (0, 2), (1, 0), (1, None), (1, 2)
    }  # fmt: skip
    assert {t.name.partition("-m")[2].partition("-")[2] for t in trials} == {
        "s0", "order1-s0", "order2-s0", "order0-s1", "s1", "order2-s1"
    }  # fmt: skip


def test_an_order_seed_changes_the_order_alone(splits: Splits, tmp_path: Path) -> None:
    asked, images = experiment(epochs=1), small(splits)
    still = SGDSettings(64, 0.9, 1e-30)
    begins = [train(s, 3, asked, images, tmp_path / "begin") for s in (still, replace(still, order_seed=4))]
    for one, other in zip(*(found.network.get_weights() for found in begins), strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=1e-28)  # one step at a rate of 1e-30
    moving = SGDSettings(64, 0.9, 0.05)
    plain, same, other = (
        train(s, 3, asked, images, tmp_path / "end").history["loss"]
        for s in (moving, replace(moving, order_seed=3), replace(moving, order_seed=4))
    )
    assert plain == same != other


def test_wrong_order_seeds_are_refused(config: Config) -> None:
    with pytest.raises(RequestError, match="order_seeds: expected each value once"):
        load_experiment(config(order_seeds=[1, 1]))
    with pytest.raises(RequestError, match=r"order_seeds.*expected greater than or equal to 0, received -1"):
        load_experiment(config(order_seeds=[-1]))


def test_components_of_planted_effects() -> None:
    rows, columns = np.array([0.0, 1.0, 5.0]), np.array([0.0, 2.0])
    assert variance_components(rows[:, None] + columns[None]) == pytest.approx(
        (rows.var(ddof=1), columns.var(ddof=1), 0)
    )
    rng = np.random.default_rng(0)
    found = [
        variance_components(rng.normal(0, 2, (5, 1)) + rng.normal(0, 1, (1, 4)) + rng.normal(0, 0.5, (5, 4)))
        for _ in range(4_000)
    ]
    np.testing.assert_allclose(np.mean(found, 0), (4, 1, 0.25), rtol=0.05)


def test_the_page_says_what_each_seed_does(tmp_path: Path) -> None:
    of = synthetic(seeds=[0, 1, 2], order_seeds=[0, 1, 2])
    [study] = read_studies([write_sweep(tmp_path / "apart", of, realistic)])
    said = [*seeds_apart(study)]
    assert len(said) >= 2
    assert all("by the initialization" in line and "by the order of the batches" in line for line in said)
    tested = {j.evidence.seeds for j in judgements_of(study)}
    assert max(tested) == 3  # an order of the batches is no seed of its own
    [plain] = read_studies([write_sweep(tmp_path / "plain", synthetic(seeds=[0, 1, 2]), realistic)])
    assert [*seeds_apart(plain)] == []
