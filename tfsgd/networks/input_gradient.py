"""How steep loss and margin are at unperturbed images: what attacks meet at their first step."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.attack import blocks
from tfsgd.measures.victim import Images, Labels, Victim


@dataclass(frozen=True)
class Steepness:
    """See `tfsgd.measures.always.InputGradient`."""

    value: float  # nats per pixel unit
    radius: float | None  # pixel units


def steepness(victim: Victim, images: Images, labels: Labels) -> Steepness:
    """Mean |grad loss|_1 and median first-order radius over images `(N, height, width, channels)`."""
    slopes, radii = [], []
    for block in blocks(np.arange(len(labels))):
        _, losses, uphill = victim.value_and_gradient(images[block], labels[block])
        slopes.append(-np.expm1(-losses.astype(np.float64)) * _length(uphill))
        _, lead, gradient = victim.value_and_gradient(images[block], labels[block], "margin")
        with np.errstate(divide="ignore", invalid="ignore"):
            radii.append(np.where(lead < 0, -lead / _length(gradient), 0.0))
    radius = np.quantile(np.concatenate(radii), 0.5, method="inverted_cdf")
    return Steepness(float(np.concatenate(slopes).mean()), float(radius) if np.isfinite(radius) else None)


def _length(gradient: Images) -> NDArray[np.float64]:
    """L1 norm of each image's gradient, `(N,)`."""
    return np.abs(gradient, dtype=np.float64).sum(axis=tuple(range(1, gradient.ndim)))
