"""Records -> tables -> figures, claims, page, CSV: what the paper shows, on these trials.

Example:
    python -m tfsgd.report logs/fmnist_stdcnn
"""

import sys
from pathlib import Path
from typing import Annotated

import typer

from tfsgd.errors import RequestError
from tfsgd.reporting.page import write_report

# Figures


# Files for other programs


# The page


# The table of trials


# The command


def report(
    folders: Annotated[
        list[Path], typer.Argument(metavar="LOGS/NAME...", help="Log folders that a sweep wrote.")
    ],
) -> None:
    """Draw the paper's figures from the records of a sweep and judge its claims, with statistics."""
    print(f"report: {write_report(folders)}")


def main() -> None:
    """Runs the command; every refusal is one line on standard error."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(report)
    try:
        sys.exit(app(standalone_mode=False, prog_name="python -m tfsgd.report"))
    except RequestError as error:
        message = str(error)
    except typer.TyperException as error:
        message = f"{error.format_message()} See python -m tfsgd.report --help."
    print("error: " + " ".join(message.splitlines()), file=sys.stderr)
    sys.exit(2)


if __name__ == "__main__":
    main()
