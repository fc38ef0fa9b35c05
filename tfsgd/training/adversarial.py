"""Training images that are attacked anew at each step."""

from typing import Any

import tensorflow as tf

from tfsgd.networks.losses import log_odds

STEPS = {"fgsm": (1, 1.0), "pgd": (10, 0.25)}  # how many, and of which length in epsilon


def attacked(network: Any, images: tf.Tensor, labels: tf.Tensor, attack: str, epsilon: float) -> tf.Tensor:
    """The images after an attack in the ball of L-infinity, within [0, 1].

    From the image itself, in inference mode: dropout's masks are not drawn, BatchNorm's statistics stay. The gradient is that
    of the log-odds against the label: it leads up the cross-entropy, also where that one's is 0 in float32.

    Args:
        network: a Keras model.
        images: `(N, height, width, channels)`, in [0, 1].
        labels: `(N,)`.
        attack: `fgsm` (Goodfellow et al. 2015): one step; `pgd` (Madry et al. 2018): 10 steps of a quarter of epsilon.
        epsilon: radius.
    """
    steps, share = STEPS[attack]
    lowest, highest = tf.maximum(images - epsilon, 0.0), tf.minimum(images + epsilon, 1.0)
    reached = images
    for _ in range(steps):
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(reached)
            climbed = log_odds(labels, network(reached, training=False))
        step = share * epsilon * tf.sign(tape.gradient(climbed, reached))
        reached = tf.clip_by_value(reached + step, lowest, highest)
    return tf.stop_gradient(reached)
