"""The top eigenvalue of the Hessian: a Hessian-vector product, and power iteration over it.

The eigen-solver sees only a matvec; the product knows nothing of eigenvalues.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

Vector = NDArray[np.floating[Any]]  # (number of trainable parameters,)
Matvec = Callable[[Vector], Vector]

ROUNDING = 1e-12  # what is left of a vector, relatively, where there should be nothing
CHUNK_SIZE = 100  # images in one pass: memory (500 need 1 GB more for StdCNN), not mathematics


@dataclass(frozen=True)
class EigenResult:
    """An eigenvalue and the evidence for it."""

    eigenvalue: float
    residual: float  # |Hv - eigenvalue v| / |eigenvalue|, v of unit length
    iterations: int  # products taken
    converged: bool  # residual <= tolerance


def top_eigenvalue(
    matvec: Matvec, dimension: int, *, max_iterations: int, tolerance: float, seed: int = 0
) -> EigenResult:
    """The largest algebraic eigenvalue of a symmetric matrix, by power iteration with Rayleigh-Ritz.

    Each step multiplies the best vector found so far by H, as power iteration does. The best vector is the
    one with the largest Rayleigh quotient among all combinations of three: the new one, the best one, and
    the best one before (the locally optimal method of Knyazev, SIAM J. Sci. Comput. 23, 2001, for one vector
    and without preconditioner). It takes fewer products than power iteration alone, and finds the largest
    algebraic eigenvalue also where one of larger magnitude is negative: v and Hv span what v and
    (H + shift I)v span.

    Args:
        matvec: v -> Hv, vectors of shape `(dimension,)`.
        dimension: size of H.
        max_iterations: products at most.
        tolerance: converged when the residual |Hv - av| / |a| is no larger. For a symmetric H an
            eigenvalue lies within residual x |a| of a (Parlett, The Symmetric Eigenvalue Problem,
            theorem 4.5.1), and the Rayleigh quotient's own error is of second order in it.
        seed: of the random start vector.

    Returns:
        The eigenvalue with its residual and iterations. NaN, not converged, where H has
        non-finite entries.
    """
    start: Vector = np.random.default_rng(seed).standard_normal(dimension)
    direction = start / _norm(start)
    basis: list[Vector] = []  # orthonormal: the best vector, the one before, and the new direction
    products: list[Vector] = []  # H times each of them
    eigenvalue, residual, iteration = np.nan, np.nan, 0
    for iteration in range(1, max_iterations + 1):
        product: Vector = np.asarray(matvec(direction), np.float64)
        if not np.isfinite(product).all():
            return EigenResult(np.nan, np.nan, iteration, False)
        basis, products = [*basis, direction], [*products, product]
        eigenvalue, best = _top_ritz_pair(basis, products)
        vector, product = _combined(best, basis), _combined(best, products)
        distance = _norm(product - eigenvalue * vector)
        residual = distance / abs(eigenvalue) if eigenvalue else float(distance > 0)
        if residual <= tolerance:
            return EigenResult(eigenvalue, residual, iteration, True)
        kept = [best, *_made_orthogonal(np.eye(len(best))[0], [best])]
        basis, products = (
            [vector, *(_combined(weights, basis) for weights in kept[1:])],
            [product, *(_combined(weights, products) for weights in kept[1:])],
        )
        new = _made_orthogonal(product, basis)
        if not new:  # H leads nowhere else: what is left of the residual is rounding
            break
        direction = new[0]
    return EigenResult(eigenvalue, residual, iteration, False)


def _top_ritz_pair(basis: list[Vector], products: list[Vector]) -> tuple[float, Vector]:
    """The largest Rayleigh quotient in the span of an orthonormal basis, and its vector's coordinates."""
    projected = np.array([[_dot(vector, product) for product in products] for vector in basis])
    values, vectors = np.linalg.eigh((projected + projected.T) / 2)
    return float(values[-1]), vectors[:, -1]


def _combined(weights: Vector, vectors: list[Vector]) -> Vector:
    return np.asarray(sum(w * v for w, v in zip(weights, vectors, strict=True)))


def _made_orthogonal(vector: Vector, basis: list[Vector]) -> list[Vector]:
    """The part of a vector that is orthogonal to an orthonormal basis, of unit length; none if there is none."""
    length = _norm(vector)
    for _ in range(2):  # once leaves rounding errors, twice is enough (Parlett, section 6.9)
        for other in basis:
            vector = vector - _dot(other, vector) * other
    left = _norm(vector)
    return [vector / left] if left > ROUNDING * length else []


def _dot(a: Vector, b: Vector) -> float:
    """Not by BLAS, whose sum depends on how many cores it finds."""
    return float(np.sum(a * b))


def _norm(a: Vector) -> float:
    return _dot(a, a) ** 0.5


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example in nats, shape `(N,)`, from logits of shape `(N, classes)`."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


class HessianVectorProduct:
    """v -> Hv, H the Hessian of the mean loss over fixed images with respect to all trainable parameters.

    Nested gradient tapes (Pearlmutter 1994: Hv is the gradient of the gradient's product with v),
    summed over chunks of images and divided by their number once, so that a smaller last chunk
    weighs what it should. The network is in inference mode: dropout off, BatchNorm with its
    running statistics. (In training mode TensorFlow's `tf.nn.moments` stops a gradient that the
    second derivative needs, and H is wrong without a sign of it.)

    Args:
        model: a Keras model, images to logits.
        images: `(N, height, width, channels)` in [0, 1].
        labels: `(N,)` integers.
        loss: `(labels, outputs)` -> the loss of each example, `(N,)`.
        chunk_size: images in one pass; it changes no result beyond rounding.
    """

    def __init__(
        self,
        model: Any,
        images: NDArray[Any],
        labels: NDArray[Any],
        loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = cross_entropy,
        chunk_size: int = CHUNK_SIZE,
    ) -> None:
        self._model = model
        self._variables = model.trainable_variables
        self._loss = loss
        self._chunk_size = chunk_size
        self._dtype = tf.as_dtype(self._variables[0].dtype)
        self._images = tf.convert_to_tensor(images, self._dtype)
        self._labels = tf.convert_to_tensor(labels)
        self._product = tf.function(self._product_in_graph)
        self.dimension = sum(int(np.prod(v.shape)) for v in self._variables)

    def __call__(self, vector: Vector) -> Vector:
        """Hv for one vector, both of shape `(dimension,)`."""
        flat = tf.convert_to_tensor(vector, self._dtype)
        return np.asarray(self._product(flat, self._images, self._labels))

    def _product_in_graph(self, vector: tf.Tensor, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        sizes = [int(np.prod(v.shape)) for v in self._variables]
        directions = [
            tf.reshape(piece, v.shape)
            for piece, v in zip(tf.split(vector, sizes), self._variables, strict=True)
        ]
        count = tf.shape(images)[0]
        total = tf.zeros_like(vector)
        for start in tf.range(0, count, self._chunk_size):
            chunk = slice(start, start + self._chunk_size)
            total += self._chunk_product(directions, images[chunk], labels[chunk])
        return total / tf.cast(count, self._dtype)

    def _chunk_product(self, directions: list[tf.Tensor], images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = tf.reduce_sum(self._loss(labels, self._model(images, training=False)))
            gradients = inner.gradient(loss, self._variables, unconnected_gradients="zero")
            slope = tf.add_n([tf.reduce_sum(g * d) for g, d in zip(gradients, directions, strict=True)])
        products = outer.gradient(slope, self._variables, unconnected_gradients="zero")
        return tf.concat([tf.reshape(p, [-1]) for p in products], 0)
