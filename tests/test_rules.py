"""Training rules beyond the paper's: each against a NumPy loop, resumed, on two replicas, and refused where wrong."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import Config
from tests.test_checkpoint import Killed, everything, killer
from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.models.paper import MODELS, Architecture
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.regimes import Regime, SGDSettings
from tfsgd.training import model as train_module
from tfsgd.training.batches import EpochBatches
from tfsgd.training.devices import check_rules, mirrored_strategy
from tfsgd.training.model import compiled_model
from tfsgd.training.optimizer import SGD
from tfsgd.training.train import Trained, train
from tfsgd.training.train_steps import SharpnessAware

EPOCHS = 4
PLAIN = SGDSettings(32, 0.9, 0.05)
RULES: dict[str, dict[str, Any]] = {
    "weight_decay": {"weight_decay": 0.5},
    "nesterov": {"nesterov": True},
    "label_smoothing": {"label_smoothing": 0.3},
    "cosine": {"schedule": "cosine", "warmup_epochs": 1},
    "sam": {"sam": 0.5, "weight_decay": 0.1},
    "asam": {"sam": 0.5, "adaptive": True},
    "step": {"schedule": "step", "step_epochs": (1, 3)},
    "bfloat16": {"precision": "bfloat16"},
    "grow": {"grow_every_epochs": 2, "grow_up_to": 128},
    "then": {"adversarial_epochs": 2, "adversarial_attack": "fgsm", "adversarial_epsilon": 0.1},
}
HALF = 0.05 / 2
RATES = {  # of 0.05, by schedule and warmup: in each of four epochs, worked out by hand
    ("cosine", 0): [0.05, HALF * (1 + 0.5**0.5), HALF, HALF * (1 - 0.5**0.5)],
    ("cosine", 1): [HALF, 0.05, HALF * 1.5, HALF * 0.5],
    ("linear", 0): [0.05, 0.0375, 0.025, 0.0125],
    ("linear", 2): [0.05 / 3, 0.1 / 3, 0.05, 0.025],
    ("step", 0): [0.05, 0.005, 0.005, 0.0005],
    ("constant", 3): [0.0125, 0.025, 0.0375, 0.05],
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
    if (s.schedule, s.warmup_epochs) in RATES:
        return RATES[s.schedule, s.warmup_epochs][epoch]
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

            def gradient_at(weights: Weights, inputs: Any = inputs, targets: Any = targets) -> Weights:
                change: Weights = inputs.T @ (softmax(inputs @ weights) - targets) / len(inputs)
                return change

            gradient = gradient_at(weights)
            if s.sam:
                scale = np.abs(weights) + 0.01 if s.adaptive else np.ones_like(weights)
                scale[-1] = 1  # the bias
                ascent = scale**2 * gradient / np.sqrt(np.sum((scale * gradient) ** 2))
                gradient = gradient_at(weights + s.sam * ascent)
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


@pytest.mark.parametrize("part_size", [1_024, 20])  # at 20 a batch of 32 images is two parts
@pytest.mark.parametrize(("momentum", "adaptive"), [(0.0, False), (0.9, False), (0.9, True)])
def test_sam(
    momentum: float,
    adaptive: bool,
    part_size: int,
    start: Weights,
    splits: Splits,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(train_module, "PART_SIZE", part_size)
    settings = SGDSettings(32, momentum, 0.05, 2, sam=0.5, adaptive=adaptive)
    done = trained(settings, splits, tmp_path)
    found = weights_of(done)
    np.testing.assert_allclose(found, reference(settings, start, splits), rtol=0, atol=3e-6)
    other = replace(settings, sam=0.0) if not adaptive else replace(settings, adaptive=False)
    assert np.abs(found - reference(other, start, splits)).max() > 0.001


def test_sam_of_nothing_is_the_training_without_it() -> None:
    """The settings are those without it, and the network is Keras's own."""
    [none, some] = regime(sam=[0.0, 0.5], adaptive=True).settings(64)
    assert (none, some) == (
        replace(PLAIN, batch_size=64),
        replace(PLAIN, batch_size=64, sam=0.5, adaptive=True),
    )
    kinds = [type(compiled_model(experiment(), s, mirrored_strategy(), 300)) for s in (none, some)]
    assert kinds == [type(experiment().build()), SharpnessAware]


