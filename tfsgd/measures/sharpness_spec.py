"""What measures of sharpness in weights have in common: the loss as a function of the weights, and what moves them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from tfsgd.fields import Flag
from tfsgd.measures.curvature_spec import CurvatureSpec, Operator, Vector
from tfsgd.measures.victim import Labels

Array = NDArray[np.float64]
Indices = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Head:
    """The last dense layer of a network, z = W'f + b, and the one before it.

    Attributes:
        features: f of each image, `(N, d)`.
        kernel: W, `(d, classes)`.
        before: the features that the dense layer before it sees, `(N, c)`, and its kernel, `(c, d)`, where f is
            `relu(its output)`, or its output, but for dropout; `None`: there is none.
    """

    features: Array
    kernel: Array
    before: tuple[Array, Array] | None = None


class LossInWeights(Protocol):
    """The loss as a function of the weights, on fixed images in inference mode: what `run` sees of the operator `landscape`.

    Attributes:
        examples: N.
        labels: of the images, `(N,)`.
        weights: all trained variables as one vector, `(dimension,)`, in float64.
    """

    examples: int
    labels: Labels
    weights: Vector

    def losses(self, shift: Vector | None = None, indices: Indices | None = None) -> Array:
        """Each image's loss with the weights moved by a vector, `(N,)`; of the images of these indices, or of all."""

    def slope(self, shift: Vector | None = None, indices: Indices | None = None) -> tuple[float, Vector]:
        """The mean loss there, and its gradient with respect to the weights, `(dimension,)`."""

    def pixel_slopes(self) -> Array:
        """The L1 norm of each image's gradient of its loss with respect to its pixels, `(N,)`."""

    def logits(self, along: Vector) -> tuple[Array, Array]:
        """Each image's logits, and their derivative along a direction of the weights, both `(N, classes)`."""

    def head(self) -> Head:
        """The last dense layer.

        Raises:
            RequestError: the network does not end with one.
        """


class SharpnessSpec(CurvatureSpec):
    """A number of the loss as a function of the weights, in inference mode.

    Attributes:
        normalized: of each image the loss is that of its logits less their mean, divided by their length: a scaling of the
            logits, which changes no prediction, does not change it (as the code of Andriushchenko et al. 2023,
            arXiv:2302.07011, has it).
    """

    revision: ClassVar[int] = 1
    operator: ClassVar[Operator] = "landscape"
    needs_head: ClassVar[bool] = False  # whether the network must end with a dense layer

    mode: Literal["inference"] = "inference"
    normalized: Flag = False

    def vectors(self, dimension: int) -> int:
        """The weights, a direction, a gradient, and what becomes of them."""
        return 8


@dataclass(frozen=True)
class WeightNoise:
    """Gaussian perturbations of the weights, the same directions whatever their length.

    Attributes:
        source: the loss.
        draws: how many directions.
        adaptive: each weight moves in proportion to its own size.
        seed: of the directions.
    """

    source: LossInWeights
    draws: int
    adaptive: bool
    seed: int

    def rises(self, sigma: float, before: Array) -> Array:
        """How much each perturbation of standard deviation sigma raises each image's loss, `(draws, N)`.

        Args:
            sigma: in the weights' own unit, or as a share of each weight.
            before: the losses of the network as it is, `(N,)`.
        """
        sizes = scale_of(self.source.weights, self.adaptive)
        found = np.empty((self.draws, len(before)))
        for draw in range(self.draws):
            rng = np.random.default_rng((self.seed, draw))
            found[draw] = self.source.losses(sigma * sizes * rng.standard_normal(len(sizes))) - before
        return found


def scale_of(weights: Vector, adaptive: bool) -> Vector:
    """What a step of length 1 is for each weight: 1, or the weight's own size."""
    return np.abs(weights) if adaptive else np.ones_like(weights)


def mean_and_error(values: Array) -> tuple[float, float]:
    """The mean over independent values, and its standard error; NaN of a single one."""
    error = float(values.std(ddof=1)) / len(values) ** 0.5 if len(values) > 1 else np.nan
    return float(values.mean()), error


def climbed(
    value_and_slope: Callable[[Vector], tuple[float, Vector]],
    dimension: int,
    rho: float,
    norm: str,
    steps: int,
    seed: int = 0,
) -> float:
    """How far a function can rise in a ball around 0, as far as steps uphill find it; NaN where it is not finite.

    Projected steepest ascent from 0; the step goes down in a straight line from the ball's diameter, so that the first
    reaches the boundary and the last ones settle. Every point on the way counts.

    Args:
        value_and_slope: the function and its gradient at a point, `(dimension,)`.
        dimension: of the space.
        rho: radius of the ball.
        norm: of the ball: `L2` or `Linf`.
        steps: how many, a gradient each; the last point costs one more.
        seed: of the way up where there is no slope.
    """
    at, values = np.zeros(dimension), list[float]()
    for step in range(steps + 1):
        value, uphill = value_and_slope(at)
        if not (np.isfinite(value) and np.isfinite(uphill).all()):
            return np.nan
        values.append(value)
        if not uphill.any():
            uphill = np.random.default_rng((seed, step)).standard_normal(dimension)
        length = 2 * rho * (1 - step / (steps + 1))
        if norm == "Linf":
            at = np.clip(at + length * np.sign(uphill), -rho, rho)
        else:
            at = at + length * uphill / _length(uphill)
            at = at * min(1.0, rho / _length(at))
    return max(values) - values[0]


def _length(vector: Vector) -> float:
    return max(float(np.sqrt(np.sum(vector * vector))), float(np.finfo(float).tiny))
