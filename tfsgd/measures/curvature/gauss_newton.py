"""λ1 of the Hessian's Gauss-Newton part."""

from typing import ClassVar

from tfsgd.fields import Products, Tolerance
from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec, Matvec, Operator
from tfsgd.measures.eigen import top_eigenvalue


class GaussNewton(CurvatureSpec):
    """The largest eigenvalue of G = JᵀH_L J, the mean over images: J of the logits, H_L of the cross-entropy.

    H = G + Σ ∂L/∂z_c ∇²z_c: the rest holds the residual errors p - y and the network's own second derivatives
    (Schraudolph 2002; Papyan 2019 finds the outlying eigenvalues of H to be those of G). G has no negative
    eigenvalue. In nats, as the loss is. Its error is the residual |Gv - λv| / |λ|, v of unit length;
    `standard_error` as of `top_eigenvalue`.

    A product of G a step, solved as `top_eigenvalue` is: 5 to 8 on StdCNN, each three quarters of the Hessian's.

    Attributes:
        max_iterations: products at most.
        tolerance: converged when the residual is no larger.
    """

    operator: ClassVar[Operator] = "gauss_newton"

    max_iterations: Products = 100
    tolerance: Tolerance = 1e-2

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`, with v -> Gv."""
        return top_eigenvalue(
            matvec, dimension, max_iterations=self.max_iterations, tolerance=self.tolerance, seed=seed
        )
