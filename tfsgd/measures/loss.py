"""The losses: the one whose curvature is measured, and those that attacks increase."""

import tensorflow as tf


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example in nats, shape `(N,)`, from logits of shape `(N, classes)`."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def curved_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The same, with second derivatives that are right for every single example, also one that the network is sure of.

    TensorFlow's own are p (u - pᵀu) in a direction u. Where the largest p rounds to 1, its u - pᵀu is the difference
    of equal numbers, and its row of the matrix comes out as 0. Here the logits are taken from the largest one, z_m:
    loss = log(1 + Σ_{j != m} exp(z_j - z_m)) + z_m - z_y, in which nothing of that size is subtracted.
    """
    top = tf.argmax(logits, 1)
    highest = tf.gather(logits, top, batch_dims=1)
    is_top = tf.one_hot(top, tf.shape(logits)[1], on_value=True, off_value=False)
    others = tf.where(is_top, tf.zeros_like(logits), tf.exp(logits - highest[:, None]))
    return tf.math.log1p(tf.reduce_sum(others, 1)) + highest - tf.gather(logits, labels, batch_dims=1)


def margin(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The largest other logit minus the true one, shape `(N,)`: above zero where an example is misclassified.

    Its gradient does not vanish where the network is confident (Carlini and Wagner 2017, section V-A).
    """
    true = tf.one_hot(labels, tf.shape(logits)[1], on_value=True, off_value=False)
    of_true = tf.reduce_max(tf.where(true, logits, logits.dtype.min), 1)
    others = tf.reduce_max(tf.where(true, logits.dtype.min, logits), 1)
    return others - of_true


def dlr(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Difference of logits ratio, shape `(N,)`: the margin over (largest - third largest logit).

    Croce and Hein 2020, equation 6: -(z_y - max_{i != y} z_i) / (z_1 - z_3), z_1 >= z_2 >= ... the sorted logits.
    Neither shifting nor scaling the logits changes it. Of three classes the third is the last one. Of two there is
    none, and the ratio to their difference would be 1 or -1 everywhere: then it is the margin alone.
    """
    classes = tf.shape(logits)[1]
    largest = tf.math.top_k(logits, tf.minimum(3, classes)).values
    spread = largest[:, 0] - largest[:, -1]
    # Equal logits have a loss of 0, and the margin's gradient.
    return margin(labels, logits) / tf.where((classes > 2) & (spread > 0), spread, tf.ones_like(spread))


LOSSES = {"cross_entropy": cross_entropy, "margin": margin, "dlr": dlr}
