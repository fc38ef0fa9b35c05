"""The files beside the page: where they lie, figures, tables, and what an earlier report left."""

import errno
import multiprocessing
import os
import re
import sys
from collections import deque
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

import pandas as pd

from tfsgd.errors import RequestError
from tfsgd.plan.regimes import plain, settings
from tfsgd.records.atomic import from_json, to_json, write_atomically
from tfsgd.records.preflight import is_there, read_text, refuse_among_records, refuse_unwritable
from tfsgd.reporting.claims.verdicts import Judgement
from tfsgd.reporting.figures.style import Drawing
from tfsgd.reporting.page.latex import claims_table, figure_table
from tfsgd.reporting.page.spreadsheet import plain_text, without_formulas
from tfsgd.reporting.table.columns import dictionary
from tfsgd.reporting.table.studies import Study

CAN_FORK = sys.platform == "linux"  # where it can elsewhere, the system's own libraries may not bear it
AT_A_TIME = 2  # figures: on two cores all are busy
FILES = ("index.html", "records.csv", "records-columns.csv", "claims.json")
LIST = "files.json"  # of the figures and tables that a report has written
OURS = re.compile(r"figures/[\w.-]+\.(png|svg|pdf)|tables/[\w.-]+\.tex")


def report_folder(folders: Sequence[Path], out: Path | None) -> Path:
    """Where the report of these log folders is written, absolute."""
    if out is not None:
        return out.resolve()
    first, *others = dict.fromkeys(folder.resolve() for folder in folders)
    name = "-".join(["report-with", *(other.name for other in others)]) if others else "report"
    return first / name


class FigureWriter:
    """Writes figures as SVG, PNG and PDF, and lets each go: many trials make many artists.

    That takes more than half of a report's time. Where a process can be forked each figure is written by one, while the
    next ones are drawn here; the files are the same. Used as a context, which ends when all are written.

    Attributes:
        inlined: of each figure that is written, by name, the SVG as it stands in the page.
    """

    def __init__(self, target: Path) -> None:
        self.inlined: dict[str, str] = {}
        self._folder = target / "figures"
        self._writing: deque[tuple[Path, BaseProcess, Connection]] = deque()

    def save(self, drawing: Drawing) -> None:
        """Writes a figure, or has it written, and clears it.

        Raises:
            OSError: it, or one before it, cannot be written.
        """
        path = self._folder / drawing.name
        if CAN_FORK and self.inlined:
            self._wait(AT_A_TIME - 1)
            fork = multiprocessing.get_context("fork")
            receiver, sender = fork.Pipe(duplex=False)
            process = fork.Process(target=_send, args=(sender, path, drawing), daemon=True)
            process.start()
            sender.close()
            self._writing.append((path, process, receiver))
        else:  # the first loads fonts and modules, which each process has then
            self.inlined[drawing.name] = _write(path, drawing)
        drawing.figure.clear()

    def __enter__(self) -> "FigureWriter":
        return self

    def __exit__(self, error: type[BaseException] | None, *rest: object) -> None:
        try:
            if error is None:
                self._wait(0)
        finally:
            for _, process, _ in self._writing:
                process.kill()
                process.join()

    def _wait(self, most: int) -> None:
        """Until so many are not written yet, at most."""
        while len(self._writing) > most:
            path, process, receiver = self._writing.popleft()
            with receiver:
                try:
                    sent = receiver.recv()
                except EOFError:
                    sent = OSError(errno.EIO, "the process that wrote it was killed", str(path))
            process.join()
            if isinstance(sent, Exception):
                raise sent
            self.inlined[path.name] = sent


def _send(sender: Connection, path: Path, drawing: Drawing) -> None:
    """In a process of its own: sends the figure as it stands in the page, or why it could not be written."""
    try:
        sender.send(_write(path, drawing))
    except Exception as error:
        sender.send(error)


