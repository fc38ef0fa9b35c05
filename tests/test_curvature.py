"""Every shipped measure of the Hessian on constructed matrices, and each kind against LAPACK."""

import json
import pkgutil
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import pytest

from tests.own import refusal
from tests.test_hessian import dense_hessian, small_network
from tfsgd.measures import curvature
from tfsgd.measures.curvature.extremes import Extremes
from tfsgd.measures.curvature.spectrum import Spectrum
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature_spec import Curvature, Matvec
from tfsgd.measures.sharpness_spec import Head
from tfsgd.measures.spec import Request
from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.plan.specs import curvature_measure

KINDS = [module.name for module in pkgutil.iter_modules(curvature.__path__)]
SIZE = 30


def matrix(eigenvalues: Any, seed: int = 0) -> np.ndarray:
    """A symmetric matrix with these eigenvalues, in a random basis."""
    q = np.linalg.qr(np.random.default_rng(seed).standard_normal((len(eigenvalues),) * 2))[0]
    return np.asarray(q * np.asarray(eigenvalues, float) @ q.T)


def network_like(dimension: int = 400) -> np.ndarray:
    """Eigenvalues like a network's: a few large ones above a bulk around zero, some of it negative."""
    bulk = np.random.default_rng(0).standard_normal(dimension - 10)
    return np.concatenate([[130.0, 99, 62, 57, 45, 37, 31, 27, 24, 20], bulk])


