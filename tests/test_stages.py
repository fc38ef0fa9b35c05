"""Trainings in stages: batches that grow, attacked images after the others, ghost batches; each against a NumPy loop."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import Config
from tests.test_rules import PLAIN, Weights, softmax, trained, weights_of
from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.models.paper import MODELS, Architecture
from tfsgd.plan.length import Length
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.regimes import Regime, SGDSettings
from tfsgd.plan.stages import Stage, stages_of, updates_of
from tfsgd.training.adversarial import STEPS, attacked
from tfsgd.training.batches import EpochBatches
from tfsgd.training.train import train

EXAMPLES = 100
GROWING: dict[str, Any] = {"grow_every_epochs": 1, "grow_factor": 2, "grow_up_to": 80}
THEN: dict[str, Any] = {"adversarial_epochs": 2, "adversarial_attack": "fgsm", "adversarial_epsilon": 0.1}


@pytest.fixture(autouse=True)
def _linear(monkeypatch: pytest.MonkeyPatch) -> None:
    def linear(image: Any, layers: Any, classes: int) -> Any:
        return layers.Dense(classes, bias_initializer="ones")(layers.Flatten()(image))

    monkeypatch.setitem(MODELS, "linear", Architecture(linear, (28, 28, 1)))


@pytest.fixture
def start(splits: Splits, tmp_path: Path) -> Weights:
    return weights_of(trained(SGDSettings(32, 0.0, 1e-30), splits, tmp_path / "start", 1))


def perturbed(
    weights: Weights, images: Weights, labels: Any, epsilon: float, steps: int, share: float
) -> Weights:
    """A linear network's log-odds rise along W (q - e_y), q being the softmax of the other logits."""
    reached = images
    for _ in range(steps):
        others = reached @ weights[:-1] + weights[-1]
        others[range(len(labels)), labels] = -np.inf
        up = (softmax(others) - np.eye(10)[labels]) @ weights[:-1].T
        reached = np.clip(reached + share * epsilon * np.sign(up), images - epsilon, images + epsilon).clip(
            0, 1
        )
    return reached


