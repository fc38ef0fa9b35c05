"""The loss as a function of the weights: its values and gradients where the weights are moved."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.measures.curvature_spec import Vector
from tfsgd.measures.sharpness_spec import Array, Head, Indices
from tfsgd.networks.derivatives import exact_derivatives
from tfsgd.networks.frozen import left_out
from tfsgd.networks.head import dense_end, features_of
from tfsgd.networks.hessian import CHUNK_SIZE, Tensors, dot, widest
from tfsgd.networks.losses import cross_entropy, normalized_logits


class Landscape:
    """See `tfsgd.measures.sharpness_spec.LossInWeights`. While a loss is taken the network's variables hold the moved weights.

    Args:
        model: a Keras model, images to logits; in inference mode.
        images: `(N, height, width, channels)` in [0, 1].
        labels: `(N,)` integers.
        normalized: of each image the loss is that of its logits less their mean, over their length.
        chunk_size: images in one pass; it changes no result beyond rounding.

    Attributes:
        dimension: number of trainable parameters.
    """

    def __init__(
        self,
        model: Any,
        images: NDArray[Any],
        labels: NDArray[Any],
        normalized: bool = False,
        chunk_size: int = CHUNK_SIZE,
    ) -> None:
        self.network, self.labels, self.examples = model, labels, len(labels)
        self._variables = model.trainable_variables
        self._dtype = widest(self._variables)
        self._normalized, self._chunk_size = normalized, chunk_size
        self._images = images.astype(self._dtype.as_numpy_dtype)
        self.dimension = sum(int(np.prod(v.shape)) for v in self._variables)
        pair = [tf.TensorSpec((None, *images.shape[1:]), self._dtype), tf.TensorSpec((None,), tf.int64)]
        self._losses = tf.function(self._loss, pair)
        self._answers = tf.function(self._logits, pair[:1])
        self._slope = tf.function(self._slope_in_graph, pair)
        self._pixels = tf.function(self._pixels_in_graph, pair)
        self._along = tf.function(
            self._along_in_graph, [pair[0], tf.TensorSpec((self.dimension,), self._dtype)]
        )

    @property
    def weights(self) -> Vector:
        """All trained variables as one vector, `(dimension,)`, in float64."""
        return np.concatenate([np.ravel(np.asarray(v)).astype(np.float64) for v in self._variables])

    @cached_property
    def evidence(self) -> Mapping[str, float]:
        """Of frozen or quantized weights, how many are not moved."""
        fixed = left_out(self.network)
        return MappingProxyType({"parameters": self.dimension, "of": self.dimension + fixed} if fixed else {})

    def losses(self, shift: Vector | None = None, indices: Indices | None = None) -> Array:
        """Each image's loss with the weights moved by a vector, `(N,)`."""
        with self._moved(shift):
            return np.concatenate([*self._by_chunk(self._losses, indices)])

    def answers(self, shift: Vector | None = None) -> Array:
        """The logits with the weights moved by a vector, `(N, classes)`."""
        with self._moved(shift):
            found = [np.asarray(self._answers(chunk), np.float64) for chunk, _ in self._chunks(None)]
        return np.concatenate(found)

    def slope(self, shift: Vector | None = None, indices: Indices | None = None) -> tuple[float, Vector]:
        """The mean loss with the weights moved by a vector, and its gradient there, `(dimension,)`."""
        with self._moved(shift):
            total = sum(self._by_chunk(self._slope, indices))
        found = np.asarray(total) / (self.examples if indices is None else len(indices))
        return float(found[0]), found[1:]

    def pixel_slopes(self) -> Array:
        """The L1 norm of each image's gradient of its loss with respect to its pixels, `(N,)`."""
        return np.concatenate([*self._by_chunk(self._pixels, None)])

    def logits(self, along: Vector) -> tuple[Array, Array]:
        """Each image's logits, and their derivative along a direction of the weights, both `(N, classes)`."""
        flat = tf.convert_to_tensor(along, self._dtype)
        pairs = [
            [np.asarray(t, np.float64) for t in self._along(chunk, flat)] for chunk, _ in self._chunks(None)
        ]
        logits, moved = (np.concatenate(parts) for parts in zip(*pairs, strict=True))
        return logits, moved

    def head(self) -> Head:
        """The last dense layer, and what it sees of each image.

        Raises:
            RequestError: the network does not end with one.
        """
        layers = dense_end(self.network)
        found = [[np.asarray(t, np.float64) for t in self._seen(chunk)] for chunk, _ in self._chunks(None)]
        *before, features = (np.concatenate(parts) for parts in zip(*found, strict=True))
        kernels = [np.asarray(layer.kernel, np.float64) for layer in layers]
        return Head(features, kernels[-1], (before[0], kernels[0]) if before else None)

    @cached_property
    def _seen(self) -> Callable[[Any], Any]:
        model = features_of(self.network)
        return tf.function(
            lambda images: tf.nest.flatten(model(images, training=False)), [self._losses.input_signature[0]]
        )

    def _chunks(self, indices: Indices | None) -> Iterator[tuple[Any, Any]]:
        order = np.arange(self.examples) if indices is None else np.asarray(indices)
        for first in range(0, len(order), self._chunk_size):
            chunk = order[first : first + self._chunk_size]
            yield self._images[chunk], self.labels[chunk]

    def _by_chunk(self, graph: Callable[..., Any], indices: Indices | None) -> Iterator[Array]:
        return (np.asarray(graph(*chunk), np.float64) for chunk in self._chunks(indices))

    @contextmanager
    def _moved(self, shift: Vector | None) -> Iterator[None]:
        """While this lasts, the network's weights are moved; afterwards they are bit for bit what they were."""
        if shift is None:
            yield
            return
        kept, begin = [np.asarray(v) for v in self._variables], 0
        try:
            for variable, value in zip(self._variables, kept, strict=True):
                part = shift[begin : begin + value.size].reshape(value.shape)
                variable.assign((value.astype(np.float64) + part).astype(value.dtype))
                begin += value.size
            yield
        finally:
            for variable, value in zip(self._variables, kept, strict=True):
                variable.assign(value)

    def _logits(self, images: tf.Tensor) -> tf.Tensor:
        with exact_derivatives():
            return self.network(images, training=False)

    def _loss(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        logits = self._logits(images)
        return cross_entropy(labels, normalized_logits(logits) if self._normalized else logits)

    def _slope_in_graph(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        """The sum of the losses, and its gradient, as one vector."""
        with tf.GradientTape() as tape:
            total = tf.reduce_sum(self._loss(images, labels))
        slopes = tape.gradient(total, self._variables, unconnected_gradients="zero")
        return tf.concat([self._flat([total]), self._flat(slopes)], 0)

    def _pixels_in_graph(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            tape.watch(images)
            total = tf.reduce_sum(self._loss(images, labels))
        return tf.reduce_sum(tf.abs(tape.gradient(total, images)), list(range(1, images.shape.rank)))

    def _along_in_graph(self, images: tf.Tensor, direction: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """By differentiating u'J, which is linear in u, with respect to u."""
        sizes = [int(np.prod(v.shape)) for v in self._variables]
        directions = [
            tf.cast(tf.reshape(part, v.shape), v.dtype)
            for v, part in zip(self._variables, tf.split(direction, sizes), strict=True)
        ]
        with tf.GradientTape() as outer:
            with tf.GradientTape() as inner:
                logits = self._logits(images)
            probe = tf.zeros_like(logits)
            outer.watch(probe)
            pulled = inner.gradient(logits, self._variables, probe, unconnected_gradients="zero")
            slope = dot(pulled, directions)
        return logits, outer.gradient(slope, probe)

    def _flat(self, tensors: Tensors) -> tf.Tensor:
        return tf.concat([tf.cast(tf.reshape(one, [-1]), self._dtype) for one in tensors], 0)
