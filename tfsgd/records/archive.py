"""Arrays in a file that is whole or known to be damaged: one NumPy archive without pickles, with a SHA-256 of its content."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfsgd.records.atomic import replacing

Arrays = dict[str, NDArray[Any]]


class DamagedError(Exception):
    """It is not what was written; the message says what was found."""


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]]) -> None:
    """Writes arrays so that they are there whole or not at all, also after a crash."""
    with replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, allow_pickle=False, **arrays, sha256=np.frombuffer(_digest(arrays), np.uint8))


def read_arrays(path: Path) -> Arrays:
    """The arrays that were written.

    Raises:
        DamagedError: it cannot be read, or holds anything else than what was written.
    """
    try:
        if not path.is_file():
            raise OSError("found what is not a regular file")
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
        found = arrays.pop("sha256").tobytes()
    except Exception as error:  # zip, zlib, tokenize and NumPy each raise errors of their own
        said = str(error).splitlines()[0][:100] if str(error) else ""
        raise DamagedError(f"{type(error).__name__}{': ' if said else ''}{said}") from None
    if found != _digest(arrays):
        raise DamagedError("another SHA-256 than when it was written")
    return arrays


def _digest(arrays: Mapping[str, NDArray[Any]]) -> bytes:
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(f"{name} {arrays[name].dtype} {arrays[name].shape}".encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.digest()
