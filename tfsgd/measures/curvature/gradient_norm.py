"""How long the loss's gradient is."""

from typing import cast

import numpy as np

from tfsgd.measures.curvature_spec import Curvature, Matvec
from tfsgd.measures.sharpness_spec import LossInWeights, SharpnessSpec


class GradientNorm(SharpnessSpec):
    """|∇L|, the Euclidean norm of the mean loss's gradient with respect to all weights: in nats per unit of weight.

    `loss` is L, in nats, and `input_gradient` the mean over images of the L1 norm of the loss's gradient with respect to
    the pixels, in nats per pixel unit, here on the images of this measure. Of these images it is exact, its error 0.

    Cost: two gradients, the first of which counts as a product.
    """

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`, with a loss that knows its weights, see `LossInWeights`; nothing is drawn."""
        source = cast(LossInWeights, matvec)
        loss, gradient = source.slope()
        value = float(np.sqrt(np.sum(gradient * gradient)))
        more = {"loss": loss, "input_gradient": float(source.pixel_slopes().mean())}
        return Curvature(value, 0.0 if np.isfinite(value) else np.nan, 1, bool(np.isfinite(value)), more)
