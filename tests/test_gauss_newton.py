"""The Gauss-Newton part and the layers' blocks against dense matrices that no product gave."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest

from tests.test_hessian import dense_hessian, small_network, with_weights
from tfsgd.data.dataset import Split, Splits
from tfsgd.measures.curvature.gauss_newton import GaussNewton
from tfsgd.measures.curvature.layers import Layers
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature_spec import CurvatureSpec
from tfsgd.measures.spec import Request
from tfsgd.networks.gauss_newton_product import GaussNewtonProduct
from tfsgd.networks.hessian import HessianVectorProduct, Product
from tfsgd.networks.measured_network import MeasuredNetwork

CLASSES = 4


@dataclass(frozen=True)
class Small:
    """A network and its images, and the flat parameters that it has; all in float64."""

    model: Any
    images: np.ndarray
    labels: np.ndarray

    @property
    def weights(self) -> np.ndarray:
        return np.concatenate([v.numpy().ravel() for v in self.model.trainable_variables])


@pytest.fixture(scope="module")
def small() -> Iterator[Small]:
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    rng = np.random.default_rng(1)
    yield Small(small_network(hidden=2), rng.random((11, 6, 6, 1)), rng.integers(0, CLASSES, 11))
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def softmax_hessians(logits: np.ndarray) -> np.ndarray:
    """diag(p) - ppᵀ of each image, `(N, classes, classes)`: the cross-entropy's Hessian on logits."""
    p = np.exp(logits - logits.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    return np.einsum("ni,ij->nij", p, np.eye(CLASSES)) - np.einsum("ni,nj->nij", p, p)


def dense_gauss_newton(small: Small) -> np.ndarray:
    """JᵀH_L J with J from finite differences of the logits, and H_L in closed form."""
    weights = small.weights
    columns = []
    for unit in np.eye(len(weights)):
        outputs = []
        for sign in (1, -1):
            with_weights(small.model, weights + sign * 1e-5 * unit)
            outputs.append(small.model(small.images, training=False).numpy())
        columns.append((outputs[0] - outputs[1]) / 2e-5)
    with_weights(small.model, weights)
    jacobian = np.array(columns)  # (parameters, N, classes)
    curved = softmax_hessians(small.model(small.images, training=False).numpy())
    return np.einsum("ani,nij,bnj->ab", jacobian, curved, jacobian, optimize=True) / len(small.labels)


def test_the_gauss_newton_part_of_a_small_network(small: Small) -> None:
    dense = dense_gauss_newton(small)
    ragged = GaussNewtonProduct(small.model, small.images, small.labels, chunk_size=4)
    whole = GaussNewtonProduct(small.model, small.images, small.labels)
    vector = np.random.default_rng(0).standard_normal(len(dense))
    np.testing.assert_allclose(ragged(vector), dense @ vector, rtol=0, atol=1e-8 * np.abs(dense).max())
    np.testing.assert_allclose(ragged(vector), whole(vector), rtol=0, atol=1e-13)
    found = GaussNewton(tolerance=1e-4).run(ragged, len(dense), 0)
    assert found.converged
    assert found.value == pytest.approx(np.linalg.eigvalsh(dense)[-1], rel=1e-6)
    assert ragged._product.experimental_get_tracing_count() == 1


def test_of_a_linear_model_it_is_the_hessian(small: Small) -> None:
    """z = Wx + b: Σ (diag(p) - ppᵀ) ⊗ xxᵀ / N, in closed form."""
    model = keras.Sequential([keras.Input((6, 6, 1)), keras.layers.Flatten(), keras.layers.Dense(CLASSES)])
    inputs = np.c_[small.images.reshape(11, -1), np.ones(11)]  # the bias is a weight of an input of one
    curved = softmax_hessians(model(small.images).numpy())
    dense = np.einsum("na,nij,nb->aibj", inputs, curved, inputs).reshape(37 * CLASSES, -1) / 11
    vector = np.random.default_rng(0).standard_normal(len(dense))
    for kind in (GaussNewtonProduct, HessianVectorProduct):
        product: Product = kind(model, small.images, small.labels, chunk_size=3)
        np.testing.assert_allclose(product(vector), dense @ vector, rtol=0, atol=1e-13)


def test_a_measure_gets_the_products_that_its_class_asks_for(small: Small) -> None:
    pixels = np.random.default_rng(2).integers(0, 256, (9, 6, 6, 1)).astype(np.uint8)
    split = Split(pixels, np.arange(9) % CLASSES)
    subject = MeasuredNetwork(small.model, Splits(split, split, split, "0" * 64, "drawn"))
    specs: list[CurvatureSpec] = [GaussNewton(), TopEigenvalue()]
    requests = [Request("kind", "label", spec, "train", 7) for spec in specs]
    of_part, of_whole = (request.measure_on(subject).values["value"] for request in requests)
    images, labels = subject.images("train", 7)
    part = dense_gauss_newton(Small(small.model, images, labels))
    assert of_part == pytest.approx(np.linalg.eigvalsh(part)[-1], rel=1e-3)
    assert abs(of_part - of_whole) > 1e-2 * of_part


# Layers


def test_each_layers_block_of_a_small_networks_hessian(small: Small) -> None:
    dense = dense_hessian(small.model, small.images, small.labels)
    product = HessianVectorProduct(small.model, small.images, small.labels, chunk_size=4)
    layers = [layer for layer in small.model.layers if layer.trainable_variables]
    ends = np.cumsum([sum(int(np.prod(v.shape)) for v in layer.trainable_variables) for layer in layers])
    blocks = [
        dense[begin:end, begin:end]
        for begin, end in zip([0, *ends[:-1].tolist()], ends.tolist(), strict=True)
    ]
    found = Layers(probes=3 * len(dense), tolerance=1e-4).run(product, len(dense), 0)
    assert found.converged
    assert [name.split("/")[-1] for name in found.more["names"]] == [layer.name for layer in layers]
    top = [np.linalg.eigvalsh(block)[-1] for block in blocks]
    np.testing.assert_allclose(found.more["eigenvalues"], top, rtol=1e-5)
    np.testing.assert_allclose(found.more["traces"], [np.trace(block) for block in blocks], rtol=1e-5)
    assert found.more["trace_errors"] == [0, 0, 0]
    assert found.value == max(found.more["eigenvalues"])
    assert found.error == found.more["residuals"][int(np.argmax(top))]
    assert sum(found.more["traces"]) == pytest.approx(np.trace(dense), rel=1e-5)


def test_layers_are_kept_apart() -> None:
    """Two blocks with a strong coupling between them, which belongs to neither."""
    h = np.block([[np.diag([3.0, 1]), 50 * np.ones((2, 3))], [50 * np.ones((3, 2)), np.diag([7.0, 5, -9])]])

    class Product:
        layers = (("first", slice(0, 2)), ("second", slice(2, 5)))

        def __call__(self, vector: np.ndarray) -> np.ndarray:
            return np.asarray(h @ vector)

    found = Layers(tolerance=1e-6).run(Product(), 5, 0)
    np.testing.assert_allclose(found.more["eigenvalues"], [3, 7], rtol=1e-9)
    np.testing.assert_allclose(found.more["traces"], [4, 3], rtol=1e-9)
    assert (found.value, found.more["names"]) == (pytest.approx(7), ["first", "second"])
