"""Loss and accuracy of a network in inference mode, on unaugmented images."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.data.dataset import Split
from tfsgd.measures.natural_accuracy import SplitAccuracy, figures
from tfsgd.models.structure import input_shape

CHUNK_SIZE = 1_000  # images in one pass


class Evaluator:
    """Evaluates one model; its graph is traced once for all splits.

    Args:
        model: a Keras model, float32 images in [0, 1] to logits.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        shape = (None, *(input_shape(model) or ())[1:])
        self._logits = tf.function(self._logits_in_graph, [tf.TensorSpec(shape, tf.uint8)])
        self._of_floats = tf.function(lambda x: model(x, training=False), [tf.TensorSpec(shape, tf.float32)])

    def __call__(self, split: Split) -> SplitAccuracy:
        return figures(self.logits(split), split.labels)

    def logits(self, split: Split) -> NDArray[np.float64]:
        """Logits of a split's images, `(N, classes)`."""
        graph = self._of_floats if split.images.dtype == np.float32 else self._logits
        return np.concatenate([graph(chunk).numpy() for chunk in _chunks(split.images)]).astype(np.float64)

    def _logits_in_graph(self, images: tf.Tensor) -> tf.Tensor:
        return self._model(tf.cast(images, tf.float32) / 255.0, training=False)


def _chunks(images: NDArray[Any]) -> Iterator[NDArray[Any]]:
    return (images[i : i + CHUNK_SIZE] for i in range(0, len(images), CHUNK_SIZE))
