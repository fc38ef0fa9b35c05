"""The command `tfsgd`: each of its subcommands is a file of this package, imported when it is asked for."""

import importlib
import sys
from typing import Annotated

import typer

from tfsgd import __version__, command
from tfsgd.errors import RequestError

COMMANDS = {
    "sweep": "Train and measure every trial of a grid of SGD settings.",
    "measure": "Measure networks that are there already.",
    "report": "Draw the figures from a sweep's records and judge the paper's claims.",
    "barriers": "Compute how far the loss rises between a sweep's networks.",
    "export": "Write a sweep's records as CSV, Parquet, or RobustBench's entries.",
}


def main() -> None:
    """Runs a subcommand; every refusal is one line on standard error."""
    if sys.argv[1:] and sys.argv[1] in COMMANDS:
        _run(sys.argv[1])
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.callback(invoke_without_command=True)(tfsgd)
    for name, text in COMMANDS.items():
        app.command(name, help=text)(lambda: None)
    command.leave(command.outcome(app, "tfsgd", "interrupted"))


def tfsgd(
    ctx: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """SGD hyperparameters, adversarial robustness and curvature, measured on a grid of settings."""
    if version:
        print(f"tfsgd {__version__}")
    elif ctx.invoked_subcommand is None:
        raise RequestError(f"tfsgd: expected a command: {', '.join(COMMANDS)}. See tfsgd --help.")


def _run(name: str) -> None:
    sys.argv[1:2] = []
    importlib.import_module(f"tfsgd.{name}").main()
