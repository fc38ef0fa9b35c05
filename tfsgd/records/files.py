"""Files that are there whole or not at all."""

import json
import math
import os
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def text_of(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        return None


def to_json(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def from_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is none; NaN, infinities and numbers beyond a double are none.
        RecursionError: too much nesting.
    """
    return json.loads(text, parse_constant=_refuse_number, parse_float=_finite)


def _finite(text: str) -> float:
    number = float(text)
    return number if math.isfinite(number) else _refuse_number(text)


def _refuse_number(text: str) -> float:
    raise ValueError(f"found {text}, which is no number of JSON or none that a double holds")


def sync(path: Path) -> None:
    """Waits until a file, or what a folder lists, is on the disk, where a power cut leaves it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_atomically(path: Path, text: str | Iterable[str]) -> None:
    """Writes a text, or one in pieces, so that it is there whole or not at all, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.writelines([text] if isinstance(text, str) else text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException as error:
        if isinstance(error, OSError):  # a full disk tells no name
            error.filename = str(path)
        Path(temporary).unlink(missing_ok=True)
        raise
