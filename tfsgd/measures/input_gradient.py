"""How steep loss and margin are at unperturbed images: what attacks meet at their first step."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.attack import blocks
from tfsgd.measures.spec import Kind, Request, Spec
from tfsgd.measures.victim import Images, Labels, Victim

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject


class InputGradient(Spec):
    """How steep the network is at unperturbed images, to first order.

    Its values are `value`, the mean over the images of |grad_x loss|_1 (cross-entropy, nats per pixel unit): times
    epsilon what FGSM adds to the loss; and `radius`, the median over the images of max(margin, 0) / |grad_x margin|_1
    (pixel units), margin the true logit minus the largest other one: the epsilon at which a linear network would
    break (Hein and Andriushchenko 2017, theorem 2.1, with the slope at the image alone). An image that is
    misclassified has 0; `None` where the median image has a margin without a slope. `radius_quartiles` are the lower and
    the upper quartile, likewise.

    Cost: two gradients, two steps of PGD on all images.
    """

    kind: ClassVar[Kind] = "gradient"
    revision: ClassVar[int] = 2  # the first lost images of which the network is sure

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        return asdict(steepness(subject.victim, *subject.images(request.split, request.examples)))


@dataclass(frozen=True)
class Steepness:
    """See `InputGradient`."""

    value: float  # nats per pixel unit
    radius: float | None  # pixel units
    radius_quartiles: tuple[float | None, float | None] = (None, None)  # lower and upper


def steepness(victim: Victim, images: Images, labels: Labels) -> Steepness:
    """Mean |grad loss|_1 and median first-order radius over images `(N, height, width, channels)`."""
    slopes, radii = [], []
    for block in blocks(np.arange(len(labels))):
        _, losses, uphill = victim.value_and_gradient(images[block], labels[block])
        slopes.append(-np.expm1(-losses.astype(np.float64)) * _length(uphill))
        _, lead, gradient = victim.value_and_gradient(images[block], labels[block], "margin")
        with np.errstate(divide="ignore", invalid="ignore"):
            radii.append(np.where(lead < 0, -lead / _length(gradient), 0.0))
    found = np.quantile(np.concatenate(radii), [0.25, 0.5, 0.75], method="inverted_cdf")
    lower, radius, upper = (float(r) if np.isfinite(r) else None for r in found)
    return Steepness(float(np.concatenate(slopes).mean()), radius, (lower, upper))


def _length(gradient: Images) -> NDArray[np.float64]:
    """L1 norm of each image's gradient, `(N,)`."""
    return np.abs(gradient, dtype=np.float64).sum(axis=tuple(range(1, gradient.ndim)))
