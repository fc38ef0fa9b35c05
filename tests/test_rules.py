"""Training rules beyond the paper's: each against a NumPy loop, resumed, on two replicas, and refused where wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.test_checkpoint import Killed, everything, killer
from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits
from tfsgd.models.paper import MODELS, Architecture
from tfsgd.plan.regimes import SGDSettings
from tfsgd.training.batches import EpochBatches
from tfsgd.training.train import Trained, train

EPOCHS = 4
PLAIN = SGDSettings(32, 0.9, 0.05)
RULES: dict[str, dict[str, Any]] = {
    "weight_decay": {"weight_decay": 0.5},
    "nesterov": {"nesterov": True},
    "label_smoothing": {"label_smoothing": 0.3},
}
Weights = np.ndarray


@pytest.fixture(autouse=True)
def _linear(monkeypatch: pytest.MonkeyPatch) -> None:
    def linear(image: Any, layers: Any, classes: int) -> Any:
        return layers.Dense(classes, bias_initializer="ones")(layers.Flatten()(image))

    monkeypatch.setitem(MODELS, "linear", Architecture(linear, (28, 28, 1)))


def trained(settings: SGDSettings, splits: Splits, folder: Path, epochs: int = EPOCHS) -> Trained:
    asked = experiment(model="linear", epochs=epochs, batch_sizes=[32], train_examples=100)
    return train(settings, 7, asked, small(splits, 100), folder)


def weights_of(found: Trained) -> Weights:
    kernel, bias = found.network.get_weights()
    return np.r_[kernel, bias[None]].astype(np.float64)


def softmax(logits: np.ndarray) -> np.ndarray:
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return odds / odds.sum(1, keepdims=True)


def rate_at(s: SGDSettings, epoch: int) -> float:
    return s.learning_rate * 0.5 ** (epoch // (s.halve_every_epochs or 10**9))


def reference(s: SGDSettings, weights: Weights, splits: Splits, epochs: int = EPOCHS) -> Weights:
    """A linear softmax network, with the bias as the last row of the weights."""
    velocity = np.zeros_like(weights)
    batches = EpochBatches(small(splits, 100).train, 32, 7, augment=False)
    for epoch in range(epochs):
        rate = rate_at(s, epoch)
        for images, labels, _ in batches.dataset(epoch).take(batches.steps).as_numpy_iterator():
            inputs = np.c_[images.reshape(len(images), -1), np.ones(len(images))].astype(np.float64)
            targets = np.eye(10)[labels] * (1 - s.label_smoothing) + s.label_smoothing / 10
            gradient = inputs.T @ (softmax(inputs @ weights) - targets) / len(labels)
            velocity = s.momentum * velocity - gradient
            step = s.momentum * velocity - gradient if s.nesterov else velocity
            weights = weights - rate * s.weight_decay * weights + rate * step
    return weights


@pytest.fixture
def start(splits: Splits, tmp_path: Path) -> Weights:
    """The weights before the first step."""
    return weights_of(trained(SGDSettings(32, 0.0, 1e-30), splits, tmp_path / "start", 1))


@pytest.mark.parametrize("halved", [None, 1])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_weight_decay(
    halved: int | None, momentum: float, start: Weights, splits: Splits, tmp_path: Path
) -> None:
    settings = SGDSettings(32, momentum, 0.05, halved, weight_decay=0.5)
    found = weights_of(trained(settings, splits, tmp_path))
    np.testing.assert_allclose(found, reference(settings, start, splits), rtol=0, atol=3e-6)
    plain = reference(replace(settings, weight_decay=0.0), start, splits)
    assert np.abs(found - plain)[-1].max() > 0.01  # biases decay as kernels do
    assert np.abs(found - plain)[:-1].max() > 0.01


@pytest.mark.parametrize("halved", [None, 1])
def test_nesterov(halved: int | None, start: Weights, splits: Splits, tmp_path: Path) -> None:
    settings = SGDSettings(32, 0.9, 0.05, halved, nesterov=True)
    found = weights_of(trained(settings, splits, tmp_path))
    np.testing.assert_allclose(found, reference(settings, start, splits), rtol=0, atol=3e-6)
    plain = reference(replace(settings, nesterov=False), start, splits)
    assert np.abs(found - plain).max() > 0.01


@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_label_smoothing(momentum: float, start: Weights, splits: Splits, tmp_path: Path) -> None:
    """The smoothed loss is descended, and the history has the cross-entropy of the labels as they are."""
    settings = SGDSettings(32, momentum, 0.05, label_smoothing=0.3)
    done = trained(settings, splits, tmp_path)
    found, expected = weights_of(done), reference(settings, start, splits)
    np.testing.assert_allclose(found, expected, rtol=0, atol=3e-6)
    assert np.abs(found - reference(replace(settings, label_smoothing=0.0), start, splits)).max() > 0.01
    still = trained(SGDSettings(32, 0.0, 1e-30, label_smoothing=0.3), splits, tmp_path / "still", 1)
    images = splits.train.first(100)
    odds = softmax(np.c_[images.images.reshape(100, -1) / 255, np.ones(100)] @ start)
    [loss] = still.history["loss"]
    assert loss == pytest.approx(-np.log(odds[range(100), images.labels]).mean(), rel=1e-5)


@pytest.mark.parametrize("rule", RULES)
def test_resumed_is_uninterrupted_bit_for_bit(rule: str, splits: Splits, tmp_path: Path) -> None:
    settings, asked = replace(PLAIN, batch_size=64, **RULES[rule]), experiment(epochs=4)
    whole = train(settings, 3, asked, small(splits), tmp_path / "whole", "a" * 64)
    for epoch in (1, 3):
        with pytest.raises(Killed):
            train(settings, 3, asked, small(splits), tmp_path / "cut", "a" * 64, killer(epoch))
    resumed = train(settings, 3, asked, small(splits), tmp_path / "cut", "a" * 64)
    assert everything(resumed) == everything(whole)
