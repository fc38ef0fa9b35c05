"""Products of the loss's second derivatives with vectors: the Hessian's, and what the Gauss-Newton part shares.

The eigen-solvers see only a matvec; the products know nothing of eigenvalues.
"""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from functools import cached_property
from itertools import groupby
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.errors import RequestError
from tfsgd.measures.curvature_spec import Vector
from tfsgd.networks.derivatives import exact_derivatives
from tfsgd.networks.float64 import graph_of, with_values
from tfsgd.networks.frozen import left_out
from tfsgd.networks.guard import guarded
from tfsgd.networks.losses import Loss, cross_entropy

CHUNK_SIZE = 100  # images in one pass: memory (500 need 1 GB more for StdCNN), not mathematics
Tensors = Sequence[Any]  # one for each variable, of its shape
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
        network: the model.
        title: what it is the product of, for messages.
        dimension: number of trainable parameters.
        variables: them, in the order of the flat vector; `weights` has their values.
        layers: the name of each layer that has some, and where they are in the flat vector.
        kept: the eigenvector with which the solver of λ1 ended, and begins the next time; `None`: it always begins by its seed.

    Raises:
        RequestError: inside `strategy.scope()`, where TensorFlow gives no gradient of mirrored variables.
    """

    title = "the Hessian"
    kept: list[Vector] | None = None

    def __init__(
        self,
        model: Any,
        images: NDArray[Any],
        labels: NDArray[Any],
        loss: Loss = cross_entropy,
        chunk_size: int = CHUNK_SIZE,
    ) -> None:
        if tf.distribute.has_strategy():
            raise RequestError(
                "a Hessian is taken outside of strategy.scope(); call it after the `with` block"
            )
        self.network = model
        self.variables = tuple(model.trainable_variables)
        self._loss = loss
        self._chunk_size = chunk_size
        self._dtype = widest(self.variables)
        self._images = tf.convert_to_tensor(images, self._dtype)
        self._labels = tf.convert_to_tensor(labels)
        self.dimension = sum(int(np.prod(v.shape)) for v in self.variables)
        self._no_rows = tf.zeros([MOST_ROWS, self.dimension], self._dtype)
        self._product = tf.function(self._product_in_graph)
        self.layers = tuple(_layers(self.variables))  # measures of one's own share a product with others

    @property
    def weights(self) -> Vector:
        """The values of the trainable parameters, `(dimension,)`; a copy."""
        return np.array(self._flat(self.variables))

    @property
    def loss(self) -> float:
        """The mean loss over the images, whose second derivatives the product is of (nats)."""
        count, size = len(self._labels), self._chunk_size
        chunks = [slice(i, i + size) for i in range(0, count, size)]
        sums = [tf.reduce_sum(self._loss(self._labels[c], self.logits(self._images[c]))) for c in chunks]
        return sum(map(float, sums)) / count

    @property
    def counts(self) -> NDArray[np.int64]:
        """Images of each chunk, `(chunks,)`."""
        images = len(self._labels)
        return np.diff([*range(0, images, self._chunk_size), images])

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
        sizes = [int(np.prod(v.shape)) for v in self.variables]
        directions = [
            tf.cast(tf.reshape(piece, v.shape), v.dtype)
            for piece, v in zip(tf.split(vector, sizes), self.variables, strict=True)
        ]
        return self._mean(
            lambda *chunk: self._flat(self.chunk_product(self.variables, directions, *chunk)),
            rows,
            images,
            labels,
        )

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

    def _flat(self, tensors: Tensors) -> tf.Tensor:
        return tf.concat([tf.cast(tf.reshape(one, [-1]), self._dtype) for one in tensors], 0)

    @cached_property
    def evidence(self) -> Mapping[str, float]:
        """What is off in the product, see `tfsgd.networks.guard.guarded`; of frozen or quantized weights how many it leaves out.

        Raises:
            RequestError: as there.
        """
        fixed = left_out(self.network)
        left = {"parameters": self.dimension, "of": self.dimension + fixed} if fixed else {}
        return MappingProxyType(guarded(self) | left)

    def some(self, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        """So many of its images, or a chunk where that has fewer, and their labels."""
        count = min(count, self._chunk_size)
        return self._images[:count], self._labels[:count]

    def point(self, images: tf.Tensor) -> Tensors:
        """The variables."""
        return self.variables

    def bound(self, at: Tensors) -> AbstractContextManager[None]:
        """The network in float64 with these values for its variables, see `tfsgd.networks.float64`."""
        return with_values(graph_of(self.network), self.variables, at)

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Of the network in inference mode, with derivatives of every order."""
        with exact_derivatives():
            return self.network(images, training=False)

    @abstractmethod
    def chunk_product(
        self, at: Tensors, directions: Tensors, images: tf.Tensor, labels: tf.Tensor
    ) -> Tensors:
        """Av of the sum over a chunk of images.

        Args:
            at: the network's variables, or tensors that stand for them; Av has their shapes.
            directions: v, likewise.
            images: of the chunk.
            labels: of the chunk.
        """

    @abstractmethod
    def chunk_slope(self, at: Tensors, images: tf.Tensor, labels: tf.Tensor) -> Tensors:
        """What the product tells the change of, in first derivatives alone; arguments as of `chunk_product`."""

    def chunk_pulled(self, at: Tensors, change: Tensors, images: tf.Tensor, labels: tf.Tensor) -> Tensors:
        """The product that follows from the change of `chunk_slope` along a direction."""
        return change


