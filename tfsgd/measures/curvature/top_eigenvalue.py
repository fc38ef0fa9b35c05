"""λ1, the top eigenvalue of the Hessian: the config's `hessian` block."""

from tfsgd.fields import Cardinal, Count, Positive
from tfsgd.measures.eigen import top_eigenvalue
from tfsgd.measures.operator import Curvature, CurvatureSpec, Matvec


class TopEigenvalue(CurvatureSpec):
    """The largest algebraic eigenvalue. Its error is the residual |Hv - λv| / |λ|, v of unit length.

    Attributes:
        max_iterations: products at most.
        tolerance: converged when the residual is no larger.
        every_epochs: how often besides in training; 0: at the end only.
    """

    max_iterations: Count = 100
    tolerance: Positive = 1e-2
    every_epochs: Cardinal = 0

    def settings(self) -> dict[str, object]:
        """How often it is measured on the way does not change the number at the end."""
        return {key: value for key, value in super().settings().items() if key != "every_epochs"}

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`."""
        found = top_eigenvalue(
            matvec, dimension, max_iterations=self.max_iterations, tolerance=self.tolerance, seed=seed
        )
        return Curvature(found.eigenvalue, found.residual, found.iterations, found.converged)
