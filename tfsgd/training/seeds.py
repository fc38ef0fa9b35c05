"""Where a network's seeds come from: a generator of its own, and never one that others draw from, too.

Keras draws the default seeds of initializers and dropout from Python's global `random`. So does whatever else
runs in the process, an event loop's thread for one, and each number that it takes is another network.
"""

import contextlib
import random
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf
from keras.src.random import seed_generator

APART = 1_000_000_007  # between the seeds of two replicas; Keras takes seeds modulo 2^31 - 2


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, a network's weights and dropout are a function of the seed alone, whoever draws meanwhile.

    The numbers are those that Keras would draw after `keras.utils.set_random_seed(seed)` if nobody else drew.
    Keras has no public way to this, so its module's name for `random` stands for the generator meanwhile; a
    test sees to it that Keras still draws by that name. Each replica draws masks of its own, see `_of_replica`.
    """
    keras.utils.set_random_seed(seed)
    theirs, next_seed = seed_generator.python_random, keras.random.SeedGenerator.next
    seed_generator.python_random = random.Random(seed)
    keras.random.SeedGenerator.next = _of_replica(next_seed)
    try:
        yield
    finally:
        seed_generator.python_random, keras.random.SeedGenerator.next = theirs, next_seed


def _of_replica(next_seed: Callable[..., Any]) -> Callable[..., Any]:
    """`SeedGenerator.next`, with another seed on each replica but the first.

    Keras has one generator's state on all replicas: images at the same place of their parts of a batch would get the
    same dropout mask, whose noise then does not average out as that of one replica does.
    """

    def next_of_replica(self: Any, ordered: bool = True) -> Any:
        drawn = next_seed(self, ordered)
        context = tf.distribute.get_replica_context()
        if context is None or context.num_replicas_in_sync == 1:
            return drawn
        replica = tf.cast(context.replica_id_in_sync_group, drawn.dtype)
        return drawn + tf.stack([replica * APART, tf.zeros_like(replica)])

    return next_of_replica
