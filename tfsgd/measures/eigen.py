"""The top eigenvalue of a symmetric matrix that is known only by its products with vectors."""

from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.curvature_spec import Curvature, Matvec, Vector

ROUNDING = 1e-12  # what is left of a vector, relatively, where there should be nothing
MIXED, LEAST = 1e-2, 4  # share of a random vector, and products at least, from an eigenvector that is known


def top_eigenvalue(
    matvec: Matvec, dimension: int, *, max_iterations: int, tolerance: float, seed: int = 0
) -> Curvature:
    """The largest algebraic eigenvalue of a symmetric matrix, by power iteration with Rayleigh-Ritz.

    Each step multiplies the best vector found so far by H, as power iteration does. The best vector is the
    one with the largest Rayleigh quotient among all combinations of three: the new one, the best one, and
    the best one before (the locally optimal method of Knyazev, SIAM J. Sci. Comput. 23, 2001, for one vector
    and without preconditioner). It takes fewer products than power iteration alone, and finds the largest
    algebraic eigenvalue also where one of larger magnitude is negative: v and Hv span what v and
    (H + shift I)v span.

    Of a product that has a list `kept` it begins with the eigenvector of the last time, see `_start`.

    Args:
        matvec: v -> Hv, vectors of shape `(dimension,)`; where it has `by_chunk`, see `tfsgd.networks.hessian.Product`,
            the quotient has a standard error.
        dimension: size of H.
        max_iterations: products at most.
        tolerance: converged when the residual |Hv - av| / |a| is no larger. For a symmetric H an
            eigenvalue lies within residual x |a| of a (Parlett, The Symmetric Eigenvalue Problem,
            theorem 4.5.1), and the Rayleigh quotient's own error is of second order in it.
        seed: of the random start vector.

    Returns:
        The eigenvalue; its error is the residual. NaN, not converged, where H has non-finite entries. In `more`, of a
        mean over images, `standard_error`, see `_Quotients`.
    """
    kept: list[Vector] | None = getattr(matvec, "kept", None)
    direction, least = _start(kept, np.random.default_rng(seed).standard_normal(dimension))
    basis: list[Vector] = []  # orthonormal: the best vector, the one before, and the new direction
    products: list[Vector] = []  # H times each of them
    quotients = _Quotients(matvec)
    eigenvalue, residual, iteration = np.nan, np.nan, 0
    for iteration in range(1, max_iterations + 1):
        basis = [*basis, direction]
        product = quotients.product(basis)
        if not np.isfinite(product).all():
            return Curvature(np.nan, np.nan, iteration, False, quotients.unknown)
        products = [*products, product]
        eigenvalue, best = _top_ritz_pair(basis, products)
        vector, product = _combined(best, basis), _combined(best, products)
        residual = _residual(eigenvalue, vector, product)
        before = _made_orthogonal(np.eye(len(best))[0], [best])
        quotients.combine([best, *before])
        if kept is not None:
            kept[:] = [vector.astype(np.float32)]  # a checkpoint holds it
        if residual <= tolerance and iteration >= least:
            break
        basis = [vector, *(_combined(weights, basis) for weights in before)]
        products = [product, *(_combined(weights, products) for weights in before)]
        new = _made_orthogonal(product, basis)
        if not new:  # H leads nowhere else: what is left of the residual is rounding
            break
        direction = new[0]
    return Curvature(eigenvalue, residual, iteration, residual <= tolerance, quotients.standard_error)


def power_iteration(
    matvec: Matvec, dimension: int, *, max_iterations: int, tolerance: float, seed: int = 0
) -> Curvature:
    """The largest algebraic eigenvalue of a symmetric matrix, by plain power iteration: v <- Hv / |Hv|.

    It goes to the eigenvalue of largest magnitude. Where that turns out negative, the iteration begins anew
    with H + shift I, the shift being its magnitude: then no eigenvalue is negative, and the largest one dominates.
    A product a step, shifted or not.

    Args, returns: as for `top_eigenvalue`; the residual is that of H, whatever the shift.
    """
    rng = np.random.default_rng(seed)
    vector: Vector = rng.standard_normal(dimension)
    quotients = _Quotients(matvec)
    shift, eigenvalue, residual, iteration = 0.0, np.nan, np.nan, 0
    for iteration in range(1, max_iterations + 1):
        vector = vector / _norm(vector)
        quotients.combine([])
        product = quotients.product([vector])
        if not np.isfinite(product).all():
            return Curvature(np.nan, np.nan, iteration, False, quotients.unknown)
        eigenvalue = _dot(vector, product)
        residual = _residual(eigenvalue, vector, product)
        if residual <= tolerance:
            if eigenvalue >= 0 or shift:
                return Curvature(eigenvalue, residual, iteration, True, quotients.standard_error)
            shift, vector = -eigenvalue, rng.standard_normal(dimension)
        else:
            vector = product + shift * vector
    return Curvature(eigenvalue, residual, iteration, False, quotients.standard_error)


