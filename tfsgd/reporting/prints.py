"""Figures as PNG and PDF, each pair by a process of its own while the next figure is drawn."""

import multiprocessing
import os
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import TracebackType

from typing_extensions import Self

from tfsgd.reporting.drawing import Drawing

FORK = multiprocessing.get_context("fork")  # a figure need not be pickled
BESIDE = max(1, len(os.sched_getaffinity(0)) - 1)  # processes beside the one that draws


class Prints:
    """The files are there, whole, when the context is left.

    Raises:
        OSError: one of them cannot be written.
        RuntimeError: one of them cannot be drawn; what is wrong with it is on standard error.
    """

    def __init__(self) -> None:
        self._running: list[tuple[ForkProcess, Path]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._running and kind is None:
            self._wait()
        for process, _ in self._running:
            process.terminate()
            process.join()

    def add(self, drawing: Drawing, path: Path) -> None:
        """Writes `path` with the suffixes `.png` and `.pdf`; the drawing may be cleared afterwards."""
        while len(self._running) >= BESIDE:
            self._wait()
        process = FORK.Process(target=_write, args=(drawing, path))
        process.start()
        self._running.append((process, path))

    def _wait(self) -> None:
        process, path = self._running.pop(0)
        process.join()
        if process.exitcode and process.exitcode > 1:
            raise OSError(process.exitcode, os.strerror(process.exitcode), str(path))
        if process.exitcode:
            raise RuntimeError(f"{path}: cannot be drawn")


def _write(drawing: Drawing, path: Path) -> None:
    """In the process: what the machine refuses is its exit code."""
    try:
        path.with_name(f"{path.name}.png").write_bytes(drawing.png())
        path.with_name(f"{path.name}.pdf").write_bytes(drawing.pdf())
    except OSError as error:
        os._exit(error.errno or 1)
