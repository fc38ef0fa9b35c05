"""What all commands have in common: how they are spelled, how they refuse, and what they exit with."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import typer

from tfsgd import interrupts
from tfsgd.errors import RequestError

OK, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130


def spelled(name: str) -> str:
    """A command as this process was called: `tfsgd sweep`, or `python -m tfsgd.sweep`."""
    return f"tfsgd {name}" if Path(sys.argv[0]).name == "tfsgd" else f"python -m tfsgd.{name}"


def run(command: Callable[..., int | None], name: str, interrupted: str = "interrupted") -> NoReturn:
    """Runs a command and ends the process; every refusal is one line on standard error.

    TERM and HUP end it as Ctrl-C does.

    Args:
        command: a function with typer's annotations; it returns the exit code, or nothing for 0.
        name: the file of the command in this package.
        interrupted: what is said after Ctrl-C.
    """
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(command)
    interrupts.listen()
    sys.exit(outcome(app, spelled(name), interrupted))


def outcome(app: typer.Typer, prog: str, interrupted: str) -> int:
    """Runs an app; its exit code. What is wrong has then been said in one line."""
    try:
        code: Any = app(standalone_mode=False, prog_name=prog)
    except RequestError as error:
        return _refuse(str(error))
    except typer.TyperException as error:
        message = error.format_message() if hasattr(error, "format_message") else str(error)
        return _refuse(f"{message} See {prog} --help.")
    if code == INTERRUPTED:  # typer makes it of Ctrl-C
        print(interrupted, file=sys.stderr)
    return code or OK


def _refuse(message: str) -> int:
    print("error: " + " ".join(message.splitlines()), file=sys.stderr)
    return WRONG_REQUEST
