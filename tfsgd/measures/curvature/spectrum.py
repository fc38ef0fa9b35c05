"""The spectral density of the Hessian, by stochastic Lanczos quadrature."""

from typing import Annotated

import numpy as np
from pydantic import Field

from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec, Matvec
from tfsgd.measures.lanczos import Lanczos

DIGITS = 8  # significant ones of nodes and weights: more than the products hold


class Spectrum(CurvatureSpec):
    """How the eigenvalues are distributed (Ghorbani, Krishnan, Xiao 2019, algorithms 1 and 2).

    Each probe v, a random direction, gives a Gauss quadrature by Lanczos: its nodes t are the Ritz values, its
    weights w the squared first coordinates of their vectors, and vᵀf(H)v = Σ w f(t), exact for polynomials f up to
    degree 2 steps - 1. The mean over probes estimates tr f(H) / n, with f a Gaussian around a point the density
    there; its width is the reader's choice, so `nodes` and `weights` are given as they are: a list a probe, nodes
    ascending, in nats as the loss is, weights of sum 1, both rounded to 8 significant digits. The 1/n of a single
    eigenvalue cannot be seen beyond the ends of the Ritz values.

    The value is tr H: the quadrature's first moment times n, the mean over probes of n vᵀHv, and its error the
    standard error of that mean. Converged where both are finite. (`trace` is more accurate for its products.)

    It takes probes x steps products, 240 by default, fewer where H leads nowhere else. Memory: steps vectors of
    8 bytes x parameters.

    Attributes:
        probes: random directions.
        steps: of Lanczos, from each.
    """

    probes: Annotated[int, Field(strict=True, ge=2, le=1_000)] = 4
    steps: Annotated[int, Field(strict=True, ge=1, le=1_000)] = 60

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`."""
        rng = np.random.default_rng(seed)
        nodes: list[list[float]] = []
        weights: list[list[float]] = []
        traces = []
        products = 0
        for _ in range(self.probes):
            start = rng.standard_normal(dimension)
            lanczos = Lanczos(matvec, start, min(self.steps, dimension))
            while lanczos.left > 0 and not lanczos.is_full:
                products += 1
                if not lanczos.step():
                    return Curvature(np.nan, np.nan, products, False, {"nodes": [], "weights": []})
            values, coordinates, _ = lanczos.ritz()
            weight = coordinates[0] ** 2
            traces.append(dimension * float(np.sum(weight * values)))
            nodes.append(_rounded(values))
            weights.append(_rounded(weight))
        error = float(np.std(traces, ddof=1)) / self.probes**0.5
        more = {"nodes": nodes, "weights": weights}
        return Curvature(float(np.mean(traces)), error, products, bool(np.isfinite(error)), more)

    def vectors(self, dimension: int) -> int:
        """The basis, and a few."""
        return min(self.steps, dimension) + 4


def _rounded(numbers: np.ndarray) -> list[float]:
    return [float(f"{number:.{DIGITS}g}") for number in numbers]
