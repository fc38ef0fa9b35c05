"""Raw files as they were published: where they lie, plain or gzipped."""

import gzip
import zlib
from pathlib import Path

from tfsgd.errors import RequestError


def existing(path: Path) -> Path | None:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


def read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(f"{path}: cannot be read ({error}); truncated or damaged, copy it anew") from None