def test_both_passes_of_sam_see_one_network() -> None:
    """The second has the dropout of the first, and leaves BatchNorm's statistics and dropout's generator alone."""

    def body(image: Any, layers: Any, classes: int) -> Any:
        x = layers.BatchNormalization(momentum=0.5)(layers.Flatten()(image))
        return layers.Dense(classes)(layers.Dropout(0.5)(x))

    rng = np.random.default_rng(0)
    data = tuple(
        map(
            tf.constant, (rng.random((8, 4, 4, 1), np.float32), rng.integers(0, 3, 8), np.full(8, 1 / 8, "f"))
        )
    )
    left = []
    for rho in (0.0, 0.5):
        keras.backend.clear_session()
        keras.utils.set_random_seed(0)
        image = keras.Input((4, 4, 1))
        model: Any = SharpnessAware(image, body(image, keras.layers, 3), rho=rho, adaptive=False)
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")
        model.compile(SGD(0.1, momentum=0.9), loss, metrics=["accuracy"], jit_compile=False)
        found = tf.function(model.train_step)(data)
        weights = [v.numpy() for v in model.trainable_variables]
        left.append((weights, [v.numpy() for v in model._states()], [float(v) for v in found.values()]))
    (plain, states, figures), (sam, sam_states, sam_figures) = left
    assert len(states) == 3
    assert figures == sam_figures  # those of the first pass
    for one, other in zip(states, sam_states, strict=True):
        np.testing.assert_array_equal(one, other)
    assert any(np.abs(a - b).max() > 1e-4 for a, b in zip(plain, sam, strict=True))
    keras.backend.clear_session()
    keras.utils.set_random_seed(0)
    image = keras.Input((4, 4, 1))
    once: Any = keras.Model(image, body(image, keras.layers, 3))
    once.compile(
        SGD(0.1, momentum=0.9),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
        jit_compile=False,
    )
    tf.function(once.train_step)(data)
    for ours, theirs in zip(plain, once.trainable_variables, strict=True):
        np.testing.assert_array_equal(ours, theirs.numpy())  # with rho 0 the second pass is the first again


def test_sam_on_several_replicas_is_refused() -> None:
    check_rules([PLAIN, replace(PLAIN, sam=0.1)], 1)
    check_rules([PLAIN], 2)
    with pytest.raises(RequestError, match=r"regimes: sam: expected one replica, found 2; leave it out"):
        check_rules([PLAIN, replace(PLAIN, sam=0.1)], 2)


def scheduled(schedule: Any, warmup: int, momentum: float = 0.9) -> SGDSettings:
    settings = SGDSettings(32, momentum, 0.05, schedule=schedule, warmup_epochs=warmup)
    return replace(settings, step_epochs=(1, 3)) if schedule == "step" else settings


@pytest.mark.parametrize(("schedule", "warmup"), RATES)
def test_rates_of_the_epochs(schedule: Any, warmup: int) -> None:
    found = [scheduled(schedule, warmup).learning_rate_at(epoch, EPOCHS) for epoch in range(EPOCHS)]
    np.testing.assert_allclose(found, RATES[schedule, warmup], rtol=1e-12)


@pytest.mark.parametrize(
    ("schedule", "warmup", "momentum"),
    [("cosine", 1, 0.9), ("linear", 2, 0.9), ("step", 0, 0.9), ("constant", 3, 0.9), ("cosine", 0, 0.0)],
)
def test_schedules(
    schedule: Any, warmup: int, momentum: float, start: Weights, splits: Splits, tmp_path: Path
) -> None:
    """The velocity of Algorithm 1 has no rate in it, whatever the rate does."""
    settings = scheduled(schedule, warmup, momentum)
    done = trained(settings, splits, tmp_path)
    np.testing.assert_allclose(weights_of(done), reference(settings, start, splits), rtol=0, atol=3e-6)
    rates = np.array(done.history["learning_rate"], float)
    np.testing.assert_allclose(rates, RATES[schedule, warmup], rtol=1e-6)


def test_warmup_from_next_to_nothing(splits: Splits, tmp_path: Path) -> None:
    """Rates at the edge of single precision: the slots stay finite."""
    settings = SGDSettings(32, 0.9, 1e-30, warmup_epochs=3)
    assert np.isfinite(weights_of(trained(settings, splits, tmp_path))).all()


def regime(**keys: Any) -> Regime:
    return Regime.model_validate({"learning_rate": 0.05, "momentum": [0.9]} | keys)


def test_rates_scale_with_the_batch_size() -> None:
    scaled = [regime(scale=how, base_batch_size=64) for how in ("linear", "sqrt")]
    assert [r.rate(64) for r in scaled] == [0.05, 0.05]
    assert [r.rate(1024) for r in scaled] == [0.8, 0.2]
    assert regime(scale="linear", base_batch_size=64).rate(3) == 0.00234375
    [as_ratio] = Regime(ratio=0.05 / 64, momentum=(0.9,)).settings(1024)
    assert [*scaled[0].settings(1024)] == [as_ratio]


def test_a_schedule_is_what_is_trained_with() -> None:
    [cosine] = regime(schedule="cosine", warmup_epochs=1).settings(32)
    assert cosine == scheduled("cosine", 1)
    [step] = regime(schedule={"step": [1, 3]}).settings(32)
    assert step == scheduled("step", 0)
    assert [*regime(schedule={"step": [3, 1]}).settings(32)] == [step]
    steps = regime(schedule={"step": [1, 3], "factor": 0.3})
    assert Regime.model_validate(steps.model_dump(mode="json")) == steps


SHORT = ("sam", "then", "grow", "bfloat16", "step")  # the others are run by `make faults`