@runtime_checkable
class OfChunks(Protocol):
    """A product of a mean over chunks of images, see `tfsgd.networks.hessian.Product`.

    Attributes:
        counts: images of each chunk, `(chunks,)`.
    """

    counts: NDArray[np.integer[Any]]

    def by_chunk(self, vector: Vector, rows: Sequence[Vector]) -> tuple[Vector, NDArray[np.float64]]:
        """Hv, and uᵀH_c v of each row u and chunk c, `(chunks, rows)`."""


class _Quotients:
    """Products of a mean over images, and what each chunk of images adds to the Rayleigh quotient, vᵀHv.

    For a fixed v that is a mean over images, so its spread over chunks gives its standard error. λ1's own sampling
    error is that to first order, since the derivative of λ1 is vᵀ dH v, and larger where the next eigenvalue is near.

    Args:
        matvec: with or without `by_chunk`.
    """

    def __init__(self, matvec: Matvec) -> None:
        self._matvec = matvec
        self._of_chunks = matvec if isinstance(matvec, OfChunks) else None
        self._counts = None if self._of_chunks is None else self._of_chunks.counts
        self._forms = np.zeros(
            (0 if self._counts is None else len(self._counts), 0, 0)
        )  # uᵀH_c v over the basis

    def product(self, basis: list[Vector]) -> Vector:
        """H times the last vector of the basis, which is new."""
        if self._of_chunks is None:
            return np.asarray(self._matvec(basis[-1]), np.float64)
        product, last = self._of_chunks.by_chunk(basis[-1], basis)
        self._forms = np.pad(self._forms, ((0, 0), (0, 1), (0, 1)))
        self._forms[:, -1] = self._forms[:, :, -1] = last
        return np.asarray(product, np.float64)

    def combine(self, weights: list[Vector]) -> None:
        """The basis becomes these combinations of its vectors."""
        if self._counts is None:
            return
        turn = np.reshape(weights, (len(weights), self._forms.shape[1]))
        self._forms = np.einsum("ai,cij,bj->cab", turn, self._forms, turn)

    @property
    def unknown(self) -> dict[str, float]:
        """In place of a standard error, where there is no eigenvalue."""
        return {} if self._counts is None else {"standard_error": np.nan}

    @property
    def standard_error(self) -> dict[str, float]:
        """Of the first basis vector's quotient: each chunk weighs what it has of images; NaN of a single chunk."""
        if self._counts is None or len(self._counts) < 2:
            return self.unknown
        weights, quotients = self._counts / self._counts.sum(), self._forms[:, 0, 0]
        off = quotients - np.sum(weights * quotients)
        return {"standard_error": float(np.sum(weights * off * off) / (len(weights) - 1)) ** 0.5}


def _start(kept: list[Vector] | None, random: Vector) -> tuple[Vector, int]:
    """A vector of unit length to begin with, and how many products are taken at least.

    The eigenvector of the last time, where H has changed a little since. From it alone the iteration would stay with an
    eigenvalue that another one has overtaken; so it has a hundredth of a random vector, and some products in which that
    grows along larger eigenvalues, if there are any.
    """
    start = random / _norm(random)
    if not kept:
        return start, 1
    [last] = kept
    start = last + MIXED * start
    return start / _norm(start), LEAST


def _top_ritz_pair(basis: list[Vector], products: list[Vector]) -> tuple[float, Vector]:
    """The largest Rayleigh quotient in the span of an orthonormal basis, and its vector's coordinates."""
    projected = np.array([[_dot(vector, product) for product in products] for vector in basis])
    values, vectors = np.linalg.eigh((projected + projected.T) / 2)
    return float(values[-1]), vectors[:, -1]


def _residual(eigenvalue: float, vector: Vector, product: Vector) -> float:
    """|Hv - av| / |a|, v of unit length, from Hv."""
    distance = _norm(product - eigenvalue * vector)
    return distance / abs(eigenvalue) if eigenvalue else float(distance > 0)


def _combined(weights: Vector, vectors: list[Vector]) -> Vector:
    return np.asarray(sum(w * v for w, v in zip(weights, vectors, strict=True)))


def _made_orthogonal(vector: Vector, basis: list[Vector]) -> list[Vector]:
    """The part of a vector that is orthogonal to an orthonormal basis, of unit length; none if there is none."""
    length = _norm(vector)
    for _ in range(2):  # once leaves rounding errors, twice is enough (Parlett, section 6.9)
        for other in basis:
            vector = vector - _dot(other, vector) * other
    left = _norm(vector)
    return [vector / left] if left > ROUNDING * length else []


def _dot(a: Vector, b: Vector) -> float:
    """Not by BLAS, whose sum depends on how many cores it finds."""
    return float(np.sum(a * b))


def _norm(a: Vector) -> float:
    return _dot(a, a) ** 0.5
