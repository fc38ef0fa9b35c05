"""Worst-case sharpness: how far the loss can rise in a ball around the weights."""

from typing import Annotated, Literal, cast

import numpy as np
from pydantic import Field

from tfsgd.fields import Count, Flag
from tfsgd.measures.curvature_spec import Curvature, Matvec, Vector
from tfsgd.measures.sharpness_spec import (
    Indices,
    LossInWeights,
    SharpnessSpec,
    climbed,
    mean_and_error,
    scale_of,
)

Rho = Annotated[float, Field(strict=True, gt=0, le=1e6)]


class WorstSharpness(SharpnessSpec):
    """The mean over batches B of max L_B(w + δ) - L_B(w), δ in a ball of radius ρ: in nats.

    The ball is that of |δ|, or of |δ/|w|| with the quotient taken weight by weight (adaptive: Kwon et al. 2021,
    arXiv:2102.11600, equation 5), in L2 or L-infinity. In batches of m images it is m-sharpness (Foret et al. 2021,
    arXiv:2010.01412, section 4); a batch of all `examples` is sharpness as Keskar et al. 2017 have it. The maximum is
    sought by projected steepest ascent from w; where that stops short of it, the value is too small. A weight that is
    exactly 0 does not move in an adaptive ball.

    The batches are the images in their order; what fills no batch is left out. Its error is the standard error over
    batches; of a single one it is not known and 0. Products: gradients over all images, one each step and one more.

    Attributes:
        rho: ρ.
        norm: of the ball.
        adaptive: each weight moves in proportion to its own size.
        batch_size: m.
        steps: of the ascent.
    """

    examples: Count = 1_000
    rho: Rho = 0.1
    norm: Literal["L2", "Linf"] = "L2"
    adaptive: Flag = False
    batch_size: Count = 100
    steps: Annotated[int, Field(strict=True, ge=1, le=10_000)] = 20

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`, with a loss that knows its weights, see `LossInWeights`; drawn is a way up where there is no slope."""
        source = cast(LossInWeights, matvec)
        sizes = scale_of(source.weights, self.adaptive)
        full = max(source.examples // self.batch_size, 1)
        found = []
        for batch in np.array_split(np.arange(source.examples)[: full * self.batch_size], full):

            def at(shift: Vector, batch: Indices = batch) -> tuple[float, Vector]:
                loss, slope = source.slope(sizes * shift, batch)
                return loss, sizes * slope

            found.append(climbed(at, len(sizes), self.rho, self.norm, self.steps, seed))
        value, error = mean_and_error(np.array(found))
        known = bool(np.isfinite(value))
        return Curvature(value, error if full > 1 else 0.0, self.steps + 1, known, {"batches": full})

    def unfit(self, dimension: int, batch_size: int | None) -> str:
        """A batch has no more images than there are."""
        if self.batch_size <= self.examples:
            return ""
        return (
            f"batch_size: expected at most the {self.examples} images of examples, received {self.batch_size}"
        )