@pytest.mark.parametrize(
    "rule", [pytest.param(r, marks=() if r in SHORT else pytest.mark.long) for r in RULES]
)
def test_resumed_is_uninterrupted_bit_for_bit(rule: str, splits: Splits, tmp_path: Path) -> None:
    model = (
        "stdcnn" if rule in ("sam", "then", "bfloat16") else "linear"
    )  # dropout and layers matter to these
    settings, asked = replace(PLAIN, batch_size=64, **RULES[rule]), experiment(epochs=4, model=model)
    whole = train(settings, 3, asked, small(splits), tmp_path / "whole", "a" * 64)
    for epoch in (3, 5) if settings.adversarial_epochs else (3,):
        with pytest.raises(Killed):
            train(settings, 3, asked, small(splits), tmp_path / "cut", "a" * 64, killer(epoch))
    resumed = train(settings, 3, asked, small(splits), tmp_path / "cut", "a" * 64)
    assert everything(resumed) == everything(whole)


# What is refused

WRONG: list[tuple[dict[str, Any], str]] = [
    ({"weight_decay": -1}, "weight_decay: expected greater than or equal to 0, received -1"),
    ({"weight_decay": [0.1, 0.1]}, "weight_decay: expected each value once"),
    ({"weight_decay": []}, "weight_decay: expected at least one entry"),
    ({"weight_decay": 1e-40}, "weight_decay: expected 0, or at least 1e-30, received 1e-40"),
    ({"weight_decay": "much"}, "weight_decay: expected a number, received 'much'"),
    ({"nesterov": True, "momentum": [0.0, 0.9]}, "nesterov: expected momenta above 0, received 0.0 among them"),
    ({"nesterov": 1}, "nesterov: expected true or false, received 1"),
    ({"label_smoothing": 1.0}, "label_smoothing: expected less than 1, received 1.0"),
    ({"label_smoothing": [-0.1]}, "label_smoothing: expected greater than or equal to 0, received -0.1"),
    ({"sam": [-0.1]}, "sam: expected greater than or equal to 0, received -0.1"),
    ({"sam": [0.0], "adaptive": True}, "adaptive: expected a sam above 0 beside it"),
    ({"adaptive": True}, "adaptive: expected a sam above 0 beside it"),
    ({"schedule": "cosin"}, "schedule: expected cosine, linear or {step: [EPOCH, ...], factor: 0.1}, received 'cosin'"),
    ({"schedule": {"step": [4]}}, "schedule.step: expected epochs before the last of 4, received 4"),
    ({"schedule": {"step": [0]}}, "schedule.step: expected greater than or equal to 1, received 0"),
    ({"schedule": {"stp": [1]}}, "schedule.stp: unknown key; did you mean 'step'?; step: missing"),
    ({"schedule": {"step": [1], "factor": 1}}, "schedule.factor: expected less than 1, received 1"),
    ({"schedule": "cosine", "halve_every_epochs": 1}, "schedule: expected none beside halve_every_epochs, which is one"),
    ({"warmup_epochs": 4}, "warmup_epochs: expected fewer than the 4 of the training, received 4"),
    ({"warmup_epochs": -1}, "warmup_epochs: expected greater than or equal to 0, received -1"),
    ({"scale": "linear"}, "base_batch_size: missing; scale needs it"),
    ({"base_batch_size": 64}, "scale: missing; base_batch_size needs it"),
    ({"scale": "cubic", "base_batch_size": 64}, "scale: expected 'linear' or 'sqrt', received 'cubic'"),
    ({"scale": "sqrt", "base_batch_size": 64, "learning_rate": None, "ratio": 0.1},
     "scale: expected learning_rate beside it, received ratio, which scales by itself"),
    ({"scale": "linear", "base_batch_size": 1, "learning_rate": 1e30}, "scale: expected learning rates from 1e-30 to 1e+30"),
]  # fmt: skip


@pytest.mark.parametrize(("keys", "message"), WRONG, ids=[message[:40] for _, message in WRONG])
def test_wrong_rules_are_refused_in_one_line(config: Config, keys: dict[str, Any], message: str) -> None:
    with pytest.raises(RequestError) as refused:
        load_experiment(config(epochs=4, regimes={"R": {"learning_rate": 0.05, "momentum": [0.9]} | keys}))
    assert f": regimes.R.{message}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_rule_must_fit_the_shortest_training(config: Config) -> None:
    """With a budget of updates the largest batches make the most epochs, and the smallest the fewest."""
    rule = {"R": {"learning_rate": 0.05, "momentum": [0.9], "warmup_epochs": 2}}
    keys: dict[str, Any] = {"epochs": None, "budget": {"updates": 13}, "regimes": rule}
    assert load_experiment(config(**keys, batch_sizes=[64]))  # 4 an epoch
    with pytest.raises(RequestError, match=r"regimes\.R\.warmup_epochs: expected fewer than the 1 of"):
        load_experiment(config(**keys, batch_sizes=[16, 64]))
