"""The standard error of λ1 over images: closed form, and the spread over disjoint draws of images."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.synthetic import experiment, record
from tests.test_hessian import shrunk
from tfsgd.measures.curvature.gauss_newton import GaussNewton
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.networks.gauss_newton_product import GaussNewtonProduct
from tfsgd.networks.hessian import HessianVectorProduct, Product
from tfsgd.networks.operators import product_of
from tfsgd.plan.trials import grid
from tfsgd.reporting.table.columns import table_of
from tfsgd.reporting.table.rows import TrialRow
from tfsgd.trials.standalone import in_a_line

METHODS = ("rayleigh_ritz", "power")


def least_squares(x: np.ndarray, of: type[Product] = HessianVectorProduct, chunk_size: int = 5) -> Any:
    """A product whose H is (2/N) XᵀX, whatever the weights and targets."""
    model = keras.Sequential([keras.Input(x.shape[1:]), keras.layers.Dense(1, use_bias=False)])
    targets = np.ones((len(x), 1), keras.config.floatx())
    return of(model, x, targets, loss=lambda label, output: tf.reduce_sum((output - label) ** 2, 1), chunk_size=chunk_size)  # fmt: skip


def by_hand(x: np.ndarray, chunk_size: int) -> float:
    """√(Σ n_c (q_c - λ)² / ((k - 1) N)), q_c the quotient of chunk c along the top eigenvector of all."""
    values, vectors = np.linalg.eigh(2 / len(x) * x.T @ x)
    total = 0.0
    chunks = [x[start : start + chunk_size] for start in range(0, len(x), chunk_size)]
    for chunk in chunks:
        quotient = 2 * np.mean((chunk @ vectors[:, -1]) ** 2)
        total += len(chunk) * (quotient - values[-1]) ** 2
    return float(np.sqrt(total / ((len(chunks) - 1) * len(x))))


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.usefixtures("float64")
def test_of_least_squares_it_is_the_closed_form_with_a_ragged_last_chunk(method: Any) -> None:
    x = np.random.default_rng(0).standard_normal((23, 6)) * [3, 1.5, 1, 1, 1, 1]
    spec = TopEigenvalue(method=method, tolerance=1e-9, max_iterations=5000)
    found = spec.run(least_squares(x), 6, 1)
    assert found.converged
    assert found.value == pytest.approx(np.linalg.eigvalsh(2 / 23 * x.T @ x)[-1], rel=1e-9)
    assert found.more["standard_error"] == pytest.approx(by_hand(x, 5), rel=1e-6)
    of_gauss_newton = GaussNewton(tolerance=1e-9).run(least_squares(x, GaussNewtonProduct), 6, 1)
    assert of_gauss_newton.more["standard_error"] == pytest.approx(by_hand(x, 5), rel=1e-6)


def test_it_is_the_spread_over_disjoint_draws() -> None:
    rng = np.random.default_rng(3)
    found = [
        TopEigenvalue(tolerance=1e-3).run(
            least_squares(rng.standard_normal((400, 8)) * [4, *[1] * 7], chunk_size=20), 8
        )
        for _ in range(40)
    ]
    spread = np.std([f.value for f in found], ddof=1)
    said = np.sqrt(np.mean([f.more["standard_error"] ** 2 for f in found]))
    assert said / spread == pytest.approx(1, abs=0.25)  # 40 draws tell a spread to 11 %
    assert np.mean([f.value for f in found]) == pytest.approx(2 * 16, rel=0.05)


@pytest.mark.parametrize("method", METHODS)
def test_the_eigenvalue_is_what_it_is_without(method: Any) -> None:
    """To the bit, and in one graph."""
    rng = np.random.default_rng(1)
    product = HessianVectorProduct(shrunk("m1"), rng.random((9, 11, 11, 1), np.float32), rng.integers(0, 10, 9), chunk_size=4)  # fmt: skip
    spec = TopEigenvalue(method=method, tolerance=1e-3)
    with_it, without = (spec.run(p, product.dimension, 2) for p in (product, lambda v: product(v)))
    assert (with_it.value, with_it.error, with_it.products) == (
        without.value,
        without.error,
        without.products,
    )
    assert without.more == {}
    assert with_it.more["standard_error"] > 0
    assert product._product.experimental_get_tracing_count() == 1


def test_of_a_single_chunk_and_of_no_eigenvalue_it_is_not_known() -> None:
    x = np.random.default_rng(0).standard_normal((5, 3))
    assert np.isnan(TopEigenvalue().run(least_squares(x), 3).more["standard_error"])
    found = TopEigenvalue().run(least_squares(np.full((12, 3), 1e30)), 3)
    assert np.isnan([found.value, found.more["standard_error"]]).all()


def test_in_training_mode_a_chunk_is_a_batch() -> None:
    rng = np.random.default_rng(1)
    images, labels = rng.random((13, 8, 8, 3), np.float32), rng.integers(0, 10, 13)
    product = product_of(TopEigenvalue(mode="training"), shrunk("c1"), images, labels, batch_size=4)
    assert product.counts.tolist() == [4, 4, 4]
    inference = product_of(TopEigenvalue(), shrunk("c1"), images, labels)
    assert inference.counts.tolist() == [13]


def test_it_is_a_column_and_stands_beside_the_eigenvalue() -> None:
    of = experiment()
    made = record(grid(of)[0], of)
    top = made.top_eigenvalue
    assert top is not None
    known = top.model_copy(update={"values": {**top.values, "value": 47.213, "standard_error": 1.93}})
    with_it = made.model_copy(
        update={"measurements": tuple(known if m is top else m for m in made.measurements)}
    )
    row = TrialRow(with_it, Path("x"))
    assert table_of([row])[0]["eigenvalue_standard_error"][0] == 1.93
    assert table_of([TrialRow(made, Path("x"))])[0]["eigenvalue_standard_error"].isna().all()
    assert in_a_line(known) == "λ1 (hessian): 47.21 ± 1.9"
