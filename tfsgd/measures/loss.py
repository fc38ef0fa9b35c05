"""The loss whose curvature is measured and which the attacks increase."""

import tensorflow as tf


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example in nats, shape `(N,)`, from logits of shape `(N, classes)`."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)
