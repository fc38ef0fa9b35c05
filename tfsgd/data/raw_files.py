"""Raw files as they were published: where they lie, plain or gzipped."""

import gzip
import zlib
from pathlib import Path

from tfsgd.errors import RequestError

LARGEST = 100_000_000  # bytes of a raw file's content; the largest published one has 47 million


def existing(path: Path) -> Path | None:
    """The file, or the same gzipped; `None`: neither is there.

    Raises:
        RequestError: its folder may not be looked into.
    """
    for candidate in (path, path.with_name(path.name + ".gz")):
        if is_file(candidate):
            return candidate
    return None


def is_file(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        RequestError: nobody can tell.
    """
    try:
        return path.is_file()
    except OSError as error:
        raise _unreadable(path, error) from None


def is_folder(path: Path) -> bool:
    """Whether there is such a folder.

    Raises:
        RequestError: nobody can tell.
    """
    try:
        return path.is_dir()
    except OSError as error:
        raise _unreadable(path, error) from None


def read_bytes(path: Path) -> bytes:
    """A file's content, gunzipped where its name ends in .gz.

    Raises:
        RequestError: it cannot be read, or is damaged.
    """
    try:
        with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
            content = file.read(LARGEST + 1)
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise RequestError(f"{path}: cannot be read ({error}); truncated or damaged, copy it anew") from None
    except OSError as error:
        raise _unreadable(path, error) from None
    if len(content) > LARGEST:
        raise RequestError(f"{path}: expected at most {LARGEST:,} bytes of content, found more")
    return bytes(content)


def _unreadable(path: Path, error: OSError) -> RequestError:
    shown = str(path) if len(str(path)) <= 300 else f"{str(path)[:60]}..."
    return RequestError(f"{shown}: cannot be read: {error.strerror or error}")
