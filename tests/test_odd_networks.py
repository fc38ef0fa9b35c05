"""Ties of logits, and answers and gradients that are not finite: found, or refused in one line."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfsgd
from tests.own import refusal
from tfsgd.measures.loss import LOSSES

SHAPE = (4, 4, 1)
BY_GRADIENTS = ["fgsm", "pgd", "bim", "apgd", "minimal"]
DENSE = keras.layers.Dense


def of_the_mean(kernel: list[float], bias: list[float], dtype: str = "float32") -> Any:
    """z_i = kernel_i mean(x) + bias_i."""
    image = keras.Input(SHAPE)
    layer = DENSE(len(bias), dtype=dtype)
    mean = keras.layers.GlobalAveragePooling2D(dtype=dtype)(image)
    network = keras.Model(image, layer(mean))
    layer.set_weights([np.array([kernel]), np.array(bias)])
    return network


def greys(*levels: float) -> np.ndarray:
    return np.stack([np.full(SHAPE, level, np.float32) for level in levels])


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_smallest_epsilon_is_found_beyond_a_tie(dtype: str) -> None:
    """Logits 3 m and 3 - 3 m of the mean m tie at 0.5, where argmax still says 0. The truth is by trying."""
    network = of_the_mean([3.0, -3.0], [0.0, 3.0], dtype)
    down = np.linspace(0, 0.3, 30_001).astype(np.float32)
    for level in (0.5, 0.625, 0.7):
        tried = greys(level) - down.reshape(-1, 1, 1, 1)
        truth = down[np.argmax(np.argmax(network(tried), 1) == 1)]
        found = tfsgd.attack(network, greys(level), np.array([0]), "minimal", epsilon=0.3)
        assert found.values["censored"] == 0
        assert not found.correct.any()
        assert np.argmax(network(found.images), 1) == [1]
        assert found.values["median"] <= truth * 1.01 + 1e-4
        assert found.values["median"] == np.abs(found.images - greys(level)).max()


@pytest.mark.parametrize(("kind", "settings"), [("pgd", {"relative_step_size": 0.25}), ("apgd", {})])
def test_just_above_the_smallest_epsilon_an_attack_breaks(kind: str, settings: dict[str, Any]) -> None:
    network = of_the_mean([3.0, -3.0], [0.0, 3.0])
    for level in (0.5, 0.625):
        found = tfsgd.attack(network, greys(level), np.array([0]), kind, epsilon=level - 0.49, **settings)
        assert not found.correct.any()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_dlr_of_equal_logits_has_the_margins_gradient_in_a_graph_too(dtype: str) -> None:
    labels = tf.constant([1], tf.int64)
    logits = tf.fill([1, 3], tf.constant(2.0, dtype))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.function(LOSSES["dlr"])(labels, logits)
    assert loss.numpy() == [0]
    np.testing.assert_array_equal(tape.gradient(loss, logits), [[0.5, -1.0, 0.5]])


def test_a_network_that_gives_all_classes_the_same_is_attacked_with_dlr() -> None:
    constant = of_the_mean([0.0, 0.0, 0.0], [2.0, 2.0, 2.0])
    found = tfsgd.attack(constant, greys(0.1, 0.2, 0.3), np.arange(3), "pgd", epsilon=0.2, loss="dlr")
    assert found.correct.tolist() == [True, False, False]
    assert np.isfinite(found.images).all()


def rooted() -> Any:
    """z = W sqrt(x): its slope is infinite at black pixels."""
    image = keras.Input(SHAPE)
    keras.utils.set_random_seed(0)
    return keras.Model(image, DENSE(3)(keras.layers.Flatten()(keras.ops.sqrt(image))), name="rooted")


def rounded() -> Any:
    """z = W int(255 x), to which no gradient goes."""
    image = keras.Input(SHAPE)
    keras.utils.set_random_seed(0)
    whole = keras.ops.cast(keras.ops.cast(255 * image, "int32"), "float32")
    return keras.Model(image, DENSE(3)(keras.layers.Flatten()(whole)), name="rounded")


@pytest.mark.parametrize("network", [rooted, rounded])
@pytest.mark.parametrize("kind", BY_GRADIENTS)
def test_a_gradient_that_is_not_finite_is_the_networks_own(network: Any, kind: str) -> None:
    images = np.random.default_rng(0).uniform(0.3, 0.7, (12, *SHAPE)).astype(np.float32)
    images[4:7, 0] = 0
    model = network()
    labels = np.argmax(model(images), 1)
    settings = {"random_start": False} if kind == "pgd" else {}
    told = refusal(lambda: tfsgd.attack(model, images, labels, kind, epsilon=0.01, **settings))
    assert told.startswith(f"model {model.name}: the gradient of the loss is not finite at ")
    if network is rounded:
        assert "at 12 of 12 images" in told
    elif kind not in ("apgd",):  # which starts at random points
        assert "at 3 of 12 images" in told
    tfsgd.attack(model, images, labels, "square", epsilon=0.01, queries=5)
    tfsgd.attack(model, images, labels, "noise", epsilon=0.01, draws=2)


@pytest.mark.parametrize("kind", [*BY_GRADIENTS, "square", "noise"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused_wherever_they_are(kind: str, bad: float) -> None:
    """Behind the images that are looked at first too."""
    image = keras.Input(SHAPE)
    mean = keras.layers.GlobalAveragePooling2D()(image)
    high = keras.ops.where(mean > 0.9, bad, 0.0)
    network = keras.Model(image, DENSE(3)(mean) + high, name="holey")
    images = greys(*[0.5] * 10, 0.95, 0.5)
    told = refusal(lambda: tfsgd.attack(network, images, np.zeros(12, int), kind, epsilon=0.01))
    assert told.startswith("model holey: its outputs are not finite at 1 of 12 images")


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "apgd", "noise"])
def test_outputs_that_an_attack_drives_beyond_all_numbers_are_refused(kind: str) -> None:
    image = keras.Input(SHAPE)
    mean = keras.layers.GlobalAveragePooling2D()(image)
    network = keras.Model(image, DENSE(2)(mean) + keras.ops.where(mean != 0.5, np.nan, 0.0), name="holey")
    labels = np.argmax(network(greys(0.5, 0.5)), 1)
    told = refusal(lambda: tfsgd.attack(network, greys(0.5, 0.5), labels, kind, epsilon=0.1))
    assert told.startswith("model holey: its outputs are not finite at 2 of 2 images")
