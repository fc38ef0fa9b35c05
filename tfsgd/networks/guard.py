"""Whether a product of second derivatives is what it should be: held to first derivatives before a number is made of it."""

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.errors import RequestError
from tfsgd.networks.float64 import graph_of, has_half, in_double
from tfsgd.networks.stops import stops

Arrays = list[NDArray[np.float64]]
Tensors = Sequence[Any]

IMAGES = 2
# How far from the point, and over which step, each relative to its size, until one agrees: float64 rounds at 1e-16, ReLUs
# have kinks, and many of these lie at the point itself where biases are 0 under black pixels.
TRIES = ((0, 1e-7), (1e-2, 1e-7), (1e-2, 1e-6), (1e-2, 1e-8))
IMPLIED = 1e-6  # with a difference below it a product is that of a gradient's derivative, which is symmetric
SINGLE = 1e-11  # an asymmetry above it is not float64's
LIMITS = {"difference": 1e-3, "asymmetry": 1e-6, "rounding": 5e-2}
ROUNDED = {
    "difference": IMPLIED,
    "asymmetry": SINGLE,
    "rounding": 1e-3,
}  # what is below differs from run to run


class Guarded(Protocol):
    """A product in its parts, see `tfsgd.networks.hessian.Product`, which says what they are."""

    network: Any
    title: str

    def some(self, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        """Images and labels."""

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Of the network, as the product takes them."""

    def point(self, images: tf.Tensor) -> Tensors:
        """With respect to what it is the second derivative."""

    def bound(self, at: Tensors) -> AbstractContextManager[None]:
        """The network in float64, with these values."""

    def chunk_product(
        self, at: Tensors, directions: Tensors, images: tf.Tensor, labels: tf.Tensor
    ) -> Tensors:
        """Of the sum over the images."""

    def chunk_slope(self, at: Tensors, images: tf.Tensor, labels: tf.Tensor) -> Tensors:
        """What the product tells the change of."""

    def chunk_pulled(self, at: Tensors, change: Tensors, images: tf.Tensor, labels: tf.Tensor) -> Tensors:
        """The product that follows from a change of the slope."""


def guarded(product: Guarded) -> dict[str, float]:
    """What is off in a product, on a few images.

    The network is taken in float64, near its weights: there a difference is over a step so short that hardly a ReLU has
    its kink within it. In float32 no step is right for a network of ReLUs.

    Returns:
        Each relative to the product's size. `difference`, at least 1e-6: of Hv from the central difference of the gradient along a
        random v. `asymmetry`, where the difference does not exclude one: of uᵀHv from vᵀHu. `rounding`, where layers
        compute with 16 bits: of Hv as they have it from the one in float64. Empty where the network has no float64,
        or is so sure of the images that all is 0: then it was searched for operations that stop a derivative.

    Raises:
        RequestError: one is beyond its limit, or a derivative is missing.
    """
    try:
        found = _figures(product)
    except LookupError as error:
        raise RequestError(
            f"{product.network.name}: {product.title}: TensorFlow has no second derivative of one of its operations: "
            f"{str(error).strip(chr(39)).splitlines()[0]:.150}; leave this measure out"
        ) from None
    wrong = beyond_limit(found)
    if wrong == "rounding":
        raise RequestError(
            f"{product.network.name}: {product.title}: in the network's own precision a product with a vector is off by "
            f"{found[wrong]:.2g} of its length, at most {LIMITS[wrong]:g} is expected; load the network in float32"
        )
    if found and not wrong:
        return found | {
            "difference": max(found["difference"], IMPLIED)
        }  # what is below differs from run to run
    culprits = stops(product.logits, product.some(1)[0])
    if not wrong and not culprits:
        return {}
    measured = said(found, wrong) if wrong else "the network stops a derivative"
    raise RequestError(
        f"{product.network.name}: {product.title} would be wrong: {measured}"
        f"{', at the operation ' + culprits[0] if culprits else ''}; leave this measure out, or the operation"
    )


def _figures(product: Guarded) -> dict[str, float]:
    images, labels = product.some(IMAGES)
    own = product.point(images)
    point = [np.asarray(tf.convert_to_tensor(one), np.float64) for one in own]
    graph = graph_of(product.network)
    if graph is None:
        return {}
    try:
        with in_double(graph):
            found, v, expected = held(_InTensorFlow(product, images, labels), point)
    except (TypeError, ValueError, tf.errors.OpError):  # a layer that knows float32 alone
        return {}
    if found and has_half(graph):
        native = [tf.cast(one, at.dtype) for one, at in zip(v, own, strict=True)]
        narrow = product.chunk_product(own, native, images, labels)
        found["rounding"] = _relative([np.asarray(one, np.float64) for one in narrow], expected)
    return found


class InDouble(Protocol):
    """A product in float64, arrays in and arrays out."""

    def product(self, at: Arrays, direction: Arrays) -> Arrays:
        """With a direction, at a point."""

    def difference(self, at: Arrays, direction: Arrays, step: float) -> Arrays:
        """The product, from the change of the slope along the direction."""


class _InTensorFlow:
    """The parts of a product in float64, see `InDouble`."""

    def __init__(self, product: Guarded, images: tf.Tensor, labels: tf.Tensor) -> None:
        self._product, self._images, self._labels = product, tf.cast(images, tf.float64), labels

    def product(self, at: Arrays, direction: Arrays) -> Arrays:
        return self._of(self._product.chunk_product, at, direction)

    def difference(self, at: Arrays, direction: Arrays, step: float) -> Arrays:
        """The product, from the change of the slope along the direction."""
        more, less = (self._of(self._product.chunk_slope, _moved(at, direction, h)) for h in (step, -step))
        change = [(a - b) / (2 * step) for a, b in zip(more, less, strict=True)]
        return self._of(self._product.chunk_pulled, at, change)

    def _of(self, part: Callable[..., Tensors], at: Arrays, *more: Arrays) -> Arrays:
        tensors = [tf.constant(one) for one in at]
        with self._product.bound(tensors):
            found = part(
                tensors, *([tf.constant(one) for one in each] for each in more), self._images, self._labels
            )
        return [np.asarray(one) for one in found]


def held(double: InDouble, point: Arrays) -> tuple[dict[str, float], Arrays, Arrays]:
    """A product held to first derivatives.

    Returns:
        What is off, see `guarded`, empty where that proves nothing; a random v, and the product with it.
    """
    rng = np.random.default_rng(0)
    u, v, off = ([rng.standard_normal(one.shape) * _size(one) for one in point] for _ in range(3))
    hv = double.product(point, v)
    difference, near, expected = math.inf, point, hv
    for away, step in TRIES:
        if away and near is point:
            near = _moved(point, off, away)
            expected = double.product(near, v)
        difference = min(difference, _relative(double.difference(near, v, step), expected))
        if difference <= LIMITS["difference"]:
            break
    found = {"difference": difference}
    if not difference <= IMPLIED:
        found["asymmetry"] = _asymmetry(u, hv, v, double.product(point, u))
    proves_nothing = (
        not np.isfinite(_flat(hv)).all()  # the measure says so itself
        or not (difference or _flat(hv).any())  # so sure of these images that all is 0
        or SINGLE
        < found.get("asymmetry", 0)
        <= LIMITS["asymmetry"]  # a layer casts to float32: no step is short enough
    )
    return {} if proves_nothing else found, v, hv


def beyond_limit(found: Mapping[str, float]) -> str:
    """The first figure that is beyond its limit; empty: none."""
    return next((key for key, limit in LIMITS.items() if not found.get(key, 0) <= limit), "")


def said(found: Mapping[str, float], wrong: str) -> str:
    """A figure that is beyond its limit, in words."""
    return (
        f"a product with a vector has a {wrong} of {found[wrong]:.2g} of its length from what the gradient's difference "
        f"tells, at most {LIMITS[wrong]:g} is expected"
    )


def _asymmetry(u: Arrays, hv: Arrays, v: Arrays, hu: Arrays) -> float:
    uhv, vhu = (_flat([a * b for a, b in zip(*pair, strict=True)]) for pair in ((u, hv), (v, hu)))
    scale = max(np.abs(uhv).sum(), np.abs(vhu).sum())
    return float(abs(uhv.sum() - vhu.sum()) / scale) if scale else 0.0


def _flat(arrays: Arrays) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(one) for one in arrays])


def _length(array: NDArray[np.float64]) -> float:
    """Not by BLAS, whose threads cost more than they save."""
    return float(np.sqrt(np.sum(array * array)))


def _size(array: NDArray[np.float64]) -> float:
    """Root mean square, or that of small weights where all are 0."""
    return max(float(np.sqrt(np.mean(array * array))), 1e-2) if array.size else 1.0


def _moved(at: Arrays, direction: Arrays, step: float) -> Arrays:
    return [a + step * d for a, d in zip(at, direction, strict=True)]


def _relative(found: Arrays, expected: Arrays) -> float:
    """|found - expected| over the larger length; 0 where both are 0."""
    a, b = _flat(found), _flat(expected)
    scale = max(_length(a), _length(b))
    return _length(a - b) / scale if scale else 0.0
