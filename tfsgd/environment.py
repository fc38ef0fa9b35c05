"""What the environment and Keras's own settings may not say: networks here are float32, channels last, of TensorFlow."""

import os
from pathlib import Path
from typing import Any

from tfsgd.errors import RequestError


def refuse_other_keras() -> None:
    """Refuses variables by which Keras would be another one, before it is imported.

    Raises:
        RequestError: the line names the variable.
    """
    if os.environ.get("TF_USE_LEGACY_KERAS", "").strip().lower() in ("1", "true"):
        raise RequestError(
            f"TF_USE_LEGACY_KERAS={os.environ['TF_USE_LEGACY_KERAS']}: tfsgd needs Keras 3; take the variable away"
        )
    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    if backend != "tensorflow":
        raise RequestError(f"KERAS_BACKEND={backend}: expected tensorflow; change or take away the variable")


def refuse_other_settings(keras: Any) -> None:
    """Refuses what `keras.json` says otherwise than a record would.

    Args:
        keras: the module.

    Raises:
        RequestError: the line names the file.
    """
    home = os.environ.get("KERAS_HOME")
    file = (Path(home) if home else Path.home() / ".keras") / "keras.json"
    found = {"floatx": keras.config.floatx(), "image_data_format": keras.config.image_data_format()}
    for key, expected in (("floatx", "float32"), ("image_data_format", "channels_last")):
        if found[key] != expected:
            raise RequestError(
                f"{file}: {key}: expected {expected}, found {found[key]}; change it there, or in the code of your own "
                "that has set it"
            )