def _write(path: Path, drawing: Drawing) -> str:
    """Writes a figure's files; gives its SVG as it stands in the page."""
    svg = drawing.svg()
    write_atomically(path.with_name(f"{path.name}.svg"), svg)
    write_atomically(path.with_name(f"{path.name}.png"), drawing.png())
    write_atomically(path.with_name(f"{path.name}.pdf"), drawing.pdf())
    return drawing.inlined(svg)


def save_tables(
    target: Path,
    studies: Sequence[Study],
    judged: Sequence[Sequence[Judgement]],
    drawn: Sequence[Sequence[Drawing]],
) -> set[str]:
    """Writes records.csv with its dictionary, and for LaTeX the claims and the values of figures; gives their names."""
    table = records_table(studies, target)
    known = {plain_text(name): column for study in studies for name, column in study.columns.items()}
    write_atomically(target / "records.csv", str(table.to_csv(index=False)))
    write_atomically(
        target / "records-columns.csv", dictionary({heading: known[heading] for heading in map(str, table)})
    )
    texts: dict[str, str] = {}
    for i, (judgements, drawings) in enumerate(zip(judged, drawn, strict=True)):
        texts[f"{i + 1}-claims" if len(studies) > 1 else "claims"] = claims_table(judgements)
        texts |= {drawing.name: figure_table(drawing) for drawing in drawings}
    texts = {name: text for name, text in texts.items() if text}
    for name, text in texts.items():
        write_atomically(target / "tables" / f"{name}.tex", text)
    return set(texts)


def records_table(studies: Sequence[Study], target: Path) -> pd.DataFrame:
    """One row a trial, as it is written to records.csv."""
    table = pd.concat([study.trials for study in studies], ignore_index=True)
    table["regimes"] = table["regimes"].map(";".join)
    table["failed_checks"] = table["failed_checks"].map(lambda failed: ";".join(c.name for c in failed))
    table["folder"] = [os.path.relpath(path, target) for path in table["folder"]]
    unused = [s.name for s in settings() if s.is_beyond and (table[s.name] == plain(s.default)).all()]
    return without_formulas(table.drop(columns=unused))


# An earlier report's files


def refuse_unfit_target(target: Path) -> None:
    """Refuses a folder in which a report would be written over what is no report's.

    Raises:
        RequestError: it is no folder, cannot be written, lies among records, or holds files of another origin.
    """
    refuse_among_records(target, "--out")
    refuse_unwritable(target, "--out")
    if not target.is_dir() or is_there(target / LIST) or is_there(target / "claims.json"):
        return
    if taken := [name for name in (*FILES, "figures", "tables") if is_there(target / name)]:
        raise RequestError(
            f"{target / taken[0]}: it is in the way of a report, and no report has written it; move it away, or "
            "choose another folder with --out"
        )


def begin_report(target: Path) -> list[str]:
    """The figures and tables that an earlier report in this folder has written, as its own list says.

    The list is written again, or for the first time: where this report ends early, the next one finds a report's folder.

    Raises:
        OSError: it cannot be written.
    """
    try:
        listed = from_json(read_text(target / LIST))
    except (OSError, ValueError, RecursionError):
        listed = []
    earlier = [name for name in listed if OURS.fullmatch(str(name))] if isinstance(listed, list) else []
    write_atomically(target / LIST, to_json(earlier))
    return earlier


def remove_stale(target: Path, earlier: Sequence[str], figures: set[str], tables: set[str]) -> None:
    """Removes what the earlier report has written and this one has not, and lists what this one has."""
    now = [f"figures/{name}.{kind}" for name in figures for kind in ("png", "svg", "pdf")]
    now += [f"tables/{name}.tex" for name in tables]
    for name in set(earlier) - set(now):
        if not (target / name).parent.is_symlink():
            (target / name).unlink(missing_ok=True)
    write_atomically(target / LIST, to_json(sorted(now)))
