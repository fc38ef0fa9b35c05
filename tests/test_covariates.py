"""What costs nothing beside a training: the Jacobian's norm and the size of the weights, against closed forms."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import logsumexp

from tests.conftest import Config
from tfsgd.data.dataset import Split, Splits
from tfsgd.measures.curvature.calibrated_eigenvalue import CalibratedEigenvalue
from tfsgd.measures.distance import Distance
from tfsgd.measures.eigen import top_eigenvalue
from tfsgd.measures.feature_rank import rank_of
from tfsgd.measures.jacobian import jacobian_norms
from tfsgd.measures.spec import Request
from tfsgd.measures.temperature import calibrating
from tfsgd.measures.weights import sizes_of
from tfsgd.models.paper import MODELS
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid
from tfsgd.training.devices import mirrored_strategy
from tfsgd.training.model import compiled_model, initial_weights
from tfsgd.training.seeds import seeded


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


def test_the_temperature_is_the_minimum_of_the_mean_cross_entropy() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 400)
    logits = 3 * np.eye(4)[labels] + 4 * rng.normal(size=(400, 4))
    found = calibrating(logits, labels)
    losses = {t: cross_entropy_at(t, logits, labels) for t in found * np.array([0.9, 0.999, 1, 1.001, 1.1])}
    assert min(losses, key=losses.__getitem__) == found
    assert calibrating(7 * logits, labels) == pytest.approx(7 * found)


def cross_entropy_at(temperature: float, logits: Any, labels: Any) -> float:
    scaled = logits / temperature
    return float((logsumexp(scaled, axis=1) - scaled[np.arange(len(labels)), labels]).mean())


def test_where_all_images_are_right_no_temperature_is_best() -> None:
    assert np.isnan(calibrating(np.eye(3), np.arange(3)))


def test_the_rank_of_features() -> None:
    rng = np.random.default_rng(1)
    basis = np.linalg.qr(rng.normal(size=(200, 5)) - 0.0)[0]
    basis -= basis.mean(0)
    basis = np.linalg.qr(basis)[0]
    even = rank_of(
        basis[:, :4] @ rng.permutation(np.eye(6))[:4] + 3.0
    )  # four directions of one length, and a mean
    assert (even["value"], even["components"]) == (pytest.approx(4, rel=1e-6), 4)
    one = rank_of(np.outer(rng.normal(size=50), [1.0, 2.0]))
    assert (one["value"], one["components"]) == (pytest.approx(1, rel=1e-4), 1)
    uneven = rank_of(basis[:, :2] * [3.0, 1.0])
    shares = np.array([0.75, 0.25])
    assert uneven["value"] == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-6)
    assert rank_of(np.ones((5, 3))) == {"value": 0.0, "components": 0}


def test_the_beginning_of_a_training_is_that_of_its_seed(config: Config) -> None:
    """The network that is trained, before its first step; whatever else was drawn before."""
    experiment = load_experiment(config())
    with seeded(5):
        model = compiled_model(experiment, grid(experiment)[0].settings, mirrored_strategy(), 200)
    first = initial_weights(experiment, 5)
    assert first is not None
    for variable, value in zip(model.trainable_variables, first, strict=True):
        np.testing.assert_array_equal(np.asarray(variable), value)
    split = Split(np.zeros((2, 28, 28, 1), np.uint8), np.array([0, 1]))
    splits = Splits(split, split, split, "0" * 64, "none")
    network = experiment.build()
    network.set_weights([w + 0.5 for w in model.get_weights()])
    request = Request("distance", "distance", Distance(), "train", 1)
    found = request.measure_on(MeasuredNetwork(network, splits, initial=lambda: first)).values
    assert found["value"] == pytest.approx(0.5 * sum(w.size for w in first) ** 0.5, rel=1e-6)
    assert found["layer_distances"][0] == pytest.approx(0.5 * first[0].size ** 0.5, rel=1e-6)
    assert request.measure_on(MeasuredNetwork(network, splits)).values == {
        "value": None,
        "layer_distances": [],
    }


def test_lambda1_at_the_calibrating_temperature_is_that_of_scaled_logits() -> None:
    """The last layer over T* is the same loss; its own block of the Hessian is then T*² times as large."""
    keras.utils.set_random_seed(4)
    rng = np.random.default_rng(3)
    network = keras.Sequential([keras.Input((2, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    network.set_weights([3 * w + 1e-3 for w in network.get_weights()])
    images = rng.integers(0, 256, (60, 2, 2, 1), np.uint8)
    labels = np.asarray(network(images / np.float32(255))).argmax(1)
    labels[::3] = (labels[::3] + 1) % 3
    split = Split(images, labels)
    subject = MeasuredNetwork(network, Splits(split, split, split, "0" * 64, "drawn"))
    spec = CalibratedEigenvalue(examples=60, tolerance=1e-5)
    found = Request("calibrated_eigenvalue", "here", spec, "train", 60).measure_on(subject).values
    temperature = found["temperature"]
    assert temperature == calibrating(subject.logits("validation", 60), split.labels)
    network.set_weights([w / temperature for w in network.get_weights()])
    product = HessianVectorProduct(network, *subject.images("train", 60))
    top = top_eigenvalue(product, product.dimension, max_iterations=100, tolerance=1e-5, seed=0).value
    assert found["value"] == pytest.approx(top / temperature**2, rel=1e-3)
