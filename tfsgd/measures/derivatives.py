"""Second derivatives that TensorFlow leaves out, put back while a network is called.

`tf.nn.moments` stops the gradient of the mean inside the variance: it is zero in the first derivative and not in the
second. The derivative of a resize is declared not differentiable (bilinear: a zero, without a word) or has none
(bicubic, Lanczos).
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import tensorflow as tf

_patching = threading.RLock()


@contextmanager
def exact_derivatives() -> Iterator[None]:
    """While a network is called here, `tf.nn.moments` and `tf.image.resize` have derivatives of every order.

    Their numbers are the same, to the bit, and other threads keep TensorFlow's own. Keras's layers and operations come to
    them, and layers of one's own; a SavedModel and a `tf.function` that was traced before keep what they hold.
    """
    with _patching:
        moments, resize = tf.nn.moments, tf.image.resize
        with (
            mock.patch.object(tf.nn, "moments", _here(_moments, moments)),
            mock.patch.object(tf.image, "resize", _here(_resize_by(resize), resize)),
        ):
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
    def exact(images: Any, *given: Any, **named: Any) -> Any:
        images = tf.convert_to_tensor(images)
        if not images.dtype.is_floating:
            return resize(images, *given, **named)
        return _linear(lambda x: resize(x, *given, **named), images)

    return exact


def _linear(function: Callable[[tf.Tensor], tf.Tensor], inputs: tf.Tensor) -> tf.Tensor:
    """A linear function of a tensor; its derivative is its adjoint, whose derivative is the function."""

    @tf.custom_gradient
    def forward(x: tf.Tensor) -> Any:
        return function(x), backward

    @tf.custom_gradient
    def backward(upstream: tf.Tensor) -> Any:
        anywhere = tf.zeros_like(inputs)
        with tf.GradientTape() as tape:
            tape.watch(anywhere)
            found = function(anywhere)
        return tape.gradient(found, anywhere, upstream), forward

    return forward(inputs)