class HessianVectorProduct(Product):
    """v -> Hv, H the Hessian of the mean loss.

    Nested gradient tapes (Pearlmutter 1994: Hv is the gradient of the gradient's product with v).
    Arguments and attributes are those of `Product`.
    """

    def chunk_product(
        self, at: Tensors, directions: Tensors, images: tf.Tensor, labels: tf.Tensor
    ) -> Tensors:
        """As `Product.chunk_product`."""
        with tf.GradientTape() as outer:
            watch(outer, at)
            slope = dot(self.chunk_slope(at, images, labels), directions)
        return outer.gradient(slope, at, unconnected_gradients="zero")

    def chunk_slope(self, at: Tensors, images: tf.Tensor, labels: tf.Tensor) -> Tensors:
        """The gradient of the loss."""
        with tf.GradientTape() as tape:
            watch(tape, at)
            loss = tf.reduce_sum(self._loss(labels, self.logits(images)))
        return tape.gradient(loss, at, unconnected_gradients="zero")


def watch(tape: tf.GradientTape, at: Tensors) -> None:
    """Tensors have to be watched; a tape sees variables by itself."""
    tape.watch([one for one in at if isinstance(one, tf.Tensor)])


def dot(a: Tensors, b: Tensors) -> tf.Tensor:
    """The sum of all products of their entries."""
    dtype = widest(a)
    return tf.add_n([tf.cast(tf.reduce_sum(x * y), dtype) for x, y in zip(a, b, strict=True)])


def widest(tensors: Tensors) -> tf.DType:
    """The precision that holds them all, and at least single."""
    return tf.as_dtype(
        np.result_type(np.float32, *(tf.as_dtype(one.dtype).as_numpy_dtype for one in tensors))
    )


def _layers(variables: Sequence[Any]) -> Iterator[tuple[str, slice]]:
    """Neighbours of one layer have a path in common: `conv2d/kernel`, `conv2d/bias`.

    A path that comes again is another layer's, of the same name in another nested model: `conv2d (2)`.
    """
    begin, seen = 0, Counter[str]()
    paths = [str(getattr(v, "path", v.name)) for v in variables]
    sizes = [int(np.prod(v.shape)) for v in variables]
    times = []
    for path in paths:
        seen[path] += 1
        times.append(seen[path])
    parts = zip(paths, times, sizes, strict=True)
    for (layer, time), of_layer in groupby(
        parts, key=lambda part: (part[0].rpartition("/")[0] or part[0], part[1])
    ):
        end = begin + sum(size for *_, size in of_layer)
        yield layer if time == 1 else f"{layer} ({time})", slice(begin, end)
        begin = end
