"""What costs nothing beside a training: the Jacobian's norm and the size of the weights, against closed forms."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfsgd.measures.jacobian import jacobian_norms
from tfsgd.measures.weights import sizes_of
from tfsgd.models.paper import MODELS
from tfsgd.networks.compiled_victim import CompiledVictim


def images(shape: tuple[int, ...], count: int = 4) -> Any:
    return np.random.default_rng(0).uniform(size=(count, *shape)).astype(np.float32)


@pytest.mark.parametrize("scale", [1.0, 100.0])
def test_the_jacobian_of_a_linear_network_is_its_centred_weights(scale: float) -> None:
    weights = scale * np.random.default_rng(1).normal(size=(12, 5)).astype(np.float32)
    network = keras.Sequential([keras.Input((2, 2, 3)), keras.layers.Flatten(), keras.layers.Dense(5)])
    network.layers[-1].set_weights([weights, np.arange(5.0)])
    found = jacobian_norms(CompiledVictim.of(network), images((2, 2, 3)), np.array([0, 4, 2, 2]), 5)
    expected = np.linalg.norm(weights - weights.mean(1, keepdims=True))
    assert found == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("name", ["stdcnn", "m1"])
def test_the_jacobian_is_tensorflows_batch_jacobian(name: str) -> None:
    architecture = MODELS[name]
    keras.utils.set_random_seed(3)
    network = architecture.build((28, 28, 1), 10)
    x = images((28, 28, 1))
    found = jacobian_norms(CompiledVictim.of(network), x, np.array([1, 2, 3, 9]), 10)
    with tf.GradientTape() as tape:
        tape.watch(inputs := tf.constant(x))
        logits = network(inputs, training=False)
        centred = logits - tf.reduce_mean(logits, 1, keepdims=True)
    exact = tape.batch_jacobian(centred, inputs).numpy().reshape(4, -1).astype(np.float64)
    assert found == pytest.approx(np.linalg.norm(exact, axis=1), rel=1e-4)


def test_the_weights_norms_and_singular_values() -> None:
    rng = np.random.default_rng(2)
    kernel, dense, bias = rng.normal(size=(3, 3, 2, 4)), rng.normal(size=(7, 5)), rng.normal(size=5)
    found = sizes_of([kernel, dense, bias])
    flat = np.concatenate([w.ravel() for w in (kernel, dense, bias)])
    assert found["value"] == pytest.approx(np.sqrt((flat**2).sum()))
    assert found["layer_norms"] == pytest.approx([np.sqrt((w**2).sum()) for w in (kernel, dense, bias)])
    tops = [np.sqrt(np.linalg.eigvalsh(m.T @ m).max()) for m in (kernel.reshape(18, 4), dense)]
    assert found["log_spectral_norms"] == pytest.approx(np.log(tops).sum())


def test_a_rescaling_of_layers_moves_the_norm_and_neither_the_jacobian_nor_the_spectral_norms() -> None:
    """relu(a W1 x) W2 / a is the same network (Dinh et al. 2017)."""
    keras.utils.set_random_seed(4)
    network = keras.Sequential(
        [keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(8, "relu"), keras.layers.Dense(3)]
    )
    x, labels = images((2, 2, 1)), np.array([0, 1, 2, 0])
    before = jacobian_norms(CompiledVictim.of(network), x, labels, 3), sizes_of(network.get_weights())
    w1, b1, w2, b2 = network.get_weights()
    network.set_weights([4 * w1, 4 * b1, w2 / 4, b2])
    after = jacobian_norms(CompiledVictim.of(network), x, labels, 3), sizes_of(network.get_weights())
    assert after[0] == pytest.approx(before[0], rel=1e-5)
    assert after[1]["log_spectral_norms"] == pytest.approx(before[1]["log_spectral_norms"], abs=1e-6)
    assert after[1]["value"] > 1.5 * before[1]["value"]
