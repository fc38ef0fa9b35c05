"""Hessian-vector products and the top eigenvalue against truth that does not come from them."""

import sys
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.sparse.linalg import LinearOperator, eigsh

from tfsgd.data.dataset import Splits, to_unit
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature_spec import Curvature, Matvec
from tfsgd.measures.eigen import top_eigenvalue
from tfsgd.models.paper import build_model, c1, m1, resnet18, stdcnn
from tfsgd.networks.hessian import HessianVectorProduct

RNG = np.random.default_rng(1)


@pytest.fixture(autouse=True)
def _same_draws_in_any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "RNG", np.random.default_rng(1))


def shrunk(name: str) -> Any:
    """Each architecture with its own code, on smaller images where it would be large."""
    keras.utils.set_random_seed(3)
    body, shape = {
        "stdcnn": (stdcnn, (20, 20, 1)),
        "m1": (m1, (11, 11, 1)),
        "c1": (c1, (8, 8, 3)),
        "resnet18": (lambda image, layers, classes: resnet18(image, layers, classes, width=4), (8, 8, 3)),
    }[name]
    image = keras.Input(shape)
    model = keras.Model(image, body(image, keras.layers, 10))
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # running statistics that matter
            gamma, beta, mean, variance = layer.get_weights()
            layer.set_weights(
                [1 + 0.3 * RNG.random(gamma.shape), 0.2 * RNG.standard_normal(beta.shape),
                 0.2 * RNG.standard_normal(mean.shape), 0.5 + RNG.random(variance.shape)]
            )  # fmt: skip
    return model


def flat_gradient(model: Any, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    with tf.GradientTape() as tape:
        losses = keras.losses.sparse_categorical_crossentropy(
            labels, model(images, training=False), from_logits=True
        )
        loss = tf.reduce_mean(losses)
    return np.concatenate([g.numpy().ravel() for g in tape.gradient(loss, model.trainable_variables)])


def with_weights(model: Any, flat: np.ndarray) -> None:
    sizes = [int(np.prod(v.shape)) for v in model.trainable_variables]
    for variable, piece in zip(model.trainable_variables, np.split(flat, np.cumsum(sizes)[:-1]), strict=True):
        variable.assign(piece.reshape(variable.shape))


@pytest.mark.parametrize("name", ["stdcnn", "m1", "c1", "resnet18"])
@pytest.mark.usefixtures("float64")
def test_product_is_the_finite_difference_of_the_gradient(name: str) -> None:
    model = shrunk(name)
    images, labels = RNG.random((7, *model.input_shape[1:])), RNG.integers(0, 10, 7)
    product = HessianVectorProduct(model, images, labels, chunk_size=3)
    vector = RNG.standard_normal(product.dimension)
    vector /= np.linalg.norm(vector)
    exact = product(vector)

    weights = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
    step = 1e-5
    slopes = []
    for sign in (1, -1):
        with_weights(model, weights + sign * step * vector)
        slopes.append(flat_gradient(model, images, labels))
    difference = (slopes[0] - slopes[1]) / (2 * step)

    assert np.linalg.norm(exact) > 1e-3
    assert np.linalg.norm(exact - difference) < 1e-6 * np.linalg.norm(exact)


@pytest.mark.parametrize("name", ["stdcnn", "m1", "c1", "resnet18"])
@pytest.mark.usefixtures("float64")
def test_product_is_linear_symmetric_and_the_same_whatever_the_chunk(name: str) -> None:
    model = shrunk(name)
    images, labels = RNG.random((7, *model.input_shape[1:])), RNG.integers(0, 10, 7)
    ragged = HessianVectorProduct(model, images, labels, chunk_size=3)
    whole = HessianVectorProduct(model, images, labels, chunk_size=7)
    u, v = RNG.standard_normal((2, ragged.dimension))
    hu, hv = ragged(u), ragged(v)
    np.testing.assert_allclose(ragged(2 * u - 3 * v), 2 * hu - 3 * hv, rtol=0, atol=1e-9 * np.abs(hu).max())
    assert u @ hv == pytest.approx(v @ hu, rel=1e-9)
    np.testing.assert_allclose(hu, whole(u), rtol=0, atol=1e-11 * np.abs(hu).max())
    np.testing.assert_array_equal(hu, ragged(u))


def test_product_is_traced_once() -> None:
    model = shrunk("stdcnn")
    product = HessianVectorProduct(model, RNG.random((5, 20, 20, 1)), RNG.integers(0, 10, 5), chunk_size=2)
    for _ in range(3):
        product(RNG.standard_normal(product.dimension))
    assert product._product.experimental_get_tracing_count() == 1


# The eigen-solver


def matrix(eigenvalues: list[float]) -> np.ndarray:
    q, _ = np.linalg.qr(RNG.standard_normal((len(eigenvalues), len(eigenvalues))))
    return q @ np.diag(eigenvalues) @ q.T


def top(matvec: Matvec, dimension: int, tolerance: float = 1e-4, max_iterations: int = 2000) -> Any:
    return top_eigenvalue(matvec, dimension, max_iterations=max_iterations, tolerance=tolerance)


def test_diagonal_matrix() -> None:
    found = top(lambda v: np.array([5.0, 3.0, -4.0, 1.0, 0.0]) * v, 5)
    assert found.value == pytest.approx(5, rel=1e-7)
    assert found.converged
    assert found.error <= 1e-4


def test_dominant_negative_eigenvalue_is_passed_over() -> None:
    h = matrix([-9.0, 4.0, 2.0, 1.0, -3.0])
    found = top(lambda v: h @ v, 5)
    assert found.value == pytest.approx(4, rel=1e-6)
    assert found.converged


def test_negative_definite_matrix_has_its_least_negative_eigenvalue() -> None:
    h = matrix([-9.0, -4.0, -2.0])
    assert top(lambda v: h @ v, 3).value == pytest.approx(-2, rel=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_few_products_in_a_clustered_spectrum_and_an_honest_residual(seed: int) -> None:
    """The top of a network's spectrum, above a bulk; what is promised of the residual holds."""
    bulk = np.random.default_rng(seed).uniform(-5, 5, 400)
    h = np.concatenate([[117.0, 98.0, 91.0, 67.0, 56.0], bulk])

    def power_iteration() -> int:
        v = np.random.default_rng(seed).standard_normal(len(h))
        for product in range(1, 200):
            v /= np.linalg.norm(v)
            a = v @ (h * v)
            if np.linalg.norm(h * v - a * v) <= 1e-2 * a:
                return product
            v = h * v
        raise AssertionError

    found = top_eigenvalue(lambda v: h * v, len(h), max_iterations=100, tolerance=1e-2, seed=seed)
    assert found.converged
    assert found.products < 0.7 * power_iteration()
    assert abs(found.value - 117) <= found.error**2 * found.value**2 / (117 - 98)


def test_least_squares_has_the_hessian_two_over_n_xt_x() -> None:
    x, y = RNG.standard_normal((23, 6)).astype(np.float32), RNG.standard_normal((23, 1)).astype(np.float32)
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(1, use_bias=False)])
    product = HessianVectorProduct(
        model, x, y, loss=lambda label, output: tf.reduce_sum((output - label) ** 2, 1), chunk_size=5
    )
    expected = np.linalg.eigvalsh(2 / 23 * x.astype(np.float64).T @ x)[-1]
    assert top(product, 6).value == pytest.approx(expected, rel=1e-5)


