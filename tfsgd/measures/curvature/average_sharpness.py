"""Average sharpness: how much Gaussian noise on the weights raises the loss."""

from typing import Annotated, cast

import numpy as np
from pydantic import Field

from tfsgd.fields import Flag
from tfsgd.measures.curvature_spec import Curvature, Matvec
from tfsgd.measures.sharpness_spec import LossInWeights, SharpnessSpec, WeightNoise, mean_and_error

Sigma = Annotated[float, Field(strict=True, gt=0, le=1e6)]
Draws = Annotated[int, Field(strict=True, ge=2, le=10_000)]


class AverageSharpness(SharpnessSpec):
    """E L(w + δ) - L(w), δ normal with standard deviation σ, or σ|w| for each weight w: in nats.

    Keskar et al. 2017's idea with an average in place of the worst case; the adaptive one is that of Andriushchenko et al.
    2023 (arXiv:2302.07011, equation 2), which no rescaling of the units of a ReLU network moves. To second order the plain
    one is σ² tr H / 2. Its error is the standard error over draws; `standard_error` is that over images, each image's rise
    being the mean over the draws.

    Cost: a forward pass for each draw and one more, which count as products.

    Attributes:
        sigma: σ, in the weights' unit, or as a share of each weight.
        adaptive: each weight moves in proportion to its own size.
        draws: how many δ.
    """

    sigma: Sigma = 0.01
    adaptive: Flag = False
    draws: Draws = 20

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`, with a loss that knows its weights, see `LossInWeights`."""
        source = cast(LossInWeights, matvec)
        rises = WeightNoise(source, self.draws, self.adaptive, seed).rises(self.sigma, source.losses())
        value, error = mean_and_error(rises.mean(1))
        more = {"standard_error": mean_and_error(rises.mean(0))[1]}
        return Curvature(value, error, self.draws + 1, bool(np.isfinite(error)), more)
