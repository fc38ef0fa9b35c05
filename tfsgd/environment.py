"""What the environment and settings of libraries may not say: networks here are float32, channels last, of TensorFlow."""

import os
import stat
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
    math = os.environ.get("ONEDNN_DEFAULT_FPMATH_MODE", "").strip().upper()
    if math not in ("", "STRICT"):
        raise RequestError(
            f"ONEDNN_DEFAULT_FPMATH_MODE={math}: no record would say that float32 is computed in 16 bits; take the "
            "variable away, precision: bfloat16 in a regime trains so"
        )


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


def refuse_unreadable_matplotlibrc() -> None:
    """Refuses a file of settings that matplotlib could not be imported with, or would wait for; nothing of it is used.

    Raises:
        RequestError: the line names the file, which is the first that is there, in matplotlib's own order.
    """
    variable, config = os.environ.get("MATPLOTLIBRC"), os.environ.get("MPLCONFIGDIR")
    above = os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config"
    places = [Path("matplotlibrc"), *((Path(variable), Path(variable, "matplotlibrc")) if variable else ())]
    places.append(Path(config or Path(above, "matplotlib"), "matplotlibrc"))
    path = next((path for path in places if os.path.exists(path) and not os.path.isdir(path)), None)
    try:
        if path and not stat.S_ISREG(os.stat(path).st_mode):
            raise ValueError("what is not a regular file")
        if path:
            path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RequestError(
            f"{path}: expected settings of matplotlib in UTF-8, found {error}; mend the file or move it away"
        ) from None
