"""λ1 with respect to the input against matrices with known eigenvalues and dense Hessians by finite differences."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.test_curvature import matrix
from tests.test_hessian import small_network
from tfsgd.data.dataset import Splits, to_unit
from tfsgd.measures.curvature.input_eigenvalue import InputEigenvalue
from tfsgd.measures.spec import Request
from tfsgd.models.paper import build_model
from tfsgd.networks.input_hessian import InputProduct
from tfsgd.networks.measured_network import MeasuredNetwork

RNG = np.random.default_rng(6)
IMAGES, LABELS = RNG.random((7, 6, 6, 1)), RNG.integers(0, 4, 7)


class Blocks:
    """Each image has a matrix of its own."""

    def __init__(self, matrices: list[np.ndarray]) -> None:
        self._matrices = np.array(matrices)
        self.examples = len(matrices)

    def __call__(self, vectors: np.ndarray, indices: np.ndarray) -> np.ndarray:
        return np.einsum("nij,nj->ni", self._matrices[indices], vectors)


def solved(source: Any, dimension: int, **settings: Any) -> Any:
    return InputEigenvalue(**settings).run(source, dimension, 3)


def quartiles(found: Any) -> list[float]:
    return [found.more[key] for key in ("lower_quartile", "median", "upper_quartile")]


def test_each_image_has_the_largest_algebraic_eigenvalue_of_its_own_matrix() -> None:
    """Also where one of larger magnitude is negative, all are, there is only zero, or an image ends before others."""
    spectra = [[9.0, 4, 2, 1, 0.5], [3, 1, -8, 0, 0], [-1, -2, -3, -4, -5], [0.0] * 5, [6, 6, 6, 6, 6]]
    tops = np.array([9.0, 3, -1, 0, 6])
    found = solved(Blocks([matrix(s, seed) for seed, s in enumerate(spectra)]), 5, tolerance=1e-8)
    assert quartiles(found) == pytest.approx(np.quantile(tops, [0.25, 0.5, 0.75]), abs=1e-9)
    assert found.value == pytest.approx(tops.mean())
    assert found.error == pytest.approx(tops.std(ddof=1) / 5**0.5)
    assert (found.converged, found.more["fraction"], found.products) == (True, 1.0, 5)
    assert found.more["residual"] <= 1e-8


def test_more_images_than_a_block_holds() -> None:
    tops = np.linspace(1, 4, 230)
    found = solved(Blocks([np.diag([t, 0.1, -0.2]) for t in tops]), 3, tolerance=1e-8)
    assert quartiles(found) == pytest.approx(np.quantile(tops, [0.25, 0.5, 0.75]))
    assert found.products == 9


def test_too_few_products_are_said() -> None:
    slow, quick = np.diag(np.linspace(-1, 1, 60)), np.diag([1.0] + [0.0] * 59)
    found = solved(Blocks([slow, quick, slow, slow]), 60, max_products=4, tolerance=1e-6)
    assert (found.converged, found.more["fraction"], found.products) == (False, 0.25, 4)
    assert found.more["residual"] > 1e-6
    assert found.more["lower_quartile"] < 1


def test_an_image_that_is_not_finite_leaves_the_others_alone_and_no_mean() -> None:
    bad = np.full((3, 3), np.nan)
    found = solved(Blocks([np.eye(3), bad, 2 * np.eye(3)]), 3)
    assert np.isnan(found.value)
    assert (found.converged, found.more["fraction"]) == (False, pytest.approx(2 / 3))


@pytest.mark.usefixtures("float64")
def test_of_a_small_network_against_the_dense_hessian_of_each_image() -> None:
    """Column by column, from finite differences of the gradient in float64."""
    model = small_network(hidden=3)
    for layer in model.layers:
        layer.set_weights([3 * w for w in layer.get_weights()])  # so that the network bends

    def gradients(images: np.ndarray) -> np.ndarray:
        pixels = tf.constant(images)
        with tf.GradientTape() as tape:
            tape.watch(pixels)
            loss = keras.losses.sparse_categorical_crossentropy(LABELS, model(pixels), from_logits=True)
        return np.asarray(tape.gradient(loss, pixels)).reshape(7, 36)

    dense = np.empty((7, 36, 36))
    for pixel, step in enumerate(1e-5 * np.eye(36).reshape(36, 6, 6, 1)):
        dense[:, :, pixel] = (gradients(IMAGES + step) - gradients(IMAGES - step)) / 2e-5
    spectra = np.linalg.eigvalsh((dense + dense.transpose(0, 2, 1)) / 2)
    assert (spectra[:, 0] < -0.01 * spectra[:, -1]).any(), "some eigenvalues are negative"

    product = InputProduct(model, IMAGES, LABELS)
    vectors = RNG.standard_normal((3, 36))
    picked = np.array([5, 0, 2])
    np.testing.assert_allclose(
        product(vectors, picked), np.einsum("nij,nj->ni", dense[picked], vectors), rtol=1e-4, atol=1e-6
    )
    found = solved(product, product.dimension, tolerance=1e-6)
    assert found.converged
    assert quartiles(found) == pytest.approx(np.quantile(spectra[:, -1], [0.25, 0.5, 0.75]), rel=1e-5)
    assert found.value == pytest.approx(spectra[:, -1].mean(), rel=1e-5)


def test_of_a_piecewise_linear_network_few_products_suffice(splits: Splits) -> None:
    """ReLU and max pooling: H = Jᵀ(diag(p) - ppᵀ)J, whose eigenvalues NumPy knows from the logits' Jacobian."""
    keras.utils.set_random_seed(1)
    model: Any = build_model("stdcnn")
    few = Splits(splits.train.first(9), splits.validation.first(1), splits.test.first(1), "", "")
    images = tf.constant(to_unit(few.train.images))
    with tf.GradientTape() as tape:
        tape.watch(images)
        logits = model(images, training=False)
    jacobians = np.asarray(tape.batch_jacobian(logits, images), np.float64).reshape(9, 10, -1)
    p = np.exp(np.asarray(logits, np.float64))
    p /= p.sum(1, keepdims=True)
    middle = np.einsum("ni,ij->nij", p, np.eye(10)) - np.einsum("ni,nj->nij", p, p)
    tops = [np.linalg.eigvalsh(j.T @ m @ j)[-1] for j, m in zip(jacobians, middle, strict=True)]

    spec = InputEigenvalue(examples=9, tolerance=1e-4)
    found = Request("input_eigenvalue", "curved", spec, "train", 9).measure_on(MeasuredNetwork(model, few))
    assert found.values["value"] == pytest.approx(np.mean(tops), rel=1e-3)
    assert found.values["median"] == pytest.approx(np.median(tops), rel=1e-3)
    assert found.values["converged"]
    assert found.values["products"] <= 12


