"""Gradient and Hessian of single batches."""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.measures.curvature_spec import Vector
from tfsgd.networks.hessian import HessianVectorProduct


class BatchProduct(HessianVectorProduct):
    """The curvature of a batch's mean loss along its own gradient; called, v -> Hv over all images.

    Arguments and attributes are those of `Product`, and besides:

    Args:
        batch_size: with which the network was trained, where that is known.

    Attributes:
        examples: images that batches are drawn from.
    """

    def __init__(
        self,
        model: Any,
        images: NDArray[Any],
        labels: NDArray[Any],
        *,
        batch_size: int | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(model, images, labels, **settings)
        self.batch_size = batch_size
        self.examples = len(labels)
        self._gradient = tf.function(
            lambda *batch: self._mean(self._chunk_gradient, self._no_rows, *batch)[0]
        )

    def gradient(self, indices: NDArray[np.integer[Any]]) -> Vector:
        """Gradient of the mean loss over the images of these indices, `(dimension,)`, in float64."""
        return np.asarray(self._gradient(*self._batch(indices)), np.float64)

    def along_gradient(self, indices: NDArray[np.integer[Any]]) -> tuple[float, float]:
        """gᵀH_B g and |g|², g the gradient of the mean loss over the images of these indices."""
        batch = self._batch(indices)
        gradient = self._gradient(*batch)
        product = np.asarray(self._product(gradient, self._no_rows, *batch)[0], np.float64)
        g = np.asarray(gradient, np.float64)
        return float(np.sum(g * product)), float(np.sum(g * g))

    def _batch(self, indices: NDArray[np.integer[Any]]) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(self._images, indices), tf.gather(self._labels, indices)

    def _chunk_gradient(self, images: tf.Tensor, labels: tf.Tensor) -> tf.Tensor:
        return self._flat(self.chunk_slope(self.variables, images, labels))
