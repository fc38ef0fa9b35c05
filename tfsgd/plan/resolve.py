"""`module:name` -> the object."""

import importlib
from pathlib import Path


def resolve(name: str, code_dir: Path | None, key: str) -> object:
    module, _, attribute = name.partition(":")
    return getattr(importlib.import_module(module), attribute)
