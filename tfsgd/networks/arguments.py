"""What a caller gives: a network, images and labels, held to what they must be before anything is measured."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfsgd.data.dataset import CHANNELS_FIRST, is_channels_first
from tfsgd.errors import RequestError
from tfsgd.models.softmax import refuse_probabilities
from tfsgd.models.structure import input_shape, refuse_integers
from tfsgd.networks.compiled_victim import check_logits


def checked(
    model: Any, images: NDArray[Any], labels: NDArray[Any]
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Images as float32 and labels as int64, once it is sure that they fit the model and each other.

    Raises:
        RequestError: they do not.
    """
    images, labels = np.asarray(images), np.asarray(labels)
    shape = input_shape(model)
    if shape is None or len(shape) != 4:
        raise RequestError(
            f"model: expected a built network of one input (None, height, width, channels), received "
            f"{type(model).__name__} with input shape {shape}"
        )
    if is_channels_first(images.shape):
        raise RequestError(f"images: received {images.shape}, {CHANNELS_FIRST}")
    if images.ndim != 4 or tuple(shape[1:]) != images.shape[1:]:
        raise RequestError(
            f"images: expected shape (N, {', '.join(map(str, shape[1:]))}), received {images.shape}"
        )
    if not images.size:
        raise RequestError("images: expected floats in [0, 1], received no image")
    if np.issubdtype(images.dtype, np.floating) and not np.isfinite(images).all():
        raise RequestError("images: expected floats in [0, 1], received NaN or infinity")
    if not (np.issubdtype(images.dtype, np.floating) and 0 <= images.min() <= images.max() <= 1):
        raise RequestError("images: expected floats in [0, 1]; divide bytes by 255")
    if labels.shape != images.shape[:1] or not np.issubdtype(labels.dtype, np.integer):
        raise RequestError(
            f"labels: expected {len(images)} integers, received {labels.dtype} of shape {labels.shape}"
        )
    for tensor in getattr(model, "inputs", None) or ():
        refuse_integers(tensor.dtype, f"model {model.name}")
    refuse_probabilities(model, f"model {model.name}")
    first = images[:8].astype(np.float32)
    check_logits(lambda x: np.asarray(model(x, training=False)), first, f"model {model.name}")
    logits = np.asarray(model(first, training=False))
    if not np.isfinite(logits).all():
        raise RequestError(
            f"model {model.name}: its outputs are not finite, as of a network whose training diverged"
        )
    classes = logits.shape[-1]
    if labels.min() < 0 or labels.max() >= classes:
        raise RequestError(
            f"labels: expected 0 to {classes - 1}, since the model has {classes} outputs; "
            f"received {labels.min()} to {labels.max()}"
        )
    return images.astype(np.float32), labels.astype(np.int64)
