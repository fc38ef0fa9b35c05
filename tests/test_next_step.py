"""The step that an optimizer would take, and the curvature along it: by hand, and of a dense Hessian."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.test_train import experiment, small
from tfsgd.data.dataset import Split, Splits
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.networks.operators import product_of
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.requests import along_requests
from tfsgd.training.next_step import NextStep
from tfsgd.training.optimizer import SGD
from tfsgd.training.train import train

RATE = 0.01
Array = NDArray[np.float64]
History = list[Array]  # the gradients so far, of one variable, that of the next step last


def descent(gradients: History) -> Array:
    return -RATE * gradients[-1]


def momentum(gradients: History) -> Array:
    """Algorithm 1 of the paper."""
    v = np.zeros_like(gradients[0])
    for g in gradients:
        v = 0.9 * v - g
    return RATE * v


def adam(gradients: History) -> Array:
    """Kingma and Ba 2015, Algorithm 1, with epsilon where Keras has it."""
    m, v = np.zeros_like(gradients[0]), np.zeros_like(gradients[0])
    for g in gradients:
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
    t = len(gradients)
    return -RATE * np.sqrt(1 - 0.999**t) / (1 - 0.9**t) * m / (np.sqrt(v) + 1e-7)


def muon(gradients: History) -> Array:
    """Jordan et al. 2024: Newton-Schulz on Nesterov's momentum of matrices, scaled as Liu et al. 2025 have it; Adam on biases."""
    if gradients[0].ndim != 2:
        return adam(gradients)
    m = np.zeros_like(gradients[0])
    for g in gradients:
        m = 0.95 * m + g
    x = gradients[-1] + 0.95 * m
    is_tall = x.shape[0] > x.shape[1]
    x = x.T if is_tall else x
    x = x / (np.linalg.norm(x) + 1e-7)
    for _ in range(5):
        a = x @ x.T
        x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
    x = x.T if is_tall else x
    return -RATE * 0.2 * np.sqrt(max(x.shape)) * x


RULES: dict[str, tuple[Callable[[], Any], Callable[[History], Array]]] = {
    "sgd": (lambda: SGD(RATE), descent),
    "momentum": (lambda: SGD(RATE, momentum=0.9), momentum),
    "adam": (lambda: keras.optimizers.Adam(RATE), adam),
    "muon": (lambda: keras.optimizers.Muon(RATE, weight_decay=0.0), muon),
}


@pytest.fixture
def network() -> Any:
    keras.utils.set_random_seed(0)
    image = keras.Input((3, 3, 1))
    hidden = keras.layers.Dense(4, activation="tanh")(keras.layers.Flatten()(image))
    return keras.Model(image, keras.layers.Dense(3)(hidden))


@pytest.mark.parametrize("name", RULES)
def test_the_curvature_along_the_step_that_is_taken_by_hand(name: str, network: Any) -> None:
    make, by_hand = RULES[name]
    rng = np.random.default_rng(0)
    part = Split(rng.integers(0, 256, (20, 3, 3, 1), np.uint8), rng.integers(0, 3, 20))
    splits = Splits(part, part, part, "", "")
    asked = experiment(along={"measures": ["directional_sharpness"], "every_epochs": 1, "examples": 20})
    [request] = along_requests(asked, 0)
    product = product_of(TopEigenvalue(), network, part.images.astype("f") / 255, part.labels)
    network.compile(optimizer=make(), loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    network.optimizer.build(network.trainable_variables)
    gradients: list[list[Array]] = []
    for _ in range(3):  # the optimizer has seen others before
        gradients.append([rng.normal(scale=0.1, size=v.shape) for v in network.trainable_variables])
        now = [keras.ops.convert_to_tensor(g, "float32") for g in gradients[-1]]
        network.optimizer.apply(now, network.trainable_variables)
    state = [v.numpy().copy() for v in (*network.variables, *network.optimizer.variables)]
    subject = MeasuredNetwork(network, splits, 20)
    with subject.while_trained(NextStep(network)):
        found = request.measure_on(subject).headline
    for variable, value in zip((*network.variables, *network.optimizer.variables), state, strict=True):
        np.testing.assert_array_equal(variable, value)
    dense = np.array([product(row) for row in np.eye(product.dimension)], np.float64)
    whole = product_of(request.spec, network, part.images.astype("f") / 255, part.labels, 20)  # type: ignore[arg-type]
    last = np.split(whole.gradient(np.arange(20)), np.cumsum([v.size for v in network.get_weights()])[:-1])
    last = [g.reshape(v.shape) for g, v in zip(last, network.get_weights(), strict=True)]
    steps = [by_hand([before[i] for before in gradients] + [last[i]]) for i in range(len(last))]
    u = np.concatenate([step.ravel() for step in steps])
    assert found == pytest.approx(u @ dense @ u / (u @ u), rel=2e-3)


def test_a_step_that_rounding_hides_is_not_known(network: Any) -> None:
    rng = np.random.default_rng(0)
    part = Split(rng.integers(0, 256, (20, 3, 3, 1), np.uint8), rng.integers(0, 3, 20))
    asked = experiment(along={"measures": ["directional_sharpness"], "every_epochs": 1, "examples": 20})
    [request] = along_requests(asked, 0)
    network.compile(optimizer=SGD(1e-7), loss="mse")
    subject = MeasuredNetwork(network, Splits(part, part, part, "", ""), 20)
    assert request.measure_on(subject).headline is None
    with subject.while_trained(NextStep(network)):
        assert request.measure_on(subject).headline is None


def test_of_gradient_descent_it_is_measured_on_the_way(splits: Splits, tmp_path: Path) -> None:
    """The last moment is g'Hg / |g|² of the trained network, and λ1 is above it."""
    along = {"measures": ["hessian", "directional_sharpness"], "every_updates": 3, "examples": 50}
    found = train(
        SGDSettings(100, 0.0, 0.05),
        3,
        experiment(epochs=3, attacks={}, along=along),
        small(splits, 100),
        tmp_path,
    )
    assert found.along["update"] == (3,)
    [top], [value] = found.along["hessian"], found.along["directional_sharpness"]
    request = along_requests(experiment(attacks={}, along=along), 3)[1]
    few = small(splits, 100).train.first(request.examples)
    product = product_of(request.spec, found.network, few.images / np.float32(255), few.labels, 100)  # type: ignore[arg-type]
    bent, squared = product.along_gradient(np.arange(request.examples))
    assert value == pytest.approx(bent / squared, rel=1e-3)
    assert top is not None
    assert value is not None
    assert value < top
