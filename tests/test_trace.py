"""The trace of the Hessian against dense traces that do not come from products with vectors."""

import numpy as np
import pytest

from tests.test_hessian import dense_hessian, small_network
from tfsgd.measures.curvature.trace import Trace
from tfsgd.networks.hessian import HessianVectorProduct

DIMENSION = 400


def decaying(seed: int = 0) -> np.ndarray:
    """A symmetric matrix whose eigenvalues fall like 1/k^1.5 and have both signs, in a random basis."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((DIMENSION, DIMENSION)))[0]
    eigenvalues = 100 * np.arange(1, DIMENSION + 1) ** -1.5 * rng.choice([1.0, 1.0, -1.0], DIMENSION)
    return np.asarray(basis * eigenvalues @ basis.T)


def test_it_is_the_dense_trace_and_its_standard_error_is_honest() -> None:
    h = decaying()
    found = [Trace(probes=60).run(lambda v: h @ v, DIMENSION, seed) for seed in range(20)]
    off = np.array([f.value for f in found]) - np.trace(h)
    errors = np.array([f.error for f in found])
    assert (np.abs(off) < 4 * errors).all()
    assert 0.5 < np.sqrt(np.mean(off**2)) / np.sqrt(np.mean(errors**2)) < 2
    assert all(f.converged and f.products == 60 for f in found)
    assert abs(off.mean()) < 4 * errors.mean() / np.sqrt(len(off))  # no bias
    assert errors.mean() < 0.05 * np.trace(h)  # the large eigenvalues are taken exactly


def test_it_is_exact_where_the_subspace_is_everything() -> None:
    rng = np.random.default_rng(1)
    h = rng.standard_normal((9, 9))
    h = h + h.T
    found = Trace(probes=60).run(lambda v: h @ v, 9, seed=2)
    assert found.value == pytest.approx(np.trace(h), rel=1e-10)
    assert (found.error, found.products, found.converged) == (0.0, 18, True)


def test_the_same_seed_draws_the_same() -> None:
    h = decaying()
    one, same, other = (Trace().run(lambda v: h @ v, DIMENSION, seed) for seed in (3, 3, 4))
    assert one == same
    assert one.value != other.value


def test_a_non_finite_product_is_no_trace() -> None:
    found = Trace().run(lambda v: v * np.nan, DIMENSION, seed=0)
    assert np.isnan(found.value)
    assert not found.converged


@pytest.mark.usefixtures("float64")
def test_a_small_network_against_its_dense_hessian() -> None:
    rng = np.random.default_rng(1)
    model = small_network(hidden=2)
    images, labels = rng.random((11, 6, 6, 1)), rng.integers(0, 4, 11)
    product = HessianVectorProduct(model, images, labels, chunk_size=4)
    dense = dense_hessian(model, images, labels)
    expected = np.trace(dense)
    exact = Trace(probes=3 * product.dimension).run(product, product.dimension, seed=0)
    assert exact.value == pytest.approx(expected, rel=1e-5)
    assert exact.error == 0
    estimated = Trace(probes=60).run(product, product.dimension, seed=0)
    assert 0 < estimated.error < np.sqrt(2 / 20) * np.linalg.norm(dense)  # Hutchinson's own, with 20 probes
    assert abs(estimated.value - expected) < 4 * estimated.error
