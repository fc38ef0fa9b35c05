"""PAC-Bayes sharpness: how much noise on the weights the network bears."""

from collections.abc import Callable
from typing import Annotated, cast

import numpy as np
from pydantic import Field
from scipy.optimize import brentq

from tfsgd.fields import Count, Flag, Tolerance
from tfsgd.measures.curvature_spec import Curvature, Matvec
from tfsgd.measures.sharpness_spec import LossInWeights, SharpnessSpec, WeightNoise, mean_and_error

LEAST, MOST = 1e-9, 1e6  # σ that is looked at
STEEP = 0.05  # relative step over which the rise's slope is taken
FACTOR = 2.0  # of the search's first steps
LARGEST = 50.0


class PacBayes(SharpnessSpec):
    """The largest σ up to which Gaussian noise of standard deviation σ, or σ|w|, raises the mean loss by at most `rise` nats.

    The flatness in PAC-Bayes bounds, as Jiang et al. 2020 (arXiv:1912.02178, appendix C.4) take it, who let the error
    rise by 0.1 in place of the loss. The directions of the noise are drawn once, and σ is solved for by Brent's method on
    log σ. Its error is the standard error over draws, that of the rise at σ over its slope. Small where the network is
    sharp. In the weights' own unit, or as a share of each weight. Where no σ from 1e-9 to 1e6 raises the loss so far, it is
    not known; a loss of normalized logits may be one that no noise raises so far.

    Products: forward passes over all images.

    Attributes:
        rise: nats.
        adaptive: each weight moves in proportion to its own size.
        draws: how many directions.
        tolerance: of σ, relative.
    """

    examples: Count = 1_000
    rise: Annotated[float, Field(strict=True, gt=0, le=1e6)] = 0.1
    adaptive: Flag = False
    draws: Annotated[int, Field(strict=True, ge=2, le=10_000)] = 20
    tolerance: Tolerance = 1e-3

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`, with a loss that knows its weights, see `LossInWeights`."""
        source = cast(LossInWeights, matvec)
        noise, before = WeightNoise(source, self.draws, self.adaptive, seed), source.losses()
        passes = 1

        def rises(log_sigma: float) -> np.ndarray:
            nonlocal passes
            passes += self.draws
            return noise.rises(float(np.exp(log_sigma)), before).mean(1)

        def beyond(log_sigma: float) -> float:
            """log(mean rise / `rise`), within [-LARGEST, LARGEST]: a straight line in log σ where it rises as a power."""
            mean = float(rises(log_sigma).mean()) / self.rise
            return float(np.clip(np.log(mean), -LARGEST, LARGEST)) if 0 < mean < np.inf else _end(mean)

        if not np.isfinite(before).all():
            return Curvature(np.nan, np.nan, passes, False)
        ends = _bracket(beyond)
        if ends is None:
            return Curvature(np.nan, np.nan, passes, False)
        log_sigma = float(brentq(beyond, *ends, xtol=self.tolerance, rtol=1e-12))
        here, further = rises(log_sigma), rises(log_sigma + STEEP)
        steepness = (further.mean() - here.mean()) / STEEP
        sigma = float(np.exp(log_sigma))
        error = sigma * mean_and_error(here)[1] / steepness if steepness > 0 else np.nan
        return Curvature(sigma, float(error), passes, bool(np.isfinite(error)))


def _end(mean: float) -> float:
    return -LARGEST if mean <= 0 else LARGEST  # NaN: beyond what numbers hold


def _bracket(beyond: Callable[[float], float]) -> tuple[float, float] | None:
    """Two ends of log σ, a factor apart, between which the loss has risen so far; `None`: there are none in range.

    From 0.01 down to where it has not, and up again to where it has.
    """
    log_factor, low = float(np.log(FACTOR)), float(np.log(0.01))
    while not beyond(low) <= 0:
        low -= log_factor
        if low < np.log(LEAST):
            return None
    high = low + log_factor
    while beyond(high) <= 0:
        low, high = high, high + log_factor
        if high > np.log(MOST):
            return None
    return low, high
