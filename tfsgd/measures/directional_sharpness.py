"""Directional sharpness: the curvature along the step that the optimizer would take now."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec, Operator
from tfsgd.measures.spec import Request

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject

LARGEST_ERROR = 1e-2  # of the step, relatively
ROUNDING = 2.0**-25  # of a weight in single precision, relatively: half of the last digit


class DirectionalSharpness(CurvatureSpec):
    """uᵀHu / |u|², u the step that the optimizer would take now (Pan and Li 2023, arXiv:2306.00204, Section 3): in nats.

    H and the gradient are those of the mean loss over the same `examples`; u follows from that gradient with the optimizer's
    momenta, second moments and decay as they are, as in a full-batch training on these images (Cohen et al. 2022,
    arXiv:2207.14484, look at full batches). Of gradient descent it is gᵀHg / |g|², which the step's second order says: the
    loss falls where it is below 2/η. With momentum or another optimizer no such ceiling is known.

    u is the difference of the weights after the step and before, in single precision. NaN where rounding may be more than
    a hundredth of it, where u is 0, or where there is no optimizer: a stored network has none. Cost: a gradient and a product.
    """

    revision: ClassVar[int] = 1
    operator: ClassVar[Operator] = "batches"

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`, while it is trained."""
        product = subject.product(self, request.split, request.examples)
        step = subject.next_step(product.gradient(np.arange(request.examples)))
        length = np.sqrt(np.sum(step * step)) if step is not None else 0.0
        off = ROUNDING * np.sqrt(sum(np.sum(np.square(w, dtype=np.float64)) for w in subject.weights()))
        if step is None or not np.isfinite(length) or off >= LARGEST_ERROR * length:
            return Curvature(np.nan, np.nan, 1, False).values()
        u = step / length
        value = float(np.sum(u * np.asarray(product(u), np.float64)))
        return Curvature(value, float(off / length), 1, bool(np.isfinite(value)), product.evidence).values()
