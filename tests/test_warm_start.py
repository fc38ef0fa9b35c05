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
    assert products["warm"] < 0.6 * products["cold"]
    assert cold.kept is None


@pytest.mark.parametrize("lowest", [-1.0, -90.0], ids=["small", "large"])
def test_it_does_not_stay_with_an_eigenvalue_that_another_one_overtakes(lowest: float) -> None:
    """The eigenvectors stay what they are, so that the residual alone would say that nothing has changed."""
    eigenvalues = network_like()
    eigenvalues[-1] = lowest
    warm, alone = Changing([]), Changing([])
    for second in np.linspace(99, 200, 12):
        eigenvalues[1] = second
        now = matrix(eigenvalues)
        found = warm.found(now)
        assert found.converged
        assert found.value == pytest.approx(max(130, second), rel=1e-2)
        alone.found(now)
        alone.kept = (alone.kept or [])[:1]
    assert alone.found(now).value == pytest.approx(130, rel=1e-2)  # without the guard it would


def test_what_is_kept_is_small_and_of_unit_length() -> None:
    solver = Changing([])
    solver.found(matrix(network_like()))
    assert solver.kept
    first, second = solver.kept
    assert first.dtype == second.dtype == np.float32
    assert np.array([first, second]) @ np.array([first, second]).T == pytest.approx(np.eye(2), abs=1e-6)


def test_a_matrix_that_is_not_finite_leaves_where_to_begin() -> None:
    solver = Changing([])
    solver.found(matrix(network_like()))
    before = list(solver.kept or [])
    assert not solver.found(np.full((400, 400), np.nan)).converged
    assert all(a is b for a, b in zip(solver.kept or [], before, strict=True))
    assert solver.found(matrix(network_like())).products == 2
