"""Second derivatives that TensorFlow leaves out, put back while a network is called.

`tf.nn.moments` stops the gradient of the mean inside the variance: it is zero in the first derivative and not in the
second. The derivative of a resize is declared not differentiable (bilinear: a zero, without a word) or has none
(the others), and that of softsign has none.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import tensorflow as tf

_patching = threading.RLock()


@contextmanager
def exact_derivatives() -> Iterator[None]:
    """While a network is called here, `tf.nn.moments`, `softsign` and `tf.image.resize` have derivatives of every order.

    Their numbers are the same but for rounding, and other threads keep TensorFlow's own. Keras's layers and operations come to
    them, and layers of one's own; a SavedModel and a `tf.function` that was traced before keep what they hold.
    """
    exact: list[tuple[Any, str, Callable[..., Any]]] = [
        (tf.nn, "moments", _moments),
        (tf.nn, "softsign", _softsign),
        (tf.image, "resize", _resize_by(tf.image.resize)),
    ]
    with _patching, ExitStack() as patches:
        for module, name, function in exact:
            here = _here(function, getattr(module, name))
            patches.enter_context(mock.patch.object(module, name, here))
        yield


def _here(exact: Callable[..., Any], original: Callable[..., Any]) -> Callable[..., Any]:
    """One function in this thread, the other one elsewhere."""
    thread = threading.get_ident()
    return lambda *given, **named: (exact if threading.get_ident() == thread else original)(*given, **named)


def _moments(x: Any, axes: Any, shift: Any = None, keepdims: bool = False, name: Any = None) -> Any:
    x = tf.convert_to_tensor(x)
    wide = tf.cast(x, tf.float32) if x.dtype == tf.float16 else x
    mean = tf.reduce_mean(wide, axes, keepdims=True)
    variance = tf.reduce_mean(tf.math.squared_difference(wide, mean), axes, keepdims=True)
    found = (mean, variance) if keepdims else (tf.squeeze(mean, axes), tf.squeeze(variance, axes))
    return tuple(tf.cast(part, x.dtype) for part in found)


def _resize_by(resize: Callable[..., Any]) -> Callable[..., Any]:
    """A resize as two products with matrices: it is linear, first along the height, then along the width."""

    def exact(
        images: Any, size: Any, method: Any = "bilinear", preserve_aspect_ratio: bool = False,
        antialias: bool = False, name: Any = None,
    ) -> Any:  # fmt: skip
        images = tf.convert_to_tensor(images)
        shape = images.shape[-3:]
        known = shape.is_fully_defined() and not any(map(tf.is_symbolic_tensor, tf.nest.flatten(size)))
        if not (known and images.dtype.is_floating):
            return resize(images, size, method, preserve_aspect_ratio, antialias)
        with tf.init_scope():  # constants: the graph holds no resize
            plain = resize(tf.zeros(shape, images.dtype), size, method, preserve_aspect_ratio, antialias)
            high, wide = (
                _matrix(lambda x, to: resize(x, to, method, antialias=antialias), shape[axis], plain.shape[axis])
                for axis in (0, 1)
            )  # fmt: skip
        dtype = images.dtype if images.dtype.size > 4 else tf.float32
        rows = tf.einsum("ih,...hwc->...iwc", tf.cast(high, dtype), tf.cast(images, dtype))
        found = tf.einsum("jw,...iwc->...ijc", tf.cast(wide, dtype), rows)
        return found if found.dtype.size > plain.dtype.size else tf.cast(found, plain.dtype)

    return exact


def _matrix(resize: Callable[..., Any], count: int, to: int) -> tf.Tensor:
    """What a resize of a single column does, `(to, count)`: each of its pixels alone, in a channel of its own."""
    return resize(tf.eye(count)[None, :, None, :], (to, 1))[0, :, 0, :]


def _softsign(features: Any, name: Any = None) -> Any:
    return features / (1 + tf.abs(features))