class Counted:
    """A matvec over a dense matrix that counts its products; a batch's gradient is random, its Hessian H.

    As a landscape it is w'Hw / 2 at every image, with a head that is drawn.
    """

    examples = 40
    batch_size = 8
    labels = np.arange(40) % 3
    weights = np.linspace(-1, 1, 30)

    def losses(self, shift: Any = 0.0, indices: Any = None) -> np.ndarray:
        return np.full(self.examples, self.slope(shift)[0])

    def slope(self, shift: Any = 0.0, indices: Any = None) -> tuple[float, np.ndarray]:
        at = self.weights + (0.0 if shift is None else shift)
        gradient = self(at)
        return float(at @ gradient) / 2, gradient

    def pixel_slopes(self) -> np.ndarray:
        return np.ones(self.examples)

    def logits(self, along: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        moved = np.tile(self(along)[:3], (self.examples, 1))
        return np.eye(3)[(self.labels + 1) % 3] + 0 * moved, moved

    def head(self) -> Head:
        rng = np.random.default_rng(0)
        return Head(rng.standard_normal((self.examples, 5)), rng.standard_normal((5, 3)))

    def __init__(self, h: np.ndarray) -> None:
        self._h = h
        self.products = 0

    def gradient(self, indices: np.ndarray) -> np.ndarray:
        return self(np.random.default_rng(indices).standard_normal(len(self._h)))

    def along_gradient(self, indices: np.ndarray) -> tuple[float, float]:
        g = np.random.default_rng(indices).standard_normal(len(self._h))
        return float(np.sum(g * self(g))), float(g @ g)

    def __call__(self, vector: np.ndarray, indices: Any = None) -> np.ndarray:
        """Of one vector, or of one for each image of these indices: then all have the same Hessian."""
        self.products += 1
        with np.errstate(invalid="ignore"):
            return np.asarray(vector @ self._h)


@dataclass(frozen=True)
class Small:
    """A network in float64, its product, and its Hessian by finite differences, columns in its variables' order."""

    model: Any
    images: np.ndarray
    labels: np.ndarray
    product: HessianVectorProduct
    dense: np.ndarray


@pytest.fixture(scope="module")
def small() -> Iterator[Small]:
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    rng = np.random.default_rng(1)
    model = small_network(hidden=2)
    images, labels = rng.random((11, 6, 6, 1)), rng.integers(0, 4, 11)
    product = HessianVectorProduct(model, images, labels, chunk_size=4)
    yield Small(model, images, labels, product, dense_hessian(model, images, labels))
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


# All of them


def on(kind: str, matvec: Matvec, seed: int = 0) -> Any:
    return curvature_measure(kind, {}, None).run(matvec, SIZE, seed)


@pytest.mark.parametrize("kind", KINDS)
def test_a_shipped_kind_gives_numbers_that_a_record_holds(kind: str) -> None:
    h = matrix(np.linspace(-3, 20, SIZE))
    counted = Counted(h)
    found = on(kind, counted)
    assert found.products == counted.products > 0
    assert np.isfinite([found.value, found.error]).all()
    spec = curvature_measure(kind, {}, None)
    measured = Request(kind, "mine", spec, "train", 7).measured(found.values(), 0.0)
    assert json.loads(json.dumps(measured.values, allow_nan=False)) == measured.values
    assert on(kind, Counted(h)).values() == found.values()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_product_that_is_not_finite_gives_no_number(kind: str, bad: float) -> None:
    found = on(kind, Counted(np.full((SIZE, SIZE), bad)))
    assert np.isnan(found.value)
    assert not found.converged
    measured = Request(kind, "mine", curvature_measure(kind, {}, None), "train", 7)
    json.dumps(measured.measured(found.values(), 0.0).values, allow_nan=False)


# The ends of the spectrum


@pytest.mark.parametrize("k", [1, 5, 10])
@pytest.mark.parametrize("seed", range(3))
def test_the_ends_of_a_networks_spectrum(k: int, seed: int) -> None:
    truth = np.sort(network_like())
    counted = Counted(np.diag(truth))
    found = Extremes(k=k, tolerance=1e-3).run(counted, len(truth), seed)
    assert found.converged
    assert found.products == counted.products < 100
    np.testing.assert_allclose(found.more["eigenvalues"], truth[::-1][:k], rtol=1e-6)
    assert found.more["lowest"] == pytest.approx(truth[0], rel=1e-3)
    assert found.value == found.more["eigenvalues"][0]
    assert found.error == max(found.more["residuals"]) <= 1e-3
    assert found.more["lowest_residual"] <= 1e-3


def test_more_steps_than_the_memory_holds_vectors() -> None:
    """A spectrum without gaps: the basis is cut down again and again, and the ends come out all the same."""
    truth = np.linspace(-1, 1, 200)
    found = Extremes(k=3, max_products=500, tolerance=1e-6).run(lambda v: truth * v, 200, 0)
    assert found.converged
    assert found.products > 63  # vectors at most
    np.testing.assert_allclose(found.more["eigenvalues"], truth[::-1][:3], rtol=1e-5)
    assert found.more["lowest"] == pytest.approx(-1, rel=1e-5)


def test_all_eigenvalues_of_a_small_matrix() -> None:
    truth = [-7.0, -2.0, 0.0, 1.0, 5.0, 11.0]
    h = matrix(truth)
    found = Extremes(k=6).run(lambda v: h @ v, 6, 1)
    np.testing.assert_allclose(found.more["eigenvalues"], truth[::-1], atol=1e-10)
    assert (found.products, found.converged) == (6, True)


def test_a_matrix_of_low_rank_and_the_zero_matrix() -> None:
    h = matrix([9.0, 4.0] + [0.0] * 28)
    found = Extremes(k=4).run(lambda v: h @ v, 30, 0)
    np.testing.assert_allclose(found.more["eigenvalues"], [9, 4, 0, 0], atol=1e-10)
    assert found.converged
    zero = Extremes(k=4).run(np.zeros_like, 30, 0)
    assert (zero.value, zero.error, zero.more["lowest"], zero.converged) == (0, 0, 0, True)


def test_too_few_products_are_said_and_the_residual_holds() -> None:
    truth = np.linspace(-1, 1, 400)
    found = Extremes(k=3, max_products=12).run(lambda v: truth * v, 400, 0)
    assert (found.converged, found.products) == (False, 12)
    for value, residual in zip(found.more["eigenvalues"], found.more["residuals"], strict=True):
        assert np.abs(truth - value).min() <= residual * abs(value)


def test_more_eigenvalues_than_there_are_is_refused_before_any_product() -> None:
    counted = Counted(np.eye(4))
    said = refusal(lambda: Extremes(k=5).run(counted, 4, 0))
    assert (
        said == "curvature.extremes.k: expected at most the 4 trainable parameters of the network, received 5"
    )
    assert counted.products == 0


def test_the_ends_of_a_small_networks_hessian(small: Small) -> None:
    truth = np.linalg.eigvalsh(small.dense)
    found = Extremes(k=4, tolerance=1e-4).run(small.product, len(truth), 0)
    assert found.converged
    np.testing.assert_allclose(found.more["eigenvalues"], truth[::-1][:4], rtol=1e-5)
    assert found.more["lowest"] == pytest.approx(truth[0], rel=1e-5)


# The spectral density


def moments(found: Curvature, power: int) -> np.ndarray:
    """Σ w tᵖ of each probe."""
    pairs = zip(found.more["weights"], found.more["nodes"], strict=True)
    return np.array([np.sum(np.array(w) * np.array(t) ** power) for w, t in pairs])


def starts(probes: int, dimension: int, seed: int) -> list[np.ndarray]:
    """The directions that the probes begin with, of unit length."""
    rng = np.random.default_rng(seed)
    drawn = [rng.standard_normal(dimension) for _ in range(probes)]
    return [v / np.linalg.norm(v) for v in drawn]


def test_a_quadrature_of_m_nodes_is_exact_up_to_degree_2m_minus_1() -> None:
    truth = np.linspace(-2, 3, 50)
    h, counted = matrix(truth), Counted(matrix(truth))
    found = Spectrum(probes=3, steps=4).run(counted, 50, seed=5)
    assert [len(nodes) for nodes in found.more["nodes"]] == [4, 4, 4]
    assert found.products == counted.products == 12
    for power in range(9):
        expected = [v @ np.linalg.matrix_power(h, power) @ v for v in starts(3, 50, seed=5)]
        off = np.abs(moments(found, power) - expected).max()
        assert (off < 1e-6 * 3**power) == (power <= 7), power


def test_with_as_many_steps_as_eigenvalues_the_nodes_are_these() -> None:
    truth = np.linspace(-3, 20, SIZE)
    h = matrix(truth)
    found = Spectrum(probes=2, steps=60).run(lambda v: h @ v, SIZE, seed=0)
    for nodes in found.more["nodes"]:
        np.testing.assert_allclose(nodes, truth, rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(moments(found, 0), 1, atol=1e-7)
    eigenvectors = np.linalg.eigh(h)[1]
    for v, weights in zip(starts(2, SIZE, seed=0), found.more["weights"], strict=True):
        np.testing.assert_allclose(weights, (eigenvectors.T @ v) ** 2, atol=1e-6)


def test_the_trace_has_an_honest_standard_error() -> None:
    truth = network_like()
    found = [Spectrum(probes=8, steps=5).run(lambda v: truth * v, len(truth), seed) for seed in range(40)]
    off = np.array([f.value for f in found]) - truth.sum()
    errors = np.array([f.error for f in found])
    assert abs(off.mean()) < 4 * errors.mean() / len(off) ** 0.5
    assert 0.6 < off.std() / np.sqrt(np.mean(errors**2)) < 1.6


def test_a_spectrum_of_few_values_takes_few_products() -> None:
    h = matrix([5.0] * 10 + [-1.0] * 20)
    found = Spectrum(probes=2, steps=60).run(lambda v: h @ v, 30, seed=0)
    assert found.products == 4
    np.testing.assert_allclose(found.more["nodes"], [[-1, 5]] * 2, atol=1e-7)


def test_the_spectrum_of_a_small_networks_hessian(small: Small) -> None:
    n = len(small.dense)
    found = Spectrum(probes=2, steps=20).run(small.product, n, seed=3)
    for power in (1, 2, 3):
        expected = [v @ np.linalg.matrix_power(small.dense, power) @ v for v in starts(2, n, seed=3)]
        np.testing.assert_allclose(moments(found, power), expected, rtol=1e-4)
    assert found.value == pytest.approx(n * moments(found, 1).mean(), rel=1e-6)


# Plain power iteration


@pytest.mark.parametrize(
    ("eigenvalues", "top"),
    [([9.0, 4, 2, -3], 9), ([-9.0, 4, 2, 1], 4), ([-9.0, -4, -2, -1], -1), ([0.0, 0, 0], 0)],
)
def test_power_iteration_finds_the_largest_eigenvalue(eigenvalues: list[float], top: float) -> None:
    h = matrix(eigenvalues)
    counted = Counted(h)
    spec = TopEigenvalue(method="power", max_iterations=1000, tolerance=1e-6)
    found = spec.run(counted, len(h), seed=2)
    assert found.value == pytest.approx(top, rel=1e-9, abs=1e-9)
    assert found.converged
    assert found.error <= 1e-6
    assert found.products == counted.products


def test_power_iteration_takes_the_steps_that_its_name_says() -> None:
    h = np.diag(network_like())
    found = TopEigenvalue(method="power", max_iterations=7, tolerance=1e-9).run(lambda v: h @ v, len(h), 4)
    v = np.linalg.matrix_power(h, 6) @ np.random.default_rng(4).standard_normal(len(h))
    v /= np.linalg.norm(v)
    assert found.value == pytest.approx(v @ h @ v, rel=1e-12)
    assert found.error == pytest.approx(np.linalg.norm(h @ v - found.value * v) / found.value, rel=1e-9)
    assert (found.products, found.converged) == (7, False)


def test_power_iteration_on_a_small_networks_hessian(small: Small) -> None:
    n = len(small.dense)
    plain, ritz = (
        TopEigenvalue(method=method, tolerance=1e-3).run(small.product, n, 0)
        for method in ("power", "rayleigh_ritz")
    )
    for found in (plain, ritz):
        assert found.value == pytest.approx(np.linalg.eigvalsh(small.dense)[-1], rel=1e-4)
    assert ritz.products <= plain.products
