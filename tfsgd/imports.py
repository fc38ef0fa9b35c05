"""Imports of many modules without looks for garbage, a quarter of their time; and a module that can be called."""

import contextlib
import gc
import importlib
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any


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


class CallableModule(ModuleType):
    """A command's module that is also the function of `tfsgd.api` of its name: `tfsgd.measure(model, images, labels)`."""

    def __call__(self, *arguments: Any, **settings: Any) -> Any:
        """Calls that function."""
        name = self.__name__.rpartition(".")[2]
        return getattr(importlib.import_module("tfsgd.api"), name)(*arguments, **settings)


def make_callable(name: str) -> None:
    """Makes a module that is being imported a `CallableModule`."""
    sys.modules[name].__class__ = CallableModule
