"""Batch sharpness against closed forms and finite differences in float64."""

from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import pytest

from tests.own import refusal
from tests.test_hessian import flat_gradient, small_network, with_weights
from tfsgd.data.dataset import Split, Splits
from tfsgd.measures.curvature.batch_sharpness import BatchSharpness
from tfsgd.measures.spec import Request
from tfsgd.networks.batch_hessian import BatchProduct
from tfsgd.networks.measured_network import MeasuredNetwork

RNG = np.random.default_rng(1)
IMAGES, LABELS = RNG.random((23, 6, 6, 1)), RNG.integers(0, 4, 23)


@pytest.fixture(autouse=True, scope="module")
def _float64() -> Iterator[None]:
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def drawn(batch_size: int, batches: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.choice(23, batch_size, replace=False) for _ in range(batches)]


def test_of_a_linear_model_it_has_a_closed_form() -> None:
    """z = Wx + b: g = Σ x ⊗ (p - y) / b and H = Σ xxᵀ ⊗ (diag(p) - ppᵀ) / b over the batch."""
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(4)])
    inputs = np.c_[IMAGES.reshape(23, -1), np.ones(23)]
    logits = model(IMAGES).numpy()
    p = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    slopes = p - np.eye(4)[LABELS]
    alongs, squares = [], []
    for batch in drawn(10, 6, seed=3):
        g = inputs[batch].T @ slopes[batch] / 10
        moved = inputs[batch] @ g  # of each image's logits, by a step along g
        second = (p[batch] * moved**2).sum(1) - (p[batch] * moved).sum(1) ** 2
        alongs.append(second.mean())
        squares.append((g**2).sum())
    quotients = np.array(alongs) / np.array(squares)
    product = BatchProduct(model, IMAGES, LABELS, chunk_size=4)
    found = BatchSharpness(batches=6, batch_size=10).run(product, product.dimension, 3)
    assert found.value == pytest.approx(quotients.mean(), rel=1e-10)
    assert found.error == pytest.approx(quotients.std(ddof=1) / np.sqrt(6), rel=1e-8)
    assert found.more["ratio_of_means"] == pytest.approx(np.mean(alongs) / np.mean(squares), rel=1e-10)
    assert (found.products, found.converged, found.more["batch_size"]) == (6, True, 10)


def test_of_a_small_network_it_is_the_finite_difference_along_the_gradient() -> None:
    model = small_network(hidden=2)
    weights = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
    product = BatchProduct(model, IMAGES, LABELS, batch_size=7, chunk_size=3)
    for batch in drawn(7, 3, seed=0):
        images, labels = IMAGES[batch], LABELS[batch]
        g = flat_gradient(model, images, labels)
        slopes = []
        for sign in (1, -1):
            with_weights(model, weights + sign * 1e-5 * g)
            slopes.append(g @ flat_gradient(model, images, labels))
        with_weights(model, weights)
        along, squared = product.along_gradient(batch)
        assert squared == pytest.approx(g @ g, rel=1e-10)
        assert along == pytest.approx((slopes[0] - slopes[1]) / 2e-5, rel=1e-6)
    assert product._gradient.experimental_get_tracing_count() == 1


def test_the_batch_size_is_the_trials_own_unless_the_config_says_one() -> None:
    split = Split((255 * IMAGES).astype(np.uint8), LABELS)
    splits = Splits(split, split, split, "0" * 64, "drawn")
    network: Any = small_network(hidden=2)

    def value(subject: MeasuredNetwork, spec: BatchSharpness) -> Any:
        request = Request("batch_sharpness", "mine", spec, "train", 23)
        return request.measure_on(subject).values["value"]

    own, said, other = BatchSharpness(), BatchSharpness(batch_size=5), BatchSharpness(batch_size=9)
    trained = MeasuredNetwork(network, splits, batch_size=5)
    assert value(trained, own) == value(trained, said) != value(trained, other)
    unknown = MeasuredNetwork(network, splits)
    assert value(unknown, said) == value(trained, said)
    assert "batch_sharpness.batch_size: expected a number" in refusal(lambda: value(unknown, own))
    few = BatchSharpness(batch_size=24)
    assert "examples: expected at least the batch size, 24, received 23" in refusal(
        lambda: value(unknown, few)
    )
