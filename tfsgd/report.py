"""Records -> tables -> figures, claims, page, CSV: what the paper shows, on these trials.

Example:
    python -m tfsgd.report logs/fmnist_stdcnn
"""

import gc
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from tfsgd import command, interrupts


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="LOGS/NAME...", help="Log folders that a sweep wrote.")
    ],
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Write the report here. By default it is report/ in the folder, or, of several folders, "
            "report-with-.../ in the first.",
        ),
    ] = None,
) -> None:
    """Draw the paper's figures from the records of a sweep and judge its claims, with statistics."""
    from tfsgd.reporting.page.page import (
        write_report,
    )  # matplotlib, whose settings have been looked at by now

    gc.freeze()  # what is imported stays
    gc.set_threshold(100_000, 50, 100)  # figures are many objects that live for a moment
    with Console(stderr=True).status("") as status:  # nothing where there is no terminal

        def say(doing: str) -> None:
            interrupts.check()  # Python swallows Ctrl-C in what it does at a fork, and each figure has one
            status.update(doing)

        page = write_report(folders, out, say)
        interrupts.check()
    print(f"report: {page}")


def main() -> None:
    """Runs the command; every refusal is one line on standard error."""
    command.run(report, "report")


if __name__ == "__main__":
    main()
