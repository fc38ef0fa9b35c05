"""Files that are there whole or not at all."""

import contextlib
import json
import math
import os
import secrets
from collections.abc import Iterable, Iterator
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


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Everything that is written takes its place by this: it is there whole or not at all, also after a crash.

    A link in its place is replaced, and what it leads to stays as it is. The permissions are those of the umask.

    Args:
        path: of the file; its folder is made.

    Returns:
        A file beside it, empty and of the same suffix, to write; at the end of the block it becomes `path`.

    Raises:
        OSError: it cannot be written; with the name of `path`.
    """
    temporary = path.with_name(f".{os.getpid()}-{secrets.token_hex(4)}-{path.name[-100:]}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o666))
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
        sync(path.parent)
    except BaseException as error:
        if isinstance(error, OSError):  # a full disk tells no name
            error.filename = str(path)
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def write_atomically(path: Path, content: str | bytes | Iterable[str]) -> None:
    """Writes a text, one in pieces, or bytes; see `replacing`."""
    with replacing(path) as temporary:
        if isinstance(content, bytes):
            temporary.write_bytes(content)
        else:
            with temporary.open("w", encoding="utf-8") as file:
                file.writelines([content] if isinstance(content, str) else content)
