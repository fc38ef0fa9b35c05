"""The losses: the one that networks are judged by, exact in float32, TensorFlow's own, and what else attacks increase.

TensorFlow's softmax cross-entropy has the gradient p - y. Where a network is sure, 1 - p_y < 6e-8, float32 rounds p_y to
1: the true class's own term becomes exactly 0, while the others keep their 1e-9. The gradient is not zero, but it points
elsewhere, and an attack that takes its sign goes there at full length.
"""

from collections.abc import Callable

import tensorflow as tf

Loss = Callable[[tf.Tensor, tf.Tensor], tf.Tensor]  # labels (N,), logits (N, classes) -> (N,)


def cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Cross-entropy of each example in nats, `(N,)`, with derivatives that are right for every single example.

    It is softplus(s), s the log-odds against the label, see `log_odds`. It is written from the largest logit, z_m:
    log(1 + Σ_{j != m} exp(z_j - z_m)) + z_m - z_y. Nothing of size 1 is subtracted, in the second derivative neither,
    whichever class the network is sure of.
    """
    logits = _single(logits)
    top = tf.argmax(logits, 1)
    highest = tf.gather(logits, top, batch_dims=1)
    others = tf.where(_is(top, logits), tf.zeros_like(logits), tf.exp(logits - highest[:, None]))
    behind = highest - tf.gather(logits, labels, batch_dims=1)
    # Where the label is on top this is 0, but its derivatives, 1 and -1, would not add up to 0 in all orders.
    behind = tf.where(top == tf.cast(labels, top.dtype), tf.zeros_like(behind), behind)
    return tf.math.log1p(tf.reduce_sum(others, 1)) + behind


def log_odds(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """s = log Σ_{j != y} exp z_j - z_y, `(N,)`: the log of the odds (1 - p_y) / p_y against the label.

    The cross-entropy is softplus(s), so its gradient is sigmoid(s) times that of s, and both have the same direction;
    but sigmoid(s) is 0 in float32 below s = -103, and the gradient of s never vanishes with confidence.
    """
    logits = _single(logits)
    others = tf.where(_is(labels, logits), logits.dtype.min, logits)
    return tf.reduce_logsumexp(others, 1) - tf.gather(logits, labels, batch_dims=1)


def softmax_cross_entropy(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The cross-entropy as TensorFlow has it, and CleverHans, Foolbox and ART with it: gradient p - y in float32."""
    return tf.nn.sparse_softmax_cross_entropy_with_logits(labels, logits)


def squared_error(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Half the squared distance of the logits from the one-hot label, `(N,)`; its Hessian in the logits is the identity."""
    logits = _single(logits)
    targets = tf.one_hot(labels, tf.shape(logits)[1], dtype=logits.dtype)
    return tf.reduce_sum(tf.square(logits - targets), 1) / 2


def margin(labels: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """The largest other logit minus the true one, shape `(N,)`: above zero where an example is misclassified.

    Its gradient does not vanish where the network is confident (Carlini and Wagner 2017, section V-A).
    """
    true = _is(labels, logits)
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


def normalized_logits(logits: tf.Tensor) -> tf.Tensor:
    """Logits `(N, classes)` less their mean over the classes, of length 1; 0 where they are all alike."""
    logits = _single(logits)
    centred = logits - tf.reduce_mean(logits, 1, keepdims=True)
    squared = tf.reduce_sum(tf.square(centred), 1, keepdims=True)
    return centred * tf.math.rsqrt(tf.maximum(squared, 1e-20))


LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "softmax_cross_entropy": softmax_cross_entropy,
    "margin": margin,
    "dlr": dlr,
}
DESCENDED: dict[str, Loss] = {"cross_entropy": cross_entropy, "mse": squared_error}  # by SGD
UPHILL: dict[str, Loss] = LOSSES | {"cross_entropy": log_odds}  # whose gradient leads up each loss


def _lead(labels: tf.Tensor, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """The target's logit minus the true one, `(N,)`."""
    return tf.gather(logits, targets, batch_dims=1) - tf.gather(logits, labels, batch_dims=1)


def _targeted_dlr(labels: tf.Tensor, logits: tf.Tensor, targets: tf.Tensor) -> tf.Tensor:
    """-(z_y - z_t) / (z_1 - (z_3 + z_4) / 2), `(N,)` (Croce and Hein 2020, equation 7); of fewer than 4 classes the last."""
    classes = tf.shape(logits)[1]
    largest = tf.math.top_k(logits, tf.minimum(4, classes)).values
    spread = largest[:, 0] - (largest[:, tf.minimum(2, classes - 1)] + largest[:, -1]) / 2
    return _lead(labels, logits, targets) / tf.where(
        (classes > 2) & (spread > 0), spread, tf.ones_like(spread)
    )


# What rises towards targets `(N,)`: labels, logits, targets -> (N,).
TARGETED: dict[str, Callable[[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]] = {
    "cross_entropy": lambda labels, logits, targets: -log_odds(targets, logits),
    "softmax_cross_entropy": lambda labels, logits, targets: -softmax_cross_entropy(targets, logits),
    "margin": _lead,
    "dlr": _targeted_dlr,
}


def _single(logits: tf.Tensor) -> tf.Tensor:
    """In single precision at least: 16 bits hold neither the logits' differences nor their exponentials."""
    return tf.cast(logits, tf.float32) if logits.dtype.size < 4 else logits


def _is(classes: tf.Tensor, logits: tf.Tensor) -> tf.Tensor:
    """Where each example's class is, bool `(N, classes)`."""
    return tf.one_hot(classes, tf.shape(logits)[1], on_value=True, off_value=False)
