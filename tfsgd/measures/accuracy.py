"""Loss and accuracy of a network in inference mode, on unaugmented images."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray
from scipy.special import logsumexp

from tfsgd.data.dataset import Split

CHUNK_SIZE = 1_000  # images in one pass


@dataclass(frozen=True)
class Figures:
    """How a network does on one split."""

    loss: float  # mean cross-entropy in nats
    accuracy: float  # fraction in [0, 1]
    predicted_classes: int  # how many different ones it predicts


class Evaluator:
    """Evaluates one model; its graph is traced once for all splits.

    Args:
        model: a Keras model, float32 images in [0, 1] to logits.
    """

    def __init__(self, model: Any) -> None:
        self._model = model
        images = tf.TensorSpec((None, *model.input_shape[1:]), tf.uint8)
        self._logits = tf.function(self._logits_in_graph, [images])

    def __call__(self, split: Split) -> Figures:
        logits = np.concatenate([self._logits(chunk).numpy() for chunk in _chunks(split.images)])
        return figures(logits.astype(np.float64), split.labels)

    def _logits_in_graph(self, images: tf.Tensor) -> tf.Tensor:
        return self._model(tf.cast(images, tf.float32) / 255.0, training=False)


def figures(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Figures:
    """Mean cross-entropy and accuracy from logits of shape `(N, classes)`; NaN where they are not finite."""
    if not np.isfinite(logits).all():
        return Figures(np.nan, np.nan, 0)
    predicted = logits.argmax(1)
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return Figures(float(losses.mean()), float((predicted == labels).mean()), len(np.unique(predicted)))


def _chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    return (images[i : i + CHUNK_SIZE] for i in range(0, len(images), CHUNK_SIZE))
