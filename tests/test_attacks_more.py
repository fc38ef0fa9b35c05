"""Noise, APGD, Square and the smallest epsilon: closed forms, their own promises, and what all attacks promise."""

import importlib
import json
import pkgutil
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfsgd.measures import attacks
from tfsgd.measures.attack import AttackSpec, Outcome
from tfsgd.measures.attacks.noise import Noise
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.loss import LOSSES
from tfsgd.measures.victim import Victim, assert_in_ball
from tfsgd.plan.specs import attack as attack_of

SHAPE, CLASSES = (8, 8, 1), 4
QUICK = {
    "steps": 6,
    "queries": 20,
    "draws": 3,
    "restarts": 2,
    "tolerance": 0.02,
}  # where a kind has the setting
KINDS = [module.name for module in pkgutil.iter_modules(attacks.__path__)]


def patterns(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of four faint patterns under noise, which a small network learns but not by heart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    bases = np.random.default_rng(0).normal(0, 0.08, (CLASSES, *SHAPE))
    images = np.clip(0.5 + bases[labels] + rng.normal(0, 0.25, (count, *SHAPE)), 0, 1)
    return images.astype(np.float32), labels


@pytest.fixture(scope="module")
def network() -> Any:
    """288 parameters, trained in a second."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(4, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(12, "relu"),
            layers.Dense(CLASSES),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(*patterns(600, 1), batch_size=50, epochs=8, verbose=0)
    return model


@pytest.fixture(scope="module")
def victim(network: Any) -> Victim:
    return Victim.of(network, chunk_size=16)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return patterns(80, 2)[0]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return patterns(80, 2)[1]


@pytest.fixture(scope="module")
def line() -> Victim:
    """Two classes, logits 0 and x·w + b."""
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(2)])
    weights = np.random.default_rng(5).normal(size=64)
    model.set_weights([np.stack([0 * weights, weights], 1), np.array([0, -0.5 * weights.sum()])])
    return Victim.of(model, chunk_size=16)


def grey(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images that no perturbation below 0.3 clips, and labels."""
    rng = np.random.default_rng(6)
    return rng.uniform(0.3, 0.7, (count, *SHAPE)).astype(np.float32), rng.integers(0, 2, count)


def margins(victim: Victim, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """True logit minus the largest other one."""
    logits = victim.logits(images).astype(np.float64)
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return logits[np.arange(len(labels)), labels] - others.max(1)


def standard_error(accuracy: float, count: int) -> float:
    return float(np.sqrt(max(accuracy * (1 - accuracy), 1 / count) / count))


def spec(kind: str, epsilon: float = 0.1, **settings: Any) -> AttackSpec:
    """A block of a config that says only what is quick."""
    [cls] = [
        c
        for c in vars(importlib.import_module(f"tfsgd.measures.attacks.{kind}")).values()
        if isinstance(c, type) and issubclass(c, AttackSpec) and c.__module__.endswith(f".{kind}")
    ]
    quick = {k: v for k, v in QUICK.items() if k in cls.model_fields and (kind, k) != ("bim", "restarts")}
    return attack_of(kind, {"epsilon": [epsilon], **quick, **settings}, None)


# What every attack promises


@pytest.mark.parametrize("kind", KINDS)
def test_every_attack_keeps_its_promises(
    kind: str, network: Any, victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    """In the ball, identity at 0, same seed same result, chunks of 7 or 16, misclassified where it says so."""
    clean = victim.predict(images) == labels
    assert 0.7 < clean.mean() < 1
    asked = spec(kind)
    json.dumps([asked.settings(), asked.unusual(), asked.at(0.1)])
    found = asked.run(victim, images, labels, 0.1, 3)
    assert_in_ball(found.images, images, 0.1)
    json.dumps(found.values, allow_nan=False)
    np.testing.assert_array_equal(victim.predict(found.images) == labels, found.correct)
    assert not np.any(found.correct & ~clean) or kind == "fgsm"

    same_images(asked.run(victim, images, labels, 0.1, 3), found)
    same_images(asked.run(Victim.of(network, chunk_size=7), images, labels, 0.1, 3), found)
    few = asked.run(victim, images[:30], labels[:30], 0.1, 3)
    np.testing.assert_allclose(few.images, found.images[:30], atol=1e-6)

    nothing = asked.run(victim, images, labels, 0.0, 3)
    np.testing.assert_array_equal(nothing.images, images)
    np.testing.assert_array_equal(nothing.correct, clean)


def same_images(one: Outcome, other: Outcome) -> None:
    np.testing.assert_allclose(one.images, other.images, atol=1e-6)
    np.testing.assert_array_equal(one.correct, other.correct)
    assert one.values == other.values


@pytest.mark.parametrize("kind", KINDS)
def test_counts_beyond_reason_are_refused(kind: str) -> None:
    for key in ("steps", "queries", "draws", "restarts"):
        if key in type(spec(kind)).model_fields:
            for wrong in (0, 2**31, 1.5):
                with pytest.raises(ValueError, match=rf"^{key}: "):
                    spec(kind, **{key: wrong})


# Noise


def test_noise_breaks_more_with_more_draws_and_less_than_pgd(
    victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    left = [
        Noise(epsilon=(0.2,), draws=draws).run(victim, images, labels, 0.2, 0).correct for draws in (1, 5, 40)
    ]
    assert not np.any(left[1] & ~left[0])
    assert not np.any(left[2] & ~left[1])
    clean = victim.predict(images) == labels
    pgd = PGD(epsilon=(0.2,), steps=10, relative_step_size=0.25).run(victim, images, labels, 0.2, 0)
    assert clean.sum() > left[2].sum() > pgd.correct.sum()


def test_noise_is_uniform_in_the_ball(line: Victim) -> None:
    """What was drawn is seen in the images that broke: all over [-epsilon, epsilon], and nothing else."""
    images, labels = grey(200)
    found = Noise(epsilon=(0.2,), draws=50).run(line, images, labels, 0.2, 0)
    clean = line.predict(images) == labels
    moved = (found.images - images)[clean & ~found.correct]
    assert len(moved) > 20
    np.testing.assert_allclose([np.abs(moved).max(), moved.std()], [0.2, 0.2 / 3**0.5], rtol=0.05)
    np.testing.assert_array_equal(found.images[found.correct], images[found.correct])


# The difference of logits ratio


def test_dlr_is_its_formula_and_knows_neither_scale_nor_shift() -> None:
    logits = np.random.default_rng(3).normal(size=(20, 5))
    labels = np.arange(20) % 5
    for classes in (5, 4, 3):
        z, y = logits[:, :classes], labels % classes
        largest = np.sort(z, 1)[:, ::-1]
        expected = [
            (np.delete(row, label).max() - row[label]) / (top[0] - top[2])
            for row, label, top in zip(z, y, largest, strict=True)
        ]
        for same in (z, 1000 * z, 3 * z - 7):
            np.testing.assert_allclose(LOSSES["dlr"](tf.constant(y), tf.constant(same)), expected, rtol=1e-9)
    two = tf.constant(logits[:, :2])
    np.testing.assert_array_equal(
        LOSSES["dlr"](tf.constant(labels % 2), two), LOSSES["margin"](tf.constant(labels % 2), two)
    )


def test_dlr_of_equal_logits_is_zero_and_its_gradient_finite() -> None:
    logits = tf.Variable(tf.zeros((2, 4)))
    with tf.GradientTape() as tape:
        losses = LOSSES["dlr"](tf.constant([0, 3]), logits)
    np.testing.assert_array_equal(losses, 0)
    assert np.isfinite(tape.gradient(losses, logits)).all()


@pytest.fixture(scope="module")
def certain(network: Any) -> Victim:
    """Logits times 1,000: the same predictions, and a softmax that float32 takes for certain."""
    return Victim.of(keras.Sequential([keras.Input(SHAPE), network, keras.layers.Rescaling(1000.0)]), 16)


def test_dlr_breaks_a_network_whose_cross_entropy_has_no_gradient(
    victim: Victim, certain: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    settings: dict[str, Any] = {"epsilon": (0.1,), "steps": 10, "relative_step_size": 0.25}
    left = {
        loss: PGD(**settings, loss=loss).run(certain, images, labels, 0.1, 0).correct.mean()
        for loss in ("cross_entropy", "dlr")
    }
    honest = PGD(**settings, loss="dlr").run(victim, images, labels, 0.1, 0).correct.mean()
    assert abs(left["dlr"] - honest) <= standard_error(honest, len(labels))
    assert left["cross_entropy"] > 2 * left["dlr"]
