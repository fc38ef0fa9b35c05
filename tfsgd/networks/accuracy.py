"""Loss and accuracy of a network in inference mode, on unaugmented images."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.data.dataset import Split
from tfsgd.measures.natural_accuracy import SplitAccuracy, figures

CHUNK_SIZE = 1_000  # images in one pass


class Evaluator:
    """Evaluates one model; its graph is traced once for all splits.

    Args:
        model: a Keras model, float32 images in [0, 1] to logits.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        images = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
        self._logits = tf.function(self._logits_in_graph, [images])

    def __call__(self, split: Split) -> SplitAccuracy:
        return figures(self.logits(split), split.labels)

    def logits(self, split: Split) -> NDArray[np.float64]:
        """Logits of a split's images, `(N, classes)`."""
        return np.concatenate([self._logits(chunk).numpy() for chunk in _chunks(split.images)]).astype(
            np.float64
        )

    def _logits_in_graph(self, images: tf.Tensor) -> tf.Tensor:
        return self._model(tf.cast(images, tf.float32) / 255.0, training=False)


def _chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    return (images[i : i + CHUNK_SIZE] for i in range(0, len(images), CHUNK_SIZE))
