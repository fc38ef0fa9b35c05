"""Where a network's seeds come from: a generator of its own, and never one that others draw from, too.

Keras draws the default seeds of initializers and dropout from Python's global `random`. So does whatever else
runs in the process, an event loop's thread for one, and each number that it takes is another network.
"""

import contextlib
import random
from collections.abc import Iterator

import keras
from keras.src.random import seed_generator


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Inside, a network's weights and dropout are a function of the seed alone, whoever draws meanwhile.

    The numbers are those that Keras would draw after `keras.utils.set_random_seed(seed)` if nobody else drew.
    Keras has no public way to this, so its module's name for `random` stands for the generator meanwhile; a
    test sees to it that Keras still draws by that name.
    """
    keras.utils.set_random_seed(seed)
    theirs = seed_generator.python_random
    seed_generator.python_random = random.Random(seed)
    try:
        yield
    finally:
        seed_generator.python_random = theirs
