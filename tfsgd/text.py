"""Parts of one-line messages: values, paths, counts, suggestions, and what an exception says."""

import difflib
import site
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FEW = 16  # keys that a line can list
_INSTALLED = tuple(
    {
        str(Path(__file__).parent),
        *(sysconfig.get_paths()[key] for key in ("stdlib", "platstdlib", "purelib", "platlib")),
        *site.getsitepackages(),
    }
)


def printable(text: str) -> str:
    """A text as a terminal may have it: control characters, which could move its cursor, are written out."""
    return text if text.isprintable() else "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)


def cut(text: str, longest: int = 60) -> str:
    """A text, printable, and not long."""
    text = text if text.isprintable() else repr(text)[1:-1]
    return text if len(text) <= longest else text[: longest - 3] + "..."


def shown(value: Any) -> str:
    """A value as Python writes it."""
    return cut(repr(value))


def shown_path(path: Path | str) -> str:
    """A path: whole, unless nobody means it."""
    return cut(str(path), 300)


def counted(number: int, noun: str) -> str:
    """`1 trial`, `2,000 trials`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def nearest(word: str, allowed: Iterable[str]) -> str:
    """A question to end a refusal with; empty where no allowed word is near."""
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


def known_keys(word: str, allowed: Iterable[str]) -> str:
    """What to end the refusal of an unknown key with: the one that is near, or all where they are few."""
    keys = list(allowed)
    few = f"; expected one of {', '.join(keys)}" if 0 < len(keys) <= FEW else ""
    return nearest(word, keys) or few


# Exceptions


def one_line(error: BaseException) -> str:
    """What an exception in code of one's own says, and where in that code, in one line of printable characters."""
    kind = type(error).__name__
    message = said(error)
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if is_own_file(frame.filename)] or frames
    file, line = (error.filename, error.lineno) if isinstance(error, SyntaxError) else (None, None)
    if file is None and own:
        file, line = own[-1].filename, own[-1].lineno
    place = f" ({file}, line {line})" if file else ""
    return printable(f"{kind}{': ' if message else ''}{message}{place}")


def said(error: BaseException) -> str:
    """What an exception says, at most 300 characters; its `__str__` may be one's own, and fail."""
    try:
        text = str(getattr(error, "msg", None) or error)
    except BaseException as second:
        text = f"its __str__ raised {type(second).__name__}"
    return printable(" ".join(text.split())[:300])


def is_own_file(file: str) -> bool:
    """Whether a traceback's file is a person's own, no part of Python, of a library, or of tfsgd."""
    return Path(file).is_absolute() and not file.startswith(_INSTALLED)


def came_from_own(error: BaseException) -> bool:
    """Whether code of one's own raised it, or called what did."""
    return any(is_own_file(frame.filename) for frame in traceback.extract_tb(error.__traceback__))
