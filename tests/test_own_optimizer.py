"""Optimizers of one's own: trained with, resumed bit for bit, and refused where they cannot be used."""

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Config, Run
from tests.test_checkpoint import Killed, everything, killer
from tests.test_train import small
from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.trials import grid
from tfsgd.training.train import train

CODE = """
import keras
import tensorflow as tf

class Slow(keras.optimizers.Optimizer):
    '''SGD with a share of the rate, and a running mean of the weights that is not used.'''

    def __init__(self, learning_rate, share=1.0):
        super().__init__(learning_rate)
        self.share = share

    def build(self, variables):
        super().build(variables)
        self.means = [self.add_variable_from_reference(v, "mean") for v in variables]

    def update_step(self, gradient, variable, learning_rate):
        self.assign_sub(variable, self.share * learning_rate * gradient)
        self.assign(self.means[self._get_variable_index(variable)], variable)

class Forgetful(Slow):
    def build(self, variables):
        super().build(variables)
        self.last = [tf.Variable(v) for v in variables]

def no_optimizer(learning_rate):
    return learning_rate

def raises(learning_rate):
    raise ValueError("odd")
"""


@pytest.fixture(autouse=True)
def _imported_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("own_rules", "slow_rules"):
        monkeypatch.delitem(sys.modules, name, raising=False)


def written(config: Config, name: str = "own_rules:Slow", **more: Any) -> Path:
    rule = {"R": {"learning_rate": 0.1, "optimizer": {"name": name, **more}}}
    path = config(regimes=rule, epochs=2, batch_sizes=[64], seeds=[3])
    (path.parent / f"{name.partition(':')[0]}.py").write_text(CODE)
    return path


def test_it_is_trained_with_and_resumed(config: Config, splits: Splits, tmp_path: Path) -> None:
    asked = load_experiment(written(config, "slow_rules:Slow", share=0.5))
    [trial] = grid(asked)
    assert trial.name == "r/b0064-m0.0-slow_rules.Slow-share=0.5-s3"
    images = small(splits)
    found = train(trial.settings, 3, asked, images, tmp_path / "own", "a" * 64)
    plain = train(SGDSettings(64, 0.0, 0.05), 3, asked, images, tmp_path / "plain")
    for ours, theirs in zip(found.network.get_weights(), plain.network.get_weights(), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)
    with pytest.raises(Killed):
        train(trial.settings, 3, asked, images, tmp_path / "cut", "a" * 64, killer(1))
    resumed = train(trial.settings, 3, asked, images, tmp_path / "cut", "a" * 64)
    assert everything(resumed) == everything(found)


REFUSED = {
    "Forgetful": "optimizer: own_rules:Forgetful: last: a checkpoint would not hold this variable",
    "no_optimizer": "expected to return a keras.optimizers.Optimizer, returned float",
    "raises": "it raised ValueError: odd",
    "Slwo": "has no 'Slwo'; did you mean 'Slow'?",
}


@pytest.mark.parametrize("name", REFUSED)
def test_one_that_cannot_be_used_is_refused_before_training(
    name: str, config: Config, run_sweep: Run, tmp_path: Path
) -> None:
    code, _, err = run_sweep(written(config, f"own_rules:{name}"), "--logs", tmp_path / "logs")
    assert code == 2
    [line] = err.strip().splitlines()
    assert REFUSED[name] in line
    assert not [*tmp_path.rglob("record.json")]


def test_an_argument_that_it_has_not(config: Config, run_sweep: Run, tmp_path: Path) -> None:
    code, _, err = run_sweep(written(config, share_of=1), "--logs", tmp_path / "logs")
    assert code == 2
    assert "share_of" in err
    assert len(err.strip().splitlines()) == 1


def test_a_folder_of_results_runs_none(config: Config, splits: Splits, tmp_path: Path) -> None:
    asked = load_experiment(written(config)).model_copy(update={"own_code": ()})
    [trial] = grid(asked)
    with pytest.raises(RequestError, match="optimizer: own_rules:Slow: a folder of results runs no code"):
        train(trial.settings, 3, asked, small(splits), tmp_path / "x")
