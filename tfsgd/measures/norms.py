"""The balls that perturbations stay in: their lengths, their steepest directions, and how to get back into them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.victim import Images

Norm = Literal["Linf", "L2"]
NAMES: dict[str, str] = {"Linf": "L-infinity", "L2": "L2"}  # for readers
SQUARED = (1e-12, 1e12)  # entries whose squares float32 holds
LARGEST = {"Linf": 1.0, "L2": 1e4}  # epsilons that mean something for pixels in [0, 1]


@dataclass(frozen=True)
class Ball:
    """The ball around each image, within [0, 1].

    Attributes:
        norm: that measures it.
        radius: of all images, or one for each, `(N,)`.
    """

    norm: str
    radius: float | NDArray[np.floating[Any]]

    def into(self, images: Images, reached: Images) -> Images:
        """The points in the ball and in [0, 1] to which `reached` is brought back; of L-infinity the nearest ones.

        Of L2 the point is scaled into the ball and then clipped, which leads no image out of it again.
        """
        bound = np.float32(self.radius).reshape(-1, *[1] * (images.ndim - 1))
        moved = reached - images
        if self.norm == "Linf":
            return np.clip(images + np.clip(moved, -bound, bound), 0, 1)
        long = length(moved, "L2").astype(np.float32).reshape(-1, *[1] * (images.ndim - 1))
        share = np.divide(bound, long, out=np.ones_like(long), where=long > bound)
        return np.clip(images + moved * share, 0, 1)


def length(perturbation: NDArray[np.floating[Any]], norm: str) -> NDArray[np.float64]:
    """Of each image's perturbation, `(N,)`."""
    flat = perturbation.reshape(len(perturbation), -1)
    if norm == "Linf":
        return np.abs(flat).max(1, initial=0).astype(np.float64)
    return np.sqrt(np.square(flat, dtype=np.float64).sum(1))


def slope(gradient: Images, norm: str) -> NDArray[np.float64]:
    """What a perturbation of length 1 changes at most to first order: the gradient's length in the dual norm, `(N,)`."""
    if norm == "Linf":
        return np.asarray(np.abs(gradient).sum(tuple(range(1, gradient.ndim))), np.float64)
    return length(gradient, norm)


def steepest(gradient: Images, norm: str) -> Images:
    """The perturbation of length 1 that goes up most steeply: the sign, or the gradient over its L2 norm; 0 for 0."""
    if norm == "Linf":
        return np.sign(gradient)
    pixels = tuple(range(1, gradient.ndim))
    largest = np.abs(gradient).max(pixels, keepdims=True, initial=0)
    odd = (largest > 0) & ((largest < SQUARED[0]) | (largest > SQUARED[1]))
    gradient = np.divide(gradient, largest, out=gradient.copy(), where=odd)
    long = np.sqrt(np.square(gradient).sum(pixels, keepdims=True))
    return np.divide(gradient, long, out=np.zeros_like(gradient), where=long > 0)


def random_perturbation(
    shape: tuple[int, ...], epsilon: float, key: tuple[int, int], norm: str = "Linf"
) -> Images:
    """Uniform in the ball of radius epsilon. That of the first images does not depend on how many follow.

    Args:
        shape: of the images, `(N, ...)`.
        epsilon: radius.
        key: of the generator.
        norm: of the ball.
    """
    rng = np.random.default_rng(key)
    if norm == "Linf":  # in place: memory is what an attack on all images is short of
        start = rng.random(shape, np.float32)
        start *= 2
        start -= 1
        start *= np.float32(epsilon)
        return start
    start = steepest(rng.standard_normal(shape, np.float32), "L2")
    share = np.random.default_rng((*key, 2)).random(shape[0]) ** (1 / np.prod(shape[1:]))
    start *= (epsilon * share).astype(np.float32).reshape(-1, *[1] * (len(shape) - 1))
    return start
