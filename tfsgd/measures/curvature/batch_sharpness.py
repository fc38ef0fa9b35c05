"""Batch sharpness: the curvature that a step of SGD meets."""

from typing import Annotated, ClassVar, cast

import numpy as np
from pydantic import Field

from tfsgd.errors import RequestError
from tfsgd.fields import Count
from tfsgd.measures.curvature_spec import Batches, Curvature, CurvatureSpec, Matvec, Operator


class BatchSharpness(CurvatureSpec):
    """E_B[gᵀH_B g / |g|²], g and H_B gradient and Hessian of the mean loss over a batch B.

    What stabilises near 2/η under SGD without momentum, where λ1 of the whole Hessian stays below (Andreyev and
    Beneventano 2024, Edge of Stochastic Stability). In nats, as the loss is. Its error is the standard error over
    batches, which are drawn independently, each without repetition from the `examples`; converged where both are
    finite. `ratio_of_means` is E_B[gᵀH_B g] / E_B[|g|²], which weighs a batch by its gradient. The network is in
    inference mode: with dropout or BatchNorm that is not quite the loss that SGD descends.

    It takes a gradient and a product over `batch_size` images for each batch.

    Attributes:
        batch_size: by default the one that the network was trained with.
        batches: how many.
    """

    operator: ClassVar[Operator] = "batches"

    batch_size: Count | None = None
    batches: Annotated[int, Field(strict=True, ge=2, le=10_000)] = 20

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`, with products that know their batches, see `Batches`.

        Raises:
            RequestError: the batch size is not known, or larger than the number of images.
        """
        source = cast(Batches, matvec)
        size = self.batch_size or source.batch_size
        reason = _too_few(size, source.examples)
        if size is None or reason:
            raise RequestError(f"curvature.{self.measure or 'batch_sharpness'}.{reason}")
        rng = np.random.default_rng(seed)
        found: list[tuple[float, float]] = []
        for _ in range(self.batches):
            along, squared = source.along_gradient(rng.choice(source.examples, size, replace=False))
            found.append((along, squared))
            if not np.isfinite(along) or not 0 < squared < np.inf:
                more = {"batch_size": size, "ratio_of_means": np.nan}
                return Curvature(np.nan, np.nan, len(found), False, more)
        alongs, squares = np.array(found).T
        quotients = alongs / squares
        error = float(quotients.std(ddof=1)) / self.batches**0.5
        more = {"batch_size": size, "ratio_of_means": float(alongs.mean() / squares.mean())}
        return Curvature(float(quotients.mean()), error, self.batches, True, more)

    def unfit(self, dimension: int, batch_size: int | None) -> str:
        """A batch is drawn from the examples, without repetition."""
        return _too_few(self.batch_size or batch_size, self.examples)


def _too_few(size: int | None, examples: int) -> str:
    if size is None:
        return "batch_size: expected a number: this network comes without a record of its training's"
    return (
        "" if size <= examples else f"examples: expected at least the batch size, {size}, received {examples}"
    )
