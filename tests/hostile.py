"""What hostile attempts come to: refused in one line, or survived; a lost one fails its test."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfsgd.errors import RequestError

REFUSED: Counter[str] = Counter()  # by the class of attempt
SURVIVED: Counter[str] = Counter()

LONGEST_LINE = 900  # characters; a path of a temporary folder is a part of it
# As root, reading is never denied: without these two abilities it is.
BARRED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search") if os.geteuid() == 0 else ()


def said(what: str, do: Callable[[], Any]) -> str:
    """What an attempt is refused with; empty where it survives. Anything else that it raises is lost."""
    try:
        do()
    except RequestError as refused:
        line = str(refused)
        assert line
        assert len(line.splitlines()) == 1
        assert len(line) < LONGEST_LINE
        REFUSED[what] += 1
        return line
    SURVIVED[what] += 1
    return ""


def ran(what: str, *arguments: Any, barred: bool = False, **options: Any) -> tuple[int, str, str]:
    """A command of this package in a process of its own: exit code, standard output and error."""
    if barred and BARRED and not shutil.which("setpriv"):
        pytest.skip("as root, without setpriv, reading is never denied")
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True, "timeout": 120} | options
    command = [*(BARRED if barred else ()), sys.executable, "-m", *map(str, arguments)]
    done = subprocess.run(command, **options)
    assert "Traceback" not in (done.stderr or "")
    (REFUSED if done.returncode == 2 else SURVIVED)[what] += 1
    return done.returncode, done.stdout or "", done.stderr or ""


def counted(what: str, result: tuple[int, str, str]) -> tuple[int, str, str]:
    """The result of a command in this process, counted."""
    code, out, err = result
    assert "Traceback" not in out + err
    (REFUSED if code == 2 else SURVIVED)[what] += 1
    return result


def edited(record: dict[str, Any], path: tuple[str | int, ...], value: Any) -> str:
    """A record with another value at a place, as JSON; `...` takes the place away."""
    copy = json.loads(json.dumps(record))
    place = copy
    for key in path[:-1]:
        place = place[key]
    if value is ...:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    return json.dumps(copy)


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path
