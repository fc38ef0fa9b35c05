"""The losses: the one whose curvature is measured, and those that attacks increase."""

import tensorflow as tf


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example in nats, shape `(N,)`, from logits of shape `(N, classes)`."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def margin(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The largest other logit minus the true one, shape `(N,)`: above zero where an example is misclassified.

    Its gradient does not vanish where the network is confident (Carlini and Wagner 2017, section V-A).
    """
    true = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False)
    of_true = tf.reduce_max(tf.where(true, logits, logits.dtype.min), 1)
    others = tf.reduce_max(tf.where(true, logits.dtype.min, logits), 1)
    return others - of_true


LOSSES = {"cross_entropy": cross_entropy, "margin": margin}
