"""What all commands have in common: how they are spelled, how they refuse, and what they exit with."""

import codecs
import contextlib
import errno
import functools
import gc
import math
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NoReturn

import typer

from tfsgd import interrupts
from tfsgd.environment import refuse_other_keras, refuse_unreadable_matplotlibrc
from tfsgd.errors import OutputLost, RequestError
from tfsgd.text import came_from_own, cut, one_line, printable, shown_path

OK, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130
IN_OTHER_WORDS = {"λ": "lambda", "ε": "epsilon", "γ": "gamma", "η": "eta", "×": "x", "≤": "<=", "−": "-", "…": "..."}  # fmt: skip


def spelled(name: str) -> str:
    """A command as this process was called: `tfsgd sweep`, or `python -m tfsgd.sweep`."""
    return f"tfsgd {name}" if Path(sys.argv[0]).name == "tfsgd" else f"python -m tfsgd.{name}"


def refuse_no_folder(data: Path | None) -> None:
    """Refuses a `--data` that is not there.

    Raises:
        RequestError: it is no folder.
    """
    if data is not None and not data.is_dir():
        raise RequestError(f"--data {shown_path(data)}: expected a folder with data sets, found none")


def numbers(option: str, text: str | None, default: float) -> tuple[float, ...]:
    """The numbers of an option, with commas between them.

    Raises:
        RequestError: one of them is none.
    """
    try:
        found = tuple(float(one) for one in text.split(",")) if text else (default,)
    except ValueError:
        found = (math.nan,)
    if not all(map(math.isfinite, found)):
        raise RequestError(
            f"{option} {cut(text or '')}: expected a number, or one for each channel, such as 0.49,0.48,0.45"
        )
    return found


def say_failures(failures: Mapping[str, str]) -> int:
    """Says which trials have failed and why, a line each; the exit code."""
    for name, reason in failures.items():
        print(printable(f"failed: {name}: {reason}"), file=sys.stderr)
    return SOME_FAILED if failures else OK


def run(
    command: Callable[..., int | None], name: str, interrupted: str = "interrupted", gentle: bool = False
) -> NoReturn:
    """Runs a command and ends the process; every refusal is one line on standard error.

    TERM and HUP end it as Ctrl-C does.

    Args:
        command: a function with typer's annotations; it returns the exit code, or nothing for 0.
        name: the file of the command in this package.
        interrupted: what is said after Ctrl-C, and after the signals TERM and HUP.
        gentle: a first Ctrl-C waits for the trials at hand, see `tfsgd.interrupts.finishing`.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(_noticing_lost_output(command))
    interrupts.listen(gentle)
    leave(outcome(app, spelled(name), interrupted))


def leave(code: int) -> NoReturn:
    """Ends the process; without a last look for garbage among all of TensorFlow, which takes a second."""
    gc.freeze()
    sys.exit(code)


def outcome(app: typer.Typer, prog: str, interrupted: str) -> int:
    """Runs an app; its exit code. What is wrong has then been said in one line."""
    _fill_closed_streams()
    _say_what_a_locale_lacks_in_other_words()
    try:
        _refuse_empty(sys.argv[1:])
        _refuse_other_encodings(sys.argv[1:])
        refuse_other_keras()
        refuse_unreadable_matplotlibrc()
        code: Any = app(standalone_mode=False, prog_name=prog)
        if lost_output := _error_of_output():
            raise OutputLost(lost_output)
    except RequestError as error:
        return _refuse(str(error))
    except typer.TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        message = message.replace("Input should be", "expected").rstrip(".")
        return _refuse(f"{message}. See {prog} --help.")
    except OutputLost as lost:
        return _without_output(lost.reason, interrupted)
    except KeyboardInterrupt as error:
        if not interrupts.was_meant(error) and came_from_own(error):
            return _refuse(one_line(error))
        code = INTERRUPTED
    except OSError as error:  # of the machine: a full disk, a name that is too long, no permission
        if lost_output := _error_of_output():
            return _without_output(lost_output, interrupted)
        return _refuse(f"{shown_path(error.filename or prog)}: {error.strerror or error}")
    except BaseException as error:  # what code of one's own raised where nobody else has heard it
        if "can't start new thread" in str(error):
            return _refuse(f"{prog}: {error}; raise the limit of processes (ulimit -u)")
        if not came_from_own(error):
            raise
        return _refuse(one_line(error))
    if code == INTERRUPTED:  # typer makes it of Ctrl-C
        _say(interrupted)
    return code or OK


def _refuse_empty(arguments: list[str]) -> None:
    """`--logs ""` is what a shell makes of a variable that is not set; as a path it would be this folder."""
    for before, argument in zip(["", *arguments], arguments, strict=False):
        option, equals, value = argument.partition("=")
        if not argument or (option.startswith("--") and equals and not value):
            raise RequestError(f"{option or before or 'argument 1'}: expected a value, found an empty one")


def _current_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed; what is looked for in it is not there
        return ""


def _refuse_other_encodings(arguments: list[str]) -> None:
    """TensorFlow takes every path for UTF-8: with another one it writes beside the folder that is meant, or fails."""
    for argument in [*arguments, _current_folder()]:
        if os.fsencode(argument) != argument.encode("utf-8", "replace"):
            raise RequestError(
                f"{shown_path(argument)}: expected ASCII or UTF-8, in a locale that has it; rename it, or set LC_ALL=C.UTF-8"
            )


def _refuse(message: str) -> int:
    _say("error: " + printable(" ".join(message.splitlines())))
    return WRONG_REQUEST


def _say(line: str) -> None:
    with contextlib.suppress(OSError):  # a terminal that is gone
        print(line, file=sys.stderr, flush=True)


# Standard output, which may be closed, full, or without a reader


def _fill_closed_streams() -> None:
    """Opens the null device where a standard stream is closed: the next file would take its number, and be written to."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # it gets the lowest number that is free
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))


def _say_what_a_locale_lacks_in_other_words() -> None:
    """On a terminal that is not set to UTF-8: `lambda1`."""
    codecs.register_error("tfsgd.in_other_words", _in_other_words)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="tfsgd.in_other_words")


def _in_other_words(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return IN_OTHER_WORDS.get(error.object[error.start], "?"), error.start + 1


def _noticing_lost_output(command: Callable[..., int | None]) -> Callable[..., int | None]:
    """A command whose broken pipe is ours to tell of; typer would end without a word."""

    @functools.wraps(command)
    def noticing(*arguments: Any, **options: Any) -> int | None:
        try:
            return command(*arguments, **options)
        except BrokenPipeError as error:
            raise OutputLost(error) from None

    return noticing


def _error_of_output() -> OSError | None:
    try:
        sys.stdout.flush()
    except OSError as error:
        return error
    return None


def _without_output(reason: OSError, interrupted: str) -> int:
    """Says why; what Python would still write at its end goes to the null device."""
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 1)
    os.close(null)
    if reason.errno == errno.EPIPE:
        _say(f"nobody reads the output: {interrupted}")
        return INTERRUPTED
    return _refuse(f"standard output: {reason.strerror}: {interrupted}")
