"""The product of the Hessian with respect to the pixels with vectors, image by image."""

from collections.abc import Mapping
from contextlib import AbstractContextManager
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.networks.derivatives import exact_derivatives
from tfsgd.networks.float64 import graph_of, with_values
from tfsgd.networks.guard import guarded
from tfsgd.networks.hessian import Tensors, dot
from tfsgd.networks.losses import cross_entropy


class InputProduct:
    """v -> H_i v_i for many images at once, H_i the Hessian of image i's own loss with respect to its pixels.

    One pass over the sum of the losses: no image's loss depends on another's pixels, so its Hessian is block
    diagonal. The network is in inference mode.

    Args:
        model: a Keras model, images to logits.
        images: `(N, height, width, channels)` in [0, 1].
        labels: `(N,)` integers.

    Attributes:
        examples: N.
        dimension: pixels of an image, times channels.
    """

    title = "the Hessian with respect to the pixels"

    def __init__(self, model: Any, images: NDArray[Any], labels: NDArray[Any]) -> None:
        self.network = model
        dtype = tf.as_dtype(model.trainable_variables[0].dtype if model.trainable_variables else "float32")
        self._images = tf.convert_to_tensor(images, dtype)
        self._labels = tf.convert_to_tensor(labels)
        self._product = tf.function(self._product_in_graph, reduce_retracing=True)
        self.examples = len(labels)
        self.dimension = int(np.prod(images.shape[1:]))

    def __call__(
        self, vectors: NDArray[np.float64], indices: NDArray[np.integer[Any]]
    ) -> NDArray[np.float64]:
        """The products of the images of these indices, `(n, dimension)`, each with its vector, likewise."""
        images = tf.gather(self._images, indices)
        directions = tf.reshape(tf.convert_to_tensor(vectors, images.dtype), tf.shape(images))
        product = self._product(images, tf.gather(self._labels, indices), directions)
        return np.asarray(product, np.float64).reshape(vectors.shape)

    def _product_in_graph(self, images: tf.Tensor, labels: tf.Tensor, directions: tf.Tensor) -> tf.Tensor:
        return self.chunk_product([images], [directions], images, labels)[0]

    @cached_property
    def evidence(self) -> Mapping[str, float]:
        """What is off in the product, see `tfsgd.networks.guard.guarded`.

        Raises:
            RequestError: as there.
        """
        return MappingProxyType(guarded(self))

    def some(self, count: int) -> tuple[tf.Tensor, tf.Tensor]:
        """So many of its images, and their labels."""
        return self._images[:count], self._labels[:count]

    def point(self, images: tf.Tensor) -> Tensors:
        """The images."""
        return [images]

    def logits(self, images: tf.Tensor) -> tf.Tensor:
        """Of the network in inference mode, with derivatives of every order."""
        with exact_derivatives():
            return self.network(images, training=False)

    def bound(self, at: Tensors) -> AbstractContextManager[None]:
        """The network in float64."""
        return with_values(graph_of(self.network), [], [])

    def chunk_product(
        self, at: Tensors, directions: Tensors, images: tf.Tensor, labels: tf.Tensor
    ) -> Tensors:
        """H_i v_i of the images that `at` holds; as `tfsgd.networks.hessian.Product` has it."""
        with tf.GradientTape() as outer:
            outer.watch(at)
            slope = dot(self.chunk_slope(at, images, labels), directions)
        return outer.gradient(slope, at, unconnected_gradients="zero")

    def chunk_slope(self, at: Tensors, images: tf.Tensor, labels: tf.Tensor) -> Tensors:
        """The gradient of each image's loss."""
        with tf.GradientTape() as tape:
            tape.watch(at)
            loss = tf.reduce_sum(cross_entropy(labels, self.logits(at[0])))
        return tape.gradient(loss, at)

    def chunk_pulled(self, at: Tensors, change: Tensors, images: tf.Tensor, labels: tf.Tensor) -> Tensors:
        """The change of the gradient is the product."""
        return change
