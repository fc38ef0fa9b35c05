"""The trace of the Hessian, by Hutch++ (Meyer, Musco, Musco, Woodruff 2021, algorithm 1)."""

from typing import Annotated

import numpy as np
from pydantic import Field

from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec, Matvec, Vector


class Trace(CurvatureSpec):
    """tr H, the sum of all eigenvalues. Its error is the standard error of the estimate.

    A third of the products finds a subspace that holds the large eigenvalues, a third takes the trace on it
    exactly, and a third estimates the rest with random signs (Hutchinson 1990), from whose spread the standard
    error follows. Where the subspace is everything, the trace is exact and the error 0.

    Attributes:
        probes: Hessian-vector products, dealt out in thirds.
    """

    probes: Annotated[int, Field(strict=True, ge=6, le=30_000)] = 60

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`; converged where the products were finite."""
        rng = np.random.default_rng(seed)
        third = min(self.probes // 3, dimension)

        def products(vectors: Vector) -> Vector:
            return np.stack([np.asarray(matvec(v), np.float64) for v in vectors.T], 1)

        sketch = products(rng.choice([-1.0, 1.0], (dimension, third)))
        if not np.isfinite(sketch).all():
            return Curvature(np.nan, np.nan, third, False)
        basis = np.linalg.qr(sketch)[0]
        inside = float(np.sum(basis * products(basis)))
        if third == dimension:
            return Curvature(inside, 0.0, 2 * third, True)
        probes = rng.choice([-1.0, 1.0], (dimension, third))
        probes -= basis @ (basis.T @ probes)
        outside = np.sum(probes * products(probes), 0)
        error = float(outside.std(ddof=1)) / third**0.5
        return Curvature(inside + float(outside.mean()), error, 3 * third, bool(np.isfinite(error)))

    def vectors(self, dimension: int) -> int:
        """The subspace, the probes, their products, and what becomes of them."""
        return 5 * min(self.probes // 3, dimension)
