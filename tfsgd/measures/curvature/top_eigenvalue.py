"""λ1, the top eigenvalue of the Hessian: the config's `hessian` block."""

from typing import Literal

from tfsgd.fields import EpochsOrNever, Products, Tolerance
from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec, Matvec
from tfsgd.measures.eigen import power_iteration, top_eigenvalue


class TopEigenvalue(CurvatureSpec):
    """The largest algebraic eigenvalue. Its error is the residual |Hv - λv| / |λ|, v of unit length.

    The residual tells nothing of other images. `standard_error` does: that of the mean of vᵀH_c v over chunks c of 100
    images, with v held fixed; in training mode a chunk is a batch. It leaves out that v turns too, so it is a lower bound
    where the next eigenvalue is near. NaN of a single chunk.

    A product a step. On StdCNN trained on Fashion-MNIST for 100 epochs (LR, momentum 0, 500 training images, 3
    start vectors) 5 to 6 products at b = 64 and 6 to 8 at b = 1024; plain power iteration 6 to 10 and 7 to 19.

    Attributes:
        method: power steps with Rayleigh-Ritz over the last three vectors, or plain power iteration, as the paper
            ran it, with a shift where the eigenvalue of largest magnitude is negative.
        max_iterations: products at most.
        tolerance: converged when the residual is no larger.
        every_epochs: how often besides in training; 0: at the end only.
    """

    method: Literal["rayleigh_ritz", "power"] = "rayleigh_ritz"
    max_iterations: Products = 100
    tolerance: Tolerance = 1e-2
    every_epochs: EpochsOrNever = 0

    def settings(self) -> dict[str, object]:
        """How often it is measured on the way does not change the number at the end."""
        return {key: value for key, value in super().settings().items() if key != "every_epochs"}

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`."""
        solve = power_iteration if self.method == "power" else top_eigenvalue
        return solve(
            matvec, dimension, max_iterations=self.max_iterations, tolerance=self.tolerance, seed=seed
        )
