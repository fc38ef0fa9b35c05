"""Products of the loss's second derivatives with vectors: the Hessian's, and what the Gauss-Newton part shares.

The eigen-solvers see only a matvec; the products know nothing of eigenvalues.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from itertools import groupby
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.errors import RequestError
from tfsgd.measures.loss import cross_entropy
from tfsgd.measures.operator import Vector

CHUNK_SIZE = 100  # images in one pass: memory (500 need 1 GB more for StdCNN), not mathematics
MOST_ROWS = 3  # as many vectors as the solver of λ1 holds


class Product(ABC):
    """v -> Av, A symmetric, a mean over fixed images, with respect to all trainable parameters.

    Summed over chunks of images and divided by their number once, so that a smaller last chunk
    weighs what it should. The network is called in inference mode: dropout off, BatchNorm with its
    running statistics. For those of each batch it is given as a `TrainingMode`, and a chunk is a batch.

    Args:
        model: a Keras model, images to logits.
        images: `(N, height, width, channels)` in [0, 1].
        labels: `(N,)` integers.
        loss: `(labels, outputs)` -> the loss of each example, `(N,)`.
        chunk_size: images in one pass; it changes no result beyond rounding.

    Attributes:
        dimension: number of trainable parameters.
        counts: images of each chunk, `(chunks,)`.
        layers: the name of each layer that has some, and where they are in the flat vector.

    Raises:
        RequestError: inside `strategy.scope()`, where TensorFlow gives no gradient of mirrored variables.
    """

    def __init__(
        self,
        model: Any,
        images: NDArray[Any],
        labels: NDArray[Any],
        loss: Callable[[tf.Tensor, tf.Tensor], tf.Tensor] = cross_entropy,
        chunk_size: int = CHUNK_SIZE,
    ) -> None:
        if tf.distribute.has_strategy():
            raise RequestError(
                "a Hessian is taken outside of strategy.scope(); call it after the `with` block"
            )
        self._model = model
        self._variables = model.trainable_variables
        self._loss = loss
        self._chunk_size = chunk_size
        self._dtype = tf.as_dtype(self._variables[0].dtype)
        self._images = tf.convert_to_tensor(images, self._dtype)
        self._labels = tf.convert_to_tensor(labels)
        self.dimension = sum(int(np.prod(v.shape)) for v in self._variables)
        self.counts = np.diff([*range(0, len(labels), chunk_size), len(labels)])
        self._no_rows = tf.zeros([MOST_ROWS, self.dimension], self._dtype)
        self._product = tf.function(self._product_in_graph)
        self.layers = list(_layers(self._variables))

    def __call__(self, vector: Vector) -> Vector:
        """Av for one vector, both of shape `(dimension,)`."""
        return self._of(vector, self._no_rows)[0]

    def by_chunk(self, vector: Vector, rows: Sequence[Vector]) -> tuple[Vector, NDArray[np.float64]]:
        """Av, and uᵀA_c v of each row u, `(chunks, rows)`, A_c the mean over chunk c; it costs no further product.

        Three rows at most: always as many are traced, so that the graph is made once.
        """
        padded = np.zeros((MOST_ROWS, self.dimension))
        padded[: len(rows)] = rows
        product, forms = self._of(vector, tf.convert_to_tensor(padded, self._dtype))
        return product, np.asarray(forms, np.float64)[:, : len(rows)] / self.counts[:, None]

    def _of(self, vector: Vector, rows: tf.Tensor) -> tuple[Vector, tf.Tensor]:
        if np.shape(vector) != (self.dimension,):
            raise ValueError(f"a vector of shape ({self.dimension},) is needed, received {np.shape(vector)}")
        flat = tf.convert_to_tensor(vector, self._dtype)
        product, forms = self._product(flat, rows, self._images, self._labels)
        return np.asarray(product), forms

    def _product_in_graph(
        self, vector: tf.Tensor, rows: tf.Tensor, images: tf.Tensor, labels: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        sizes = [int(np.prod(v.shape)) for v in self._variables]
        directions = [
            tf.reshape(piece, v.shape)
            for piece, v in zip(tf.split(vector, sizes), self._variables, strict=True)
        ]
        return self._mean(lambda *chunk: self._chunk_product(directions, *chunk), rows, images, labels)

    def _mean(
        self,
        of_chunk: Callable[[tf.Tensor, tf.Tensor], tf.Tensor],
        rows: tf.Tensor,
        images: tf.Tensor,
        labels: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The mean over images of a flat vector that is known for the sum over a chunk of them.

        Returns:
            It, and the products of the rows with the sum over each chunk, `(chunks, rows)`.
        """
        count = tf.shape(images)[0]
        total = tf.zeros([self.dimension], self._dtype)
        along = tf.TensorArray(self._dtype, -(-count // self._chunk_size))
        for start in tf.range(0, count, self._chunk_size):
            chunk = slice(start, start + self._chunk_size)
            found = of_chunk(images[chunk], labels[chunk])
            total += found
            along = along.write(start // self._chunk_size, tf.linalg.matvec(rows, found))
        return total / tf.cast(count, self._dtype), along.stack()

    @abstractmethod
    def _chunk_product(self, directions: list[tf.Tensor], images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """Av of the sum over a chunk of images, flat; v in the variables' shapes."""


class HessianVectorProduct(Product):
    """v -> Hv, H the Hessian of the mean loss.

    Nested gradient tapes (Pearlmutter 1994: Hv is the gradient of the gradient's product with v).
    Arguments and attributes are those of `Product`.
    """

    def _chunk_product(self, directions: list[tf.Tensor], images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                loss = tf.reduce_sum(self._loss(labels, self._model(images, training=False)))
            gradients = inner.gradient(loss, self._variables, unconnected_gradients="zero")
            slope = tf.add_n([tf.reduce_sum(g * d) for g, d in zip(gradients, directions, strict=True)])
        products = outer.gradient(slope, self._variables, unconnected_gradients="zero")
        return tf.concat([tf.reshape(p, [-1]) for p in products], 0)


def _layers(variables: list[Any]) -> Iterator[tuple[str, slice]]:
    """Neighbours of one layer have a path in common: `conv2d/kernel`, `conv2d/bias`."""
    begin = 0
    paths = [str(getattr(v, "path", v.name)) for v in variables]
    sizes = [int(np.prod(v.shape)) for v in variables]
    pairs = zip(paths, sizes, strict=True)
    for layer, of_layer in groupby(pairs, key=lambda pair: pair[0].rpartition("/")[0] or pair[0]):
        end = begin + sum(size for _, size in of_layer)
        yield layer, slice(begin, end)
        begin = end
