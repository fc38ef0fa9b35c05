"""SGD hyperparameters, adversarial robustness and curvature, measured on a grid of settings."""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

from tfsgd import interrupts

__version__ = "0.14.0"

# These must be in the environment before TensorFlow is first imported.
# oneDNN: TensorFlow leaves it off on x86 processors without AVX-512 VNNI, where it is still up to
# 2.4 times faster. Log level 2 hides TensorFlow's start-up notes and keeps its errors.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
os.environ.setdefault("KERAS_BACKEND", "tensorflow")  # whatever keras.json says
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

# As a command (`python -m tfsgd.sweep` while this package is imported, or `tfsgd`) it ends in one line from here on:
# what it imports takes a second or more.
if sys.argv and (sys.argv[0] == "-m" or Path(sys.argv[0]).name == "tfsgd"):
    interrupts.listen()
    sys.excepthook = interrupts.end

__all__ = [
    "AttackSpec",
    "Curvature",
    "CurvatureSpec",
    "Outcome",
    "attack",
    "attack_path",
    "barrier",
    "curvature",
    "landscape",
    "load_network",
    "measure",
    "outcomes",
    "picture",
    "read_records",
    "top_eigenvalue",
    "zoo",
]


def __getattr__(name: str) -> Any:
    """The names of `tfsgd.api`, imported when they are first asked for.

    `measure` is the command's module, which can be called as the function: Python puts it here whenever it is imported.
    """
    if name == "measure":
        return importlib.import_module("tfsgd.measure")
    if name in __all__:
        from tfsgd import api

        return getattr(api, name)
    raise AttributeError(f"module 'tfsgd' has no attribute '{name}'")


def __dir__() -> list[str]:
    return sorted(__all__)
