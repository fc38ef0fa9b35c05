"""λ1 and trace of each layer's own block of the Hessian."""

from typing import Annotated

import numpy as np
from pydantic import Field

from tfsgd.fields import Products, Tolerance
from tfsgd.measures.curvature.trace import Trace
from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec, Matvec, Vector
from tfsgd.measures.eigen import top_eigenvalue


class Layers(CurvatureSpec):
    """The diagonal blocks of H: second derivatives with respect to one layer's parameters, the rest held fixed.

    For each layer in order: `names`, whose counters Keras may begin elsewhere in another process, so that layers
    of two networks are compared by their place; `eigenvalues`, the block's largest, with `residuals`
    |Hv - λv| / |λ|; and `traces`, as of `trace` (Hutch++), with their standard errors, `trace_errors`. All in
    nats, as the loss is.
    No block's λ1 is above that of H (Cauchy's interlacing), and the traces add up to that of H.

    The value is the largest of the λ1, its error that one's residual; converged where all residuals are within the
    tolerance. For each layer it takes the products of its λ1 and `probes` more (2 x parameters at most), each as
    costly as one of the whole Hessian: 214 for the 6 layers of StdCNN.

    Attributes:
        probes: products for each trace, dealt out in thirds.
        max_iterations: products at most for each λ1.
        tolerance: on each residual.
    """

    probes: Annotated[int, Field(strict=True, ge=6, le=30_000)] = 30
    max_iterations: Products = 100
    tolerance: Tolerance = 1e-2

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`; the layers are those of the matvec, and one of all where it has none."""
        layers: list[tuple[str, slice]] = getattr(matvec, "layers", [("all", slice(0, dimension))])
        found: dict[str, list[float]] = {"eigenvalues": [], "residuals": [], "traces": [], "trace_errors": []}
        products, converged = 0, True
        for _, part in layers:
            size = part.stop - part.start
            block = _block(matvec, dimension, part)
            top = top_eigenvalue(
                block, size, max_iterations=self.max_iterations, tolerance=self.tolerance, seed=seed
            )
            products += top.products
            if np.isnan(top.value):
                return Curvature(np.nan, np.nan, products, False, {"names": [], **{key: [] for key in found}})
            trace = Trace(probes=self.probes).run(block, size, seed)
            products += trace.products
            converged = converged and top.converged and trace.converged
            numbers = (top.value, top.error, trace.value, trace.error)
            for values, number in zip(found.values(), numbers, strict=True):
                values.append(number)
        largest = int(np.argmax(found["eigenvalues"]))
        return Curvature(
            found["eigenvalues"][largest], found["residuals"][largest], products, converged,
            {"names": [name for name, _ in layers], **found},
        )  # fmt: skip

    def vectors(self, dimension: int) -> int:
        """At most as the trace of the whole takes."""
        return Trace(probes=self.probes).vectors(dimension)


def _block(matvec: Matvec, dimension: int, part: slice) -> Matvec:
    """v -> the layer's part of Hv, v zero elsewhere."""

    def product(vector: Vector) -> Vector:
        whole = np.zeros(dimension)
        whole[part] = vector
        return np.asarray(matvec(whole))[part]

    return product