def steps_of(s: SGDSettings, splits: Splits, natural: int) -> Iterator[tuple[bool, Weights, Any]]:
    """Whether it is attacked, images and labels of every step."""
    split = small(splits, EXAMPLES).train
    for epoch in range(natural + s.adversarial_epochs):
        size = (
            32
            if s.grow_every_epochs is None
            else min(32 * 2 ** (epoch // s.grow_every_epochs), s.grow_up_to or 0)
        )
        batches = EpochBatches(split, size, 7, augment=False)
        for images, labels, _ in batches.dataset(epoch).take(-(-EXAMPLES // size)).as_numpy_iterator():
            yield epoch >= natural, images.reshape(len(images), -1).astype(np.float64), labels


def reference(s: SGDSettings, weights: Weights, splits: Splits, natural: int = 4) -> Weights:
    velocity = np.zeros_like(weights)
    for is_attacked, images, labels in steps_of(s, splits, natural):
        if is_attacked:
            how = STEPS[s.adversarial_attack]
            images = perturbed(weights, images, labels, s.adversarial_epsilon, *how)
        inputs = np.c_[images, np.ones(len(images))]
        outputs = inputs @ weights if s.loss == "mse" else softmax(inputs @ weights)
        gradient = inputs.T @ (outputs - np.eye(10)[labels]) / len(inputs)
        velocity = s.momentum * velocity - gradient
        weights = weights + s.learning_rate * velocity
    return weights


@pytest.mark.parametrize(
    "rule", [GROWING, THEN, THEN | {"adversarial_attack": "pgd"}, GROWING | THEN], ids=str
)
def test_a_training_in_stages(rule: dict[str, Any], start: Weights, splits: Splits, tmp_path: Path) -> None:
    settings = replace(PLAIN, **rule)
    done = trained(settings, splits, tmp_path)
    found = weights_of(done)
    np.testing.assert_allclose(found, reference(settings, start, splits), rtol=0, atol=5e-6)
    assert np.abs(found - reference(PLAIN, start, splits)).max() > 0.01
    assert len(done.history["loss"]) == 4 + settings.adversarial_epochs


def test_squared_error(start: Weights, splits: Splits, tmp_path: Path) -> None:
    """And its own Hessian: that of a linear network is the mean of x xT, whatever the class."""
    settings = replace(PLAIN, learning_rate=0.002, loss="mse")
    few = small(splits, EXAMPLES)
    regimes = {"R": {"learning_rate": 0.002, "momentum": [0.9], "loss": "mse"}}
    hessian = {"examples": 100, "tolerance": 1e-4}
    asked = experiment(
        model="linear", epochs=4, batch_sizes=[32], train_examples=100, regimes=regimes, hessian=hessian
    )
    done = train(settings, 7, asked, few, tmp_path)
    np.testing.assert_allclose(weights_of(done), reference(settings, start, splits), rtol=0, atol=5e-6)
    inputs = np.c_[few.train.images.reshape(100, -1) / 255, np.ones(100)]
    assert done.hessian is not None
    assert done.hessian.value == pytest.approx(np.linalg.eigvalsh(inputs.T @ inputs / 100)[-1], rel=1e-4)


def test_the_stages_and_their_updates() -> None:
    epochs = Length("epochs", 4)
    assert stages_of(PLAIN, epochs, 100) == [Stage(4, 32, 4)]
    growing = stages_of(replace(PLAIN, **GROWING), epochs, 100)
    assert growing == [Stage(1, 32, 4), Stage(2, 64, 2), Stage(4, 80, 2)]
    assert updates_of(growing) == 4 + 2 + 2 * 2
    both = stages_of(replace(PLAIN, **THEN), epochs, 100)
    assert both == [Stage(4, 32, 4), Stage(6, 32, 4, is_adversarial=True)]
    cut = stages_of(PLAIN, Length("updates", 13), 100)
    assert cut == [Stage(3, 32, 4), Stage(4, 32, 1)]
    assert updates_of(cut) == 13


def test_attacked_images_are_those_of_a_sure_network() -> None:
    """Where the cross-entropy's gradient is 0 in float32, the attack still knows the way."""
    weights = np.zeros((4, 2), np.float32)
    weights[0] = [400, -400]
    images, labels = tf.constant([[0.9, 0.5, 0.0, 1.0]]), tf.constant([0], tf.int64)
    found = attacked(lambda x, training: x @ weights, images, labels, "pgd", 0.3)
    np.testing.assert_allclose(found, [[0.6, 0.5, 0.0, 1.0]], atol=1e-6)


def test_ghost_batches_are_normalized_each_by_itself(
    splits: Splits, tmp_path: Path, monkeypatch: Any
) -> None:
    """One epoch equals a loop in which each ghost batch is a pass of its own, and the step is of their sum."""

    def normalized(image: Any, layers: Any, classes: int) -> Any:
        return layers.Dense(classes)(layers.BatchNormalization(momentum=0.5)(layers.Flatten()(image)))

    monkeypatch.setitem(MODELS, "normalized", Architecture(normalized, (28, 28, 1)))
    asked = experiment(model="normalized", epochs=1, batch_sizes=[50], train_examples=100)
    images = small(splits, 100)
    start = train(SGDSettings(50, 0.0, 1e-30), 7, asked, images, tmp_path / "start").network
    settings = SGDSettings(50, 0.0, 0.05, ghost_batch=25)
    found = train(settings, 7, asked, images, tmp_path / "ghost").network.trainable_variables
    twin = keras.models.clone_model(start)
    twin.set_weights(start.get_weights())
    whole = train(
        SGDSettings(50, 0.0, 0.05), 7, asked, images, tmp_path / "whole"
    ).network.trainable_variables
    for pixels, labels, weights in EpochBatches(images.train, 50, 7, augment=False).dataset().take(2):
        sums = [tf.zeros_like(v) for v in twin.trainable_variables]
        for part in (slice(0, 25), slice(25, 50)):
            with tf.GradientTape() as tape:
                losses = keras.losses.sparse_categorical_crossentropy(
                    labels[part], twin(pixels[part], training=True), from_logits=True
                )
                loss = tf.reduce_sum(losses * weights[part])
            sums = [a + b for a, b in zip(sums, tape.gradient(loss, twin.trainable_variables), strict=True)]
        for variable, gradient in zip(twin.trainable_variables, sums, strict=True):
            variable.assign_sub(0.05 * gradient)
    for ours, by_hand in zip(found, twin.trainable_variables, strict=True):
        np.testing.assert_allclose(ours, by_hand, rtol=0, atol=1e-5)
    assert np.abs(found[-2] - whole[-2]).max() > 1e-3


def test_ghost_batches_need_batch_norm(splits: Splits, tmp_path: Path) -> None:
    settings = SGDSettings(50, 0.0, 0.05, ghost_batch=25)
    asked = experiment(model="linear", epochs=1, batch_sizes=[50], train_examples=100)
    with pytest.raises(
        RequestError, match=r"regimes: ghost_batch: expected a network with BatchNorm, linear has none"
    ):
        train(settings, 7, asked, small(splits, 100), tmp_path)


def test_a_config_names_them() -> None:
    rule = {"learning_rate": 0.05, "momentum": [0.9]}
    blocks = {"grow_batch": {"every_epochs": 1, "up_to": 80}, "then": {"epochs": 2, "attack": {"fgsm": 0.1}}}
    made = Regime.model_validate(rule | blocks)
    assert [*made.settings(32)] == [replace(PLAIN, **GROWING, **THEN)]
    assert Regime.model_validate(made.model_dump(mode="json")) == made


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"grow_batch": {"every_epochs": 4, "up_to": 100}}, "grow_batch.every_epochs: expected fewer than the 4 of the training"),
    ({"grow_batch": {"every_epochs": 1, "up_to": 64}}, "grow_batch.up_to: expected more than the largest batch size, 64"),
    ({"grow_batch": {"every_epochs": 1, "up_to": 10**6}}, "grow_batch.up_to: expected more than the largest batch size, 64"),
    ({"grow_batch": {"every_epoch": 1}}, "grow_batch.every_epoch: unknown key; did you mean 'every_epochs'?"),
    ({"grow_batch": {"every_epochs": 1, "up_to": 100, "factor": 1}}, "grow_batch.factor: expected greater than or equal to 2"),
    ({"grow_batch": 5}, "grow_batch: expected a mapping"),
    ({"then": {"epochs": 1, "attack": {"fgms": 0.1}}}, "then.attack.fgms: expected 'fgsm' or 'pgd'"),
    ({"then": {"epochs": 1, "attack": {"fgsm": 0}}}, "then.attack.fgsm: expected greater than 0"),
    ({"then": {"epochs": 1, "attack": {}}}, "then.attack: expected one attack, received 0"),
    ({"then": {"attack": {"fgsm": 0.1}}}, "then.epochs: missing"),
    ({"loss": "mae"}, "loss: expected 'cross_entropy' or 'mse', received 'mae'"),
    ({"loss": "mse", "label_smoothing": 0.1}, "label_smoothing: expected none beside loss: mse"),
    ({"ghost_batch": 64}, "ghost_batch: expected less than the largest batch size, 64, received 64"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_wrong_stages_are_refused_in_one_line(config: Config, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as refused:
        load_experiment(
            config(
                epochs=4, batch_sizes=[64], regimes={"R": {"learning_rate": 0.05, "momentum": [0.9]} | keys}
            )
        )
    assert f": regimes.R.{message}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_one_loss_for_all_regimes(config: Config) -> None:
    plain = {"learning_rate": 0.05, "momentum": [0.9]}
    with pytest.raises(
        RequestError, match="regimes: loss: expected the same in all, since λ1 is that of the loss"
    ):
        load_experiment(config(regimes={"A": plain, "B": plain | {"loss": "mse"}}))


def test_a_budget_of_updates_has_no_stages_beside_it(config: Config) -> None:
    rule = {"R": {"learning_rate": 0.05, "momentum": [0.9], "then": {"epochs": 1, "attack": {"fgsm": 0.1}}}}
    with pytest.raises(
        RequestError, match=r"regimes\.R\.then: expected epochs beside it, received budget\.updates"
    ):
        load_experiment(config(epochs=None, budget={"updates": 13}, batch_sizes=[64], regimes=rule))
