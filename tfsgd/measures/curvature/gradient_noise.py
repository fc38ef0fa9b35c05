"""The gradient noise scale: the batch size at which a batch's gradient is as much noise as signal."""

from typing import Annotated, ClassVar, cast

import numpy as np
from pydantic import Field

from tfsgd.errors import RequestError
from tfsgd.fields import Count
from tfsgd.measures.curvature_spec import Batches, Curvature, CurvatureSpec, Matvec, Operator


class GradientNoise(CurvatureSpec):
    """tr S / |grad L|², in images: S the covariance of the images' gradients, L their mean loss.

    B_simple of McCandlish et al. 2018 (arXiv:1812.06162, section 2.2), by the estimators of their appendix A.1 with
    all `examples` for the large batch: then |grad L|² is exact, and only tr S is estimated. A batch of b out of N
    images, drawn without repetition, has E|g_b - grad L|² = tr S (N - b) / (b (N - 1)), S with the divisor N; so each
    batch gives an unbiased tr S, and the error is the standard error over batches. Converged where both are finite.

    Of so few images that the noise scale is near their number, grad L is itself for a good part noise: the value is
    then that of these images and not of the data. `examples: 55000` takes all of Fashion-MNIST. The network is in
    inference mode, without augmentation.

    Its values besides: `trace`, tr S, and `trace_error`; `squared_gradient`, |grad L|²; in squares of nats per unit
    of weight. Cost: a gradient of `examples` + `batches` x `batch_size` images, which count as `batches` + 1
    products; with all training images about an epoch of training.

    Attributes:
        batch_size: of the small batches; it changes the error alone, but with BatchNorm in training mode the loss as
            well, whose moments are those of a batch.
        batches: how many.
    """

    operator: ClassVar[Operator] = "batches"

    batch_size: Count = 10
    batches: Annotated[int, Field(strict=True, ge=2, le=100_000)] = 200

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`, with products that know their batches, see `Batches`.

        Raises:
            RequestError: there are no more images than a batch has.
        """
        source, size = cast(Batches, matvec), self.batch_size
        count = source.examples
        reason = self._too_large(count)
        if reason:
            raise RequestError(f"curvature.{self.measure or 'gradient_noise'}.{reason}")
        whole = source.gradient(np.arange(count))
        squared = float(np.sum(whole * whole))
        rng = np.random.default_rng(seed)
        scale = size * (count - 1) / (count - size)
        found = np.empty(self.batches)
        for i in range(self.batches):
            off = source.gradient(rng.choice(count, size, replace=False)) - whole
            found[i] = scale * np.sum(off * off)
        trace, error = float(found.mean()), float(found.std(ddof=1)) / self.batches**0.5
        known = bool(np.isfinite(error) and squared > 0)
        more = {"trace": trace, "trace_error": error, "squared_gradient": squared}
        value, off_by = (trace / squared, error / squared) if known else (np.nan, np.nan)
        return Curvature(value, off_by, self.batches + 1, known, more)

    def unfit(self, dimension: int, batch_size: int | None) -> str:
        """A batch is drawn from the examples, without repetition, and is not all of them."""
        return self._too_large(self.examples)

    def _too_large(self, count: int) -> str:
        if self.batch_size < count:
            return ""
        return f"batch_size: expected fewer than the {count} images of examples, received {self.batch_size}"
