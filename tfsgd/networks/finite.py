"""Whether a network has an answer for an image, and a gradient that an attack can follow."""

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.errors import RequestError

FINITE, ODD_LOGITS, ODD_GRADIENT = 0, 1, 2  # what is at fault at an image
_SAID = {
    ODD_LOGITS: ("its outputs are not finite", "as of a network whose training diverged"),
    ODD_GRADIENT: (
        "the gradient of the loss is not finite",
        "as where the network takes the root or logarithm of black pixels, or makes integers of them; add a small "
        "constant or leave that out, or take an attack without gradients (square, noise)",
    ),
}


def predicted_classes(logits: tf.Tensor) -> tf.Tensor:
    """The class of each image, `(N,)`; -1 where its logits `(N, classes)` are not finite."""
    return tf.where(tf.reduce_all(tf.math.is_finite(logits), 1), tf.argmax(logits, 1), -1)


def faults_of(predicted: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """What is at fault at each image, int32 `(N,)`.

    Args:
        predicted: of `predicted_classes`.
        gradient: shaped as the images.
    """
    finite = tf.reduce_all(tf.math.is_finite(gradient), list(range(1, len(gradient.shape))))
    return tf.where(predicted < 0, ODD_LOGITS, tf.where(finite, FINITE, ODD_GRADIENT))


def refuse_infinite(name: str, logits: NDArray[np.floating]) -> None:
    """As `refuse`, of logits `(N, classes)`."""
    refuse(name, np.where(np.isfinite(logits).all(1), FINITE, ODD_LOGITS))


def refuse(name: str, faults: NDArray[np.integer]) -> None:
    """Refuses a network that is at fault at some image.

    Args:
        name: of the network.
        faults: at each image, `(N,)`.

    Raises:
        RequestError: its outputs, or else its gradients, are not finite; the line says at how many images.
    """
    for fault, (what, why) in _SAID.items():
        if count := int((faults == fault).sum()):
            raise RequestError(f"{name}: {what} at {count:,} of {len(faults):,} images, {why}")
