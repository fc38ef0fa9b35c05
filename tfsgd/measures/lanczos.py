"""The Lanczos method with full reorthogonalisation, for a symmetric matrix known only by its products."""

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.curvature_spec import Matvec, Vector
from tfsgd.measures.eigen import ROUNDING

Rows = NDArray[np.float64]


class Lanczos:
    """H V = V T + r eᵀ: V orthonormal, r orthogonal to it, e the last unit vector; a product a step.

    Each new vector is made orthogonal to all before, twice (Parlett, The Symmetric Eigenvalue Problem, section
    6.9): without that, rounding lets eigenvalues come twice. T is taken whole and not only its three diagonals,
    so that a basis cut down to some of its Ritz vectors goes on like any other (thick restart: Wu and Simon,
    SIAM J. Matrix Anal. Appl. 22, 2000).

    Args:
        matvec: v -> Hv, vectors of shape `(dimension,)`.
        start: the first direction, not zero.
        capacity: vectors at most, 8 bytes x dimension each.

    Attributes:
        size: vectors in the basis.
        left: |r|; 0 where H leads nowhere else than the basis.
    """

    def __init__(self, matvec: Matvec, start: Vector, capacity: int) -> None:
        self._matvec = matvec
        self._basis: Rows = np.zeros((capacity, len(start)))
        self._projected: Rows = np.zeros((capacity, capacity))
        self._next: Rows = np.asarray(start / np.linalg.norm(start), np.float64)
        self.size = 0
        self.left = 1.0

    @property
    def is_full(self) -> bool:
        """No vector fits in any more."""
        return self.size == len(self._basis)

    def step(self) -> bool:
        """Grows the basis by one vector; False, and nothing grown, where its product is not finite.

        A step after `left` became 0 needs a new direction first, see `turn`.
        """
        product = np.asarray(self._matvec(self._next), np.float64)
        if not np.isfinite(product).all():
            return False
        self._basis[self.size] = self._next
        self.size += 1
        remainder, weights = self._orthogonal(product)
        row = self.size - 1
        self._projected[row, : self.size] = self._projected[: self.size, row] = weights
        self.left = float(np.linalg.norm(remainder))
        if self.left <= ROUNDING * np.linalg.norm(product):
            self.left = 0.0
        else:
            self._next = remainder / self.left
        return True

    def turn(self, direction: Vector) -> None:
        """Goes on from a new direction, where `left` is 0 and the basis is not yet everything."""
        remainder = self._orthogonal(direction)[0]
        self._next = remainder / np.linalg.norm(remainder)

    def ritz(self) -> tuple[Rows, Rows, Rows]:
        """What is known of the eigenvalues.

        Returns:
            Ritz values, ascending; their vectors' coordinates in V, a column each; |Hv - value v| of each.
        """
        values, coordinates = np.linalg.eigh(self._projected[: self.size, : self.size])
        return values, coordinates, self.left * np.abs(coordinates[-1])

    def restart(self, values: Rows, coordinates: Rows) -> None:
        """Keeps some Ritz vectors, given as by `ritz`, in place of the whole basis."""
        kept = len(values)
        self._basis[:kept] = coordinates.T @ self._basis[: self.size]
        self._projected[:] = 0
        self._projected[:kept, :kept] = np.diag(values)
        self.size = kept

    def _orthogonal(self, vector: Vector) -> tuple[Rows, Rows]:
        """The part of a vector that is orthogonal to the basis, and its coordinates in the basis."""
        basis = self._basis[: self.size]
        first = basis @ vector
        remainder = vector - first @ basis
        second = basis @ remainder
        return remainder - second @ basis, first + second
