"""Records -> tables -> figures, claims, page, CSV: what the paper shows, on these trials.

Example:
    python -m tfsgd.report logs/fmnist_stdcnn
"""

import gc
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from tfsgd import command, interrupts
from tfsgd.errors import RequestError
from tfsgd.records.folder import LogFolder
from tfsgd.records.outcomes import said_of_lost
from tfsgd.terminal.progress import warn
from tfsgd.text import known_keys

if TYPE_CHECKING:
    from tfsgd.reporting.figures.style import Look

PRINTED = 8.0  # points, where a width on paper is asked for
SMALLEST, LARGEST = 4.0, 40.0  # points


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
    claims: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A YAML file with `claims:` of your own, to be judged besides."),
    ] = None,
    figures: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME,...", help="Draw these figures alone; all: every one that the records allow."
        ),
    ] = None,
    paper_figure: Annotated[
        int | None, typer.Option(metavar="N", help="Draw the paper's figure N, and nothing else.")
    ] = None,
    width: Annotated[
        str | None,
        typer.Option(
            metavar="column|text", help="Draw figures for print, as wide as a column or the text of a page."
        ),
    ] = None,
    font_size: Annotated[
        float | None, typer.Option(metavar="POINTS", help="The size of type as printed; 8 with --width.")
    ] = None,
    formats: Annotated[
        str, typer.Option("--format", metavar="png,svg,pdf", help="The files of each figure.")
    ] = "png,svg,pdf",
) -> None:
    """Draw the paper's figures from the records of a sweep and judge its claims, with statistics."""
    from tfsgd.reporting.page.page import (  # after matplotlib's settings were looked at
        write_paper_figure,
        write_report,
    )

    gc.freeze()  # what is imported stays
    gc.set_threshold(100_000, 50, 100)  # figures are many objects that live for a moment
    look = look_of(width, font_size, formats)
    names = [name for text in figures or () for name in text.split(",")]
    if paper_figure is not None:
        for path in write_paper_figure(folders, paper_figure, out, look):
            print(f"figure: {path}")
        return
    with Console(stderr=True).status("") as status:  # nothing where there is no terminal

        def say(doing: str) -> None:
            interrupts.check()  # a library may have caught it
            status.update(doing)

        page = write_report(folders, out, say, claims=claims, figures=names, look=look)
        interrupts.check()
    for folder in folders:
        if lost := said_of_lost(folder, LogFolder(folder).records()):
            warn(lost)
    print(f"report: {page}")


def look_of(width: str | None, font_size: float | None, formats: str) -> "Look":
    """How large figures are, as the command line says.

    Raises:
        RequestError: a value that no figure can have.
    """
    from tfsgd.reporting.figures.style import FONT, FORMATS, SCREEN, WIDTHS, Look

    if width is not None and width not in WIDTHS:
        raise RequestError(f"--width: no width '{width}'{known_keys(width, WIDTHS)}")
    if font_size is not None and not SMALLEST <= font_size <= LARGEST:
        raise RequestError(
            f"--font-size: expected {SMALLEST:g} to {LARGEST:g} points, received {font_size:g}"
        )
    kinds = [kind for kind in FORMATS if kind in formats.split(",")]
    for kind in formats.split(","):
        if kind not in FORMATS:
            raise RequestError(f"--format: no format '{kind}'{known_keys(kind, FORMATS)}")
    size = font_size or (PRINTED if width else FONT)
    return Look(WIDTHS[width] if width else SCREEN, size, tuple(kinds))


def main() -> None:
    """Runs the command; every refusal is one line on standard error."""
    command.run(report, "report")


if __name__ == "__main__":
    main()
