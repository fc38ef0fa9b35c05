"""Imports of many modules, TensorFlow's above all, without looks for garbage: a quarter of their time."""

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def quickly() -> Iterator[None]:
    """While modules are imported inside; what is there afterwards is looked at no more, since it stays.

    So it also stays in the pages of memory that a forked process shares with the one it is forked from.
    """
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
