"""λ1 of a matrix that changes a little from call to call: from where the last call ended, against LAPACK."""

from typing import Any

import numpy as np
import pytest

from tests.test_curvature import matrix, network_like
from tfsgd.measures.curvature_spec import Curvature
from tfsgd.measures.eigen import top_eigenvalue


class Changing:
    """A product whose matrix is changed between calls."""

    def __init__(self, kept: list[Any] | None) -> None:
        self.kept, self.matrix = kept, np.zeros((1, 1))

    def __call__(self, vector: Any) -> Any:
        return self.matrix @ vector

    def found(self, matrix: np.ndarray) -> Curvature:
        self.matrix = matrix
        return top_eigenvalue(self, len(matrix), max_iterations=100, tolerance=1e-2)


def test_fewer_products_find_the_same() -> None:
    start, drift = matrix(network_like()), matrix(network_like(), seed=1)
    warm, cold = Changing([]), Changing(None)
    products = {"warm": 0, "cold": 0}
    for moment in range(10):
        now = start + 0.02 * moment * drift
        truth = np.linalg.eigvalsh(now)[-1]
        for name, solver in (("warm", warm), ("cold", cold)):
            found = solver.found(now)
            assert found.converged
            assert found.value == pytest.approx(truth, rel=1e-3)
            products[name] += found.products
    assert products["warm"] < 0.75 * products["cold"]
    assert cold.kept is None


def test_it_does_not_stay_with_an_eigenvalue_that_another_one_overtakes() -> None:
    """The eigenvectors stay what they are, so that a residual would say at once that nothing has changed."""
    eigenvalues, warm = network_like(), Changing([])
    for second in np.linspace(99, 200, 12):
        eigenvalues[1] = second
        found = warm.found(matrix(eigenvalues))
        assert found.converged
        if second < 130 or second > 160:
            assert found.value == pytest.approx(max(130, second), rel=1e-2)


def test_what_is_kept_is_the_eigenvector() -> None:
    solver, h = Changing([]), matrix(network_like())
    solver.found(h)
    assert solver.kept
    [vector] = solver.kept
    assert vector.dtype == np.float32
    assert abs(vector @ np.linalg.eigh(h)[1][:, -1]) > 0.999


def test_a_matrix_that_is_not_finite_leaves_where_to_begin() -> None:
    solver = Changing([])
    solver.found(matrix(network_like()))
    [before] = solver.kept or []
    assert not solver.found(np.full((400, 400), np.nan)).converged
    [after] = solver.kept or []
    assert after is before


def test_a_small_matrix_is_not_more_than_it_is() -> None:
    """Where H leads nowhere else before there are as many products as a known eigenvector takes."""
    solver = Changing([])
    for _ in range(2):
        found = solver.found(np.diag([2.0, 1.0]))
        assert (found.converged, found.value) == (True, pytest.approx(2.0, rel=1e-3))