def small_network(hidden: int) -> Any:
    """Smooth and small enough for a dense Hessian; in float64."""
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((6, 6, 1)), keras.layers.Conv2D(3, 3, activation="tanh"), keras.layers.Flatten(),
         keras.layers.Dense(hidden, activation="tanh"), keras.layers.Dense(4)]
    )  # fmt: skip


def dense_hessian(model: Any, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Column by column from finite differences of the gradient in float64, not from the product."""
    weights = np.concatenate([v.numpy().ravel() for v in model.trainable_variables])
    columns = []
    for unit in np.eye(len(weights)):
        slopes = []
        for sign in (1, -1):
            with_weights(model, weights + sign * 1e-5 * unit)
            slopes.append(flat_gradient(model, images, labels))
        columns.append((slopes[0] - slopes[1]) / 2e-5)
    with_weights(model, weights)
    return (np.array(columns) + np.array(columns).T) / 2


@pytest.mark.usefixtures("float64")
def test_small_network_against_its_dense_hessian() -> None:
    model = small_network(hidden=8)
    images, labels = RNG.random((11, 6, 6, 1)), RNG.integers(0, 4, 11)
    product = HessianVectorProduct(model, images, labels, chunk_size=4)
    assert product.dimension < 500
    dense = dense_hessian(model, images, labels)
    found = top(product, product.dimension, tolerance=1e-4)
    assert found.converged
    assert found.value == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-4)


def test_trained_stdcnn_against_lanczos(splits: Splits) -> None:
    keras.utils.set_random_seed(0)
    model = build_model("stdcnn")
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(to_unit(splits.train.images[:4000]), splits.train.labels[:4000], epochs=2, verbose=0)
    part = splits.train.first(250)
    product = HessianVectorProduct(model, to_unit(part.images), part.labels, chunk_size=100)
    found = top(product, product.dimension, tolerance=2e-3, max_iterations=300)
    operator = LinearOperator((product.dimension,) * 2, matvec=product, dtype=np.float64)
    expected = eigsh(operator, k=1, which="LA", tol=1e-5, return_eigenvectors=False)[0]
    assert found.converged
    assert found.value == pytest.approx(expected, rel=1e-3)


def test_not_converged_is_said() -> None:
    h = matrix([1.0, 0.999, 0.998, 0.997])
    found = top(lambda v: h @ v, 4, tolerance=1e-12, max_iterations=3)
    assert not found.converged
    assert found.products == 3
    assert found.error > 1e-12


def test_the_spec_passes_on_what_was_found() -> None:
    h = matrix([7.0, 3.0, -4.0, 1.0])
    spec = TopEigenvalue(max_iterations=50, tolerance=1e-3)
    found = top_eigenvalue(lambda v: h @ v, 4, max_iterations=50, tolerance=1e-3, seed=3)
    expected = Curvature(found.value, found.error, found.products, converged=True)
    assert spec.run(lambda v: h @ v, 4, seed=3) == expected
    assert found.value == pytest.approx(7, rel=1e-3)


def test_zero_matrix_has_eigenvalue_zero() -> None:
    found = top(np.zeros_like, 4)
    assert (found.value, found.error, found.converged) == (0, 0, True)


def test_non_finite_product_is_no_eigenvalue() -> None:
    found = top(lambda v: v * np.nan, 4)
    assert np.isnan(found.value)
    assert not found.converged
