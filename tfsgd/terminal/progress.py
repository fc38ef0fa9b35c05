"""What a person sees in a terminal: progress, and nothing of what TensorFlow says to itself."""

import errno
import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from typing_extensions import Self

from tfsgd.errors import OutputLost
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.terminal.eta import Eta
from tfsgd.text import counted, printable

WIDE = 150  # columns of a log file, where nothing tells how wide a reader's window is
QUIET_SECONDS = 30  # between two lines about the same trial in a log file


class _Console(Console):
    """One that says when standard output takes nothing any more.

    Raises:
        OutputLost: the disk is full, or the reader has gone.
    """

    def print(self, *objects: Any, **options: Any) -> None:
        try:
            super().print(*objects, **options)
        except OSError as error:
            raise OutputLost(error) from None

    def on_broken_pipe(self) -> None:
        raise OutputLost(BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)))


def console() -> Console:
    """Standard output, as wide as the terminal or as a log allows; what is printed there stands as it is."""
    width = None if sys.stdout.isatty() else WIDE
    return _Console(width=width, markup=False, emoji=False, highlight=False)


def send_native_logs_to(path: Path) -> None:
    """Sends what C++ libraries print on standard error to a file; Python's own messages stay.

    TensorFlow's start-up notes come before any of its log levels count.
    """
    sys.stderr.flush()
    encoding, errors = sys.stderr.encoding, sys.stderr.errors
    messages = os.dup(sys.stderr.fileno())  # not 2: that may be the file of an earlier call
    sys.stderr = os.fdopen(messages, "w", buffering=1, encoding=encoding, errors=errors)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 2)
    os.close(file)


def warn(text: str) -> None:
    """A line on standard error about what makes numbers doubtful."""
    print(printable(f"warning: {text}"), file=sys.stderr)


class Display:
    """Progress over all trials: bars on a terminal, lines in a log. Used as a context manager.

    Args:
        trials: that are to be trained or measured.
        experiment: how long each is trained.
        logs: where the trials' files are, to tell how large the whole grid will be.
        output: where to show it.
    """

    def __init__(self, trials: list[Trial], experiment: Experiment, logs: LogFolder, output: Console) -> None:
        self._experiment = experiment
        self._trials = trials
        self._logs = logs
        self._output = output
        self._under_way: dict[str, int] = {}  # epochs done, by trial
        self._rows: dict[str, TaskID] = {}
        self._ended = 0
        self._epochs_ended = 0
        self._last_line: dict[str, float] = {}
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[doing]}"),
            TimeElapsedColumn(), TextColumn("{task.fields[left]}"),
            console=output, disable=not output.is_terminal, transient=True,
        )  # fmt: skip
        self._all = self._bars.add_task(
            "all epochs", total=sum(map(self._epochs_of, trials)), doing="", left=""
        )

    def __enter__(self) -> Self:
        recorded = {trial.name for trial in self._trials if self._logs.has_record(trial)}
        self._eta = Eta(self._trials, self._epochs_of, recorded)
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        name, epochs = trial.name, self._epochs_of(trial)
        if name not in self._rows:
            self._rows[name] = self._bars.add_task(name, total=epochs, doing="", left="")
        self._under_way[name] = epochs_done
        self._eta.reached(trial, epochs_done)
        self._bars.update(
            self._rows[name], completed=epochs_done, doing=doing, left=self._left(self._eta.of(name))
        )
        self._count()
        if not self._output.is_terminal and time.monotonic() - self._last_line.get(name, 0) > QUIET_SECONDS:
            self._last_line[name] = time.monotonic()
            left = self._left(self._eta.seconds())
            self._line(f"{name} epoch {epochs_done} of {epochs}, {doing}{left and ', '}{left}")

    def ended(self, trial: Trial, outcome: str) -> None:
        self._ended += 1
        self._eta.ended(trial)
        self._epochs_ended += self._epochs_of(trial)
        self._under_way.pop(trial.name, None)
        if trial.name in self._rows:
            self._bars.remove_task(self._rows.pop(trial.name))
        self._count()
        self._line(f"{trial.name} {outcome}")
        count = len(self._trials)
        if self._ended == 1 and count > 1:
            size = sum(f.stat().st_size for f in self._logs.trial_path(trial).rglob("*") if f.is_file())
            left = duration(self._eta.seconds())
            self._line(
                f"expect about {left} and {size * count / 1e6:.0f} MB for the {counted(count, 'trial')}"
            )

    def _epochs_of(self, trial: Trial) -> int:
        return self._experiment.epochs_of(trial.settings)

    def _count(self) -> None:
        self._bars.update(
            self._all,
            completed=self._epochs_ended + sum(self._under_way.values()),
            doing=f"{self._ended} of {counted(len(self._trials), 'trial')}",
            left=self._left(self._eta.seconds()),
        )

    def _left(self, seconds: float) -> str:
        """Nothing as long as nothing can be told."""
        if self._eta.is_known:
            return f"about {duration(seconds)} left"
        return f"at least {duration(seconds)} left" if seconds >= 1 else ""

    def _line(self, text: str) -> None:
        self._output.print(f"[{self._ended} of {len(self._trials)}] {text}", soft_wrap=True)


def duration(seconds: float) -> str:
    """Seconds for people: 41 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
