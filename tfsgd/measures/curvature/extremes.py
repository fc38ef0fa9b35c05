"""The ends of the Hessian's spectrum: its k largest eigenvalues and its lowest one."""

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator
from typing_extensions import Self

from tfsgd.errors import RequestError
from tfsgd.fields import Products, Tolerance
from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec, Matvec
from tfsgd.measures.lanczos import Lanczos, Rows

ROOM = 60  # vectors in memory beside the k that are looked for


class Extremes(CurvatureSpec):
    """The k largest algebraic eigenvalues and the lowest one, by Lanczos with full reorthogonalisation.

    Its value is the largest. The residual of each is |Hv - λv| / |λ|, v of unit length: an eigenvalue lies within
    residual x |λ| of λ (Parlett, The Symmetric Eigenvalue Problem, theorem 4.5.1). Where |λ| is below `tolerance`
    times the largest magnitude, that stands in its place: an eigenvalue of zero has no relative residual. The
    error is the largest residual of the k; converged where the lowest one's is within the tolerance too.
    Eigenvalues are in nats, as the loss is. One that occurs several times may be listed once,
    and so may two that are nearer to each other than the tolerance.

    A product a step, one basis for both ends. Products until all residuals are within 1e-2, on StdCNN trained on
    Fashion-MNIST for 100 epochs (LR, momentum 0, 500 training images, 23,010 parameters):

    | b | k | products | after which the k largest stand | SciPy's `eigsh`: k largest + lowest | its `which="BE"` |
    |---|---|---|---|---|---|
    | 64 | 5 | 32 | 15 | 21 + 41 | 88 |
    | 64 | 10 | 32 | 27 | 28 + 41 | 108 |
    | 1024 | 5 | 37 | 14 | 21 + 51 | 70 |
    | 1024 | 10 | 37 | 23 | 28 + 51 | 97 |

    Memory: k + 60 vectors of 8 bytes x parameters; beyond that the basis is cut down to its best half.

    Attributes:
        k: how many of the largest.
        max_products: Hessian-vector products at most.
        tolerance: on each residual.
    """

    k: Annotated[int, Field(strict=True, ge=1, le=100)] = 5
    max_products: Products = 200
    tolerance: Tolerance = 1e-2

    @model_validator(mode="after")
    def _products_suffice(self) -> Self:
        if self.max_products <= self.k:
            raise ValueError(f"max_products: expected more than k = {self.k}, received {self.max_products}")
        return self

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`.

        Raises:
            RequestError: the matrix has fewer than k eigenvalues; no product is taken.
        """
        reason = self.unfit(dimension, None)
        if reason:
            raise RequestError(f"curvature.{self.measure or 'extremes'}.{reason}")
        rng = np.random.default_rng(seed)
        lanczos = Lanczos(matvec, rng.standard_normal(dimension), min(self.k + ROOM, dimension))
        for product in range(1, self.max_products + 1):
            if lanczos.is_full:
                lanczos.restart(*_ends(lanczos, self.k))
            if lanczos.left == 0:
                lanczos.turn(rng.standard_normal(dimension))
            if not lanczos.step():
                return Curvature(np.nan, np.nan, product, False, self._nothing())
            if lanczos.size > min(self.k, dimension - 1):
                found = self._found(lanczos)
                if found.worst <= self.tolerance or lanczos.size == dimension:
                    return found.curvature(product, found.worst <= self.tolerance)
        return found.curvature(self.max_products, False)

    def unfit(self, dimension: int, batch_size: int | None) -> str:
        """A matrix has as many eigenvalues as rows."""
        if self.k <= dimension:
            return ""
        return f"k: expected at most the {dimension} trainable parameters of the network, received {self.k}"

    def vectors(self, dimension: int) -> int:
        """The basis, and its better half when it is cut down."""
        return 2 * min(self.k + ROOM, dimension)

    def _nothing(self) -> dict[str, object]:
        return {"eigenvalues": [], "residuals": [], "lowest": np.nan, "lowest_residual": np.nan}

    def _found(self, lanczos: Lanczos) -> "_Ends":
        values, _, residuals = lanczos.ritz()
        smallest = self.tolerance * np.abs(values).max()
        scale = np.maximum(np.abs(values), smallest)
        relative = np.divide(residuals, scale, out=np.zeros_like(residuals), where=scale > 0)
        return _Ends(values[::-1][: self.k], relative[::-1][: self.k], float(values[0]), float(relative[0]))


@dataclass(frozen=True)
class _Ends:
    """The largest eigenvalues, descending, and the lowest one, with their relative residuals."""

    largest: Rows
    residuals: Rows
    lowest: float
    lowest_residual: float

    @property
    def worst(self) -> float:
        return max(float(self.residuals.max()), self.lowest_residual)

    def curvature(self, products: int, converged: bool) -> Curvature:
        more = {
            "eigenvalues": self.largest.tolist(),
            "residuals": self.residuals.tolist(),
            "lowest": self.lowest,
            "lowest_residual": self.lowest_residual,
        }
        return Curvature(float(self.largest[0]), float(self.residuals.max()), products, converged, more)


def _ends(lanczos: Lanczos, k: int) -> tuple[Rows, Rows]:
    """The Ritz pairs to go on with: the k largest and half of the room, a third of it at the low end."""
    values, coordinates, _ = lanczos.ritz()
    low, high = ROOM // 6, k + ROOM // 3
    kept = np.r_[0:low, len(values) - high : len(values)]
    return values[kept], coordinates[:, kept]
