"""The regimes against the paper's numbers, and Algorithm 1 against a NumPy loop."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfsgd.data.dataset import Splits
from tfsgd.models.paper import MODELS, Architecture
from tfsgd.plan.config import Experiment
from tfsgd.plan.regimes import Regime, SGDSettings
from tfsgd.training.batches import EpochBatches
from tfsgd.training.callbacks import LearningRateRule
from tfsgd.training.train import train


def only(batch_size: int, momentum: float, **keys: Any) -> SGDSettings:
    """The settings of a regime with one momentum."""
    [found] = Regime(momentum=(momentum,), **keys).settings(batch_size)
    return found


def test_lr_keeps_the_rate_and_lr_bs_the_ratio() -> None:
    assert only(4096, 0.5, learning_rate=0.01) == SGDSettings(4096, 0.5, 0.01)
    assert only(4096, 0.5, ratio=0.00015625) == SGDSettings(4096, 0.5, 0.64)


def test_lr_and_lr_bs_are_the_same_at_batch_size_64() -> None:
    assert only(64, 0.9, ratio=0.00015625) == only(64, 0.9, learning_rate=0.01)


def test_benchmark_halves_after_every_five_epochs() -> None:
    benchmark = only(64, 0.9, learning_rate=0.01, halve_every_epochs=5)
    rates = [benchmark.learning_rate_at(epoch, 100) for epoch in (0, 4, 5, 9, 10, 99)]
    assert rates == [0.01, 0.01, 0.005, 0.005, 0.0025, 0.01 / 2**19]


def linear(image: Any, layers: Any, classes: int) -> Any:
    return layers.Dense(classes, kernel_initializer="zeros")(layers.Flatten()(image))


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


@pytest.mark.parametrize("halve_every_epochs", [None, 1, 2])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_training_is_algorithm_1(
    momentum: float,
    halve_every_epochs: int | None,
    splits: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """v <- momentum v - gradient; weights <- weights + rate v, with a ragged last batch."""
    monkeypatch.setitem(MODELS, "linear", Architecture(linear, (28, 28, 1)))
    small = Splits(splits.train.first(100), splits.validation.first(10), splits.test.first(10), "", "")
    settings = SGDSettings(32, momentum, 0.05, halve_every_epochs)
    experiment = Experiment.model_validate(
        {"name": "x", "dataset": "fashion_mnist", "model": "linear", "epochs": 4, "batch_sizes": [32], "seeds": [0],
         "regimes": {"LR": {"learning_rate": 0.05, "momentum": [momentum]}}, "attacks": {},
         "hessian": {"examples": 10, "max_iterations": 1}, "train_examples": 100}
    )  # fmt: skip
    trained = train(settings, 7, experiment, small, tmp_path)

    weights, velocity = np.zeros((785, 10)), np.zeros((785, 10))
    batches = EpochBatches(small.train, 32, 7, augment=False)
    for epoch in range(4):
        for images, labels, _ in batches.dataset(epoch).take(batches.steps).as_numpy_iterator():
            inputs = np.c_[images.reshape(len(images), -1), np.ones(len(images))].astype(np.float64)
            gradient = inputs.T @ (softmax(inputs @ weights) - np.eye(10)[labels]) / len(labels)
            velocity = momentum * velocity - gradient
            weights = weights + settings.learning_rate_at(epoch, 4) * velocity

    kernel, bias = trained.network.get_weights()
    np.testing.assert_allclose(np.r_[kernel, bias[None]], weights, rtol=0, atol=2e-6)
    assert np.abs(weights).max() > 0.01


def test_the_velocity_is_rescaled_only_where_the_rate_changes() -> None:
    import keras

    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.01, momentum=0.9), "mse")
    model.fit(np.ones((4, 1)), np.ones((4, 1)), verbose=0)
    rule = LearningRateRule(SGDSettings(4, 0.9, 0.01, halve_every_epochs=1), 2)
    rule.set_model(model)
    before = np.array(model.optimizer.momentums[0])
    rule.on_epoch_begin(0)
    np.testing.assert_array_equal(model.optimizer.momentums[0], before)
    rule.on_epoch_begin(1)
    np.testing.assert_allclose(model.optimizer.momentums[0], before / 2, rtol=1e-6)
    assert float(model.optimizer.learning_rate.numpy()) == pytest.approx(0.005)
