"""The product of the Hessian with respect to the pixels with vectors, image by image."""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.measures.loss import cross_entropy


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

    def __init__(self, model: Any, images: NDArray[Any], labels: NDArray[Any]) -> None:
        self._model = model
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
        with tf.GradientTape() as outer:
            outer.watch(images)
            with tf.GradientTape() as inner:
                inner.watch(images)
                loss = tf.reduce_sum(cross_entropy(labels, self._model(images, training=False)))
            slope = tf.reduce_sum(inner.gradient(loss, images) * directions)
        return outer.gradient(slope, images, unconnected_gradients="zero")
