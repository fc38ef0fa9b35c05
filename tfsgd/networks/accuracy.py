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
CALIBRATION_BINS = 15


@dataclass(frozen=True)
class SplitAccuracy:
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

    def __call__(self, split: Split) -> SplitAccuracy:
        return figures(self.logits(split), split.labels)

    def logits(self, split: Split) -> NDArray[np.float64]:
        """Logits of a split's images, `(N, classes)`."""
        return np.concatenate([self._logits(chunk).numpy() for chunk in _chunks(split.images)]).astype(
            np.float64
        )

    def _logits_in_graph(self, images: tf.Tensor) -> tf.Tensor:
        return self._model(tf.cast(images, tf.float32) / 255.0, training=False)


def figures(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> SplitAccuracy:
    """Mean cross-entropy and accuracy from logits of shape `(N, classes)`; NaN where they are not finite."""
    if not np.isfinite(logits).all():
        return SplitAccuracy(np.nan, np.nan, 0)
    predicted = logits.argmax(1)
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return SplitAccuracy(float(losses.mean()), float((predicted == labels).mean()), len(np.unique(predicted)))


@dataclass(frozen=True)
class Certainty:
    """How sure a network is of its answers, see `tfsgd.measures.always.Confidence`."""

    confidence: float  # in [1/classes, 1]
    margin: float  # of logits
    calibration_error: float  # in [0, 1]


def certainty(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Certainty:
    """Mean confidence, mean logit margin and calibration error from logits `(N, classes)`; NaN where not finite."""
    if not np.isfinite(logits).all():
        return Certainty(np.nan, np.nan, np.nan)
    everyone = np.arange(len(labels))
    confidence = np.exp(logits.max(1) - logsumexp(logits, axis=1))
    right = logits.argmax(1) == labels
    others = logits.copy()
    others[everyone, labels] = -np.inf
    margin = logits[everyone, labels] - others.max(1)
    # Bins (i/15, (i+1)/15]; |sum of (right - confidence)| of a bin is its images times |accuracy - confidence|.
    bins = np.clip(np.ceil(confidence * CALIBRATION_BINS).astype(int) - 1, 0, CALIBRATION_BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=CALIBRATION_BINS)
    return Certainty(float(confidence.mean()), float(margin.mean()), float(np.abs(gaps).sum() / len(labels)))


def _chunks(images: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
    return (images[i : i + CHUNK_SIZE] for i in range(0, len(images), CHUNK_SIZE))
