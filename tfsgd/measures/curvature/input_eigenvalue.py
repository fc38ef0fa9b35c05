"""λ1 with respect to the input: how curved the loss is around each image."""

from typing import Annotated, Any, ClassVar, Literal, cast

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tfsgd.fields import Count, Tolerance
from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec, Inputs, Matvec, Operator
from tfsgd.measures.eigen import ROUNDING

Rows = NDArray[np.float64]
BLOCK = 100  # images at once: memory, not mathematics


class InputEigenvalue(CurvatureSpec):
    """The largest algebraic eigenvalue of the Hessian of an image's loss with respect to its pixels, over images.

    What CURE makes small in order to make a network robust (Moosavi-Dezfooli et al. 2019, arXiv:1811.09716, section
    3), and second order in what Qin et al. 2019 (arXiv:1907.02610) call local linearity: the most that the loss
    bends upwards along a direction of unit length. Of a network that is piecewise linear in its pixels (ReLU, max
    pooling) no eigenvalue is negative, and it is the one of largest magnitude, too. In nats per square of a pixel
    unit.

    The Lanczos method for a block of images at once, each with a start and a basis of its own, until the residual
    |Hv - λv| / |λ| is within the tolerance: an eigenvalue lies within residual x |λ| of λ (Parlett, The Symmetric
    Eigenvalue Problem, theorem 4.5.1). The Hessian of a piecewise linear network has at most as many eigenvalues
    that are not zero as there are classes, so few products suffice.

    The value is the mean over images, its error the standard error of that mean. Besides: `lower_quartile`, `median`,
    `upper_quartile`; `residual`, the largest; and `fraction`, the share of the images within the tolerance.
    Converged where that is all of them.

    Cost: a product of a block counts as one, `max_products` for each 100 images at most. Memory: `max_products`
    vectors of 8 bytes x pixels for each of 100 images.

    Attributes:
        max_products: of each image at most.
        tolerance: on each residual.
    """

    operator: ClassVar[Operator] = "inputs"

    mode: Literal["inference"] = "inference"  # in a batch an image has no loss of its own
    examples: Count = 1_000
    max_products: Annotated[int, Field(strict=True, ge=2, le=1_000)] = 30
    tolerance: Tolerance = 1e-2

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`, with products of images, see `Inputs`; the dimension is that of an image."""
        source = cast(Inputs, matvec)
        rng = np.random.default_rng(seed)
        values, residuals, products = np.full(source.examples, np.nan), np.full(source.examples, np.nan), 0
        for first in range(0, source.examples, BLOCK):
            block = np.arange(first, min(first + BLOCK, source.examples))
            start = rng.standard_normal((len(block), dimension))
            values[block], residuals[block], taken = self._solve(source, block, start)
            products += taken
        return Curvature(*_mean(values), products, bool((residuals <= self.tolerance).all()), {
            **_quartiles(values),
            "residual": float(residuals.max()),
            "fraction": float((residuals <= self.tolerance).mean()),
        })  # fmt: skip

    def _solve(self, source: Inputs, block: NDArray[np.int64], start: Rows) -> tuple[Rows, Rows, int]:
        """λ1 and residual of each image of a block, and how many products that took; NaN where not finite."""
        steps = min(self.max_products, start.shape[1])
        found, residual = np.full(len(block), np.nan), np.full(len(block), np.nan)
        left = np.arange(len(block))  # the images that are not done
        basis, projected = np.zeros((len(block), steps, start.shape[1])), np.zeros((len(block), steps, steps))
        vector = start / np.linalg.norm(start, axis=1, keepdims=True)
        for step in range(steps):
            product = source(vector, block[left])
            finite = np.isfinite(product).all(1)
            found[left[~finite]] = residual[left[~finite]] = np.nan
            left, basis, projected = left[finite], basis[finite], projected[finite]
            vector, product = vector[finite], product[finite]
            if not left.size:
                return found, residual, step + 1
            basis[:, step] = vector
            remainder, weights = _orthogonal(basis[:, : step + 1], product)
            projected[:, step, : step + 1] = projected[:, : step + 1, step] = weights
            beyond = np.linalg.norm(remainder, axis=1)
            beyond[beyond <= ROUNDING * np.linalg.norm(product, axis=1)] = 0
            ritz, coordinates = np.linalg.eigh(projected[:, : step + 1, : step + 1])
            found[left] = ritz[:, -1]
            residual[left] = _relative(beyond * np.abs(coordinates[:, -1, -1]), ritz[:, -1])
            going = (residual[left] > self.tolerance) & (beyond > 0)
            left, basis, projected = left[going], basis[going], projected[going]
            vector = remainder[going] / beyond[going, None]
            if not left.size:
                return found, residual, step + 1
        return found, residual, steps


def _orthogonal(basis: Rows, vectors: Rows) -> tuple[Rows, Rows]:
    """Of each image's vector what is orthogonal to its basis, and its coordinates in it (twice: Parlett, 6.9)."""
    first = np.einsum("nkd,nd->nk", basis, vectors)
    remainder = vectors - np.einsum("nk,nkd->nd", first, basis)
    second = np.einsum("nkd,nd->nk", basis, remainder)
    return remainder - np.einsum("nk,nkd->nd", second, basis), first + second


def _relative(distance: Rows, values: Rows) -> Rows:
    return np.divide(distance, np.abs(values), out=(distance > 0).astype(float), where=values != 0)


def _mean(values: Rows) -> tuple[float, float]:
    error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return float(values.mean()), error


def _quartiles(values: Rows) -> dict[str, Any]:
    names = ("lower_quartile", "median", "upper_quartile")
    return dict(zip(names, np.quantile(values, [0.25, 0.5, 0.75]).tolist(), strict=True))