@pytest.mark.parametrize("lead", [0.1, 5.0, 12.0, 20.0, 60.0])
@pytest.mark.parametrize("label", [0, 1])
def test_of_an_image_that_the_network_is_sure_of(lead: float, label: int) -> None:
    """A linear network's is the largest eigenvalue of WᵀSW, S_ij = -p_i p_j: written without 1 - p, which rounds to 0."""
    image = keras.Input((2, 2, 1))
    model = keras.Model(image, keras.layers.Dense(3)(keras.layers.Flatten()(image)))
    weights = RNG.standard_normal((4, 3)).astype(np.float32)
    model.set_weights([weights, np.array([lead, 0, -1], np.float32) - weights.sum(0) / 2])
    p = np.exp([0.0, -lead, -lead - 1])  # of an image of 1/2 everywhere
    p /= p.sum()
    s = -np.outer(p, p)
    np.fill_diagonal(s, [p[0] * (p[1] + p[2]), p[1] * (p[0] + p[2]), p[2] * (p[0] + p[1])])
    expected = np.linalg.eigvalsh(weights @ s @ weights.T)[-1]
    source = InputProduct(model, np.full((2, 2, 2, 1), 0.5), np.array([label, label]))
    found = solved(source, 4, tolerance=1e-3)
    assert found.converged
    assert found.value == pytest.approx(expected, rel=2e-3)
