"""Records -> tables -> figures, claims, page, CSV: what the paper shows, on these trials.

Example:
    python -m tfsgd.report logs/fmnist_stdcnn
"""

from pathlib import Path
from typing import Annotated

import typer

from tfsgd import command
from tfsgd.reporting.page import write_report


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
    print(f"report: {write_report(folders, out)}")


def main() -> None:
    """Runs the command; every refusal is one line on standard error."""
    command.run(report, "report")


if __name__ == "__main__":
    main()
