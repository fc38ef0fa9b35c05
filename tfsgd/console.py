"""What a person sees in a terminal: progress, tables, and nothing of what TensorFlow says to itself."""

import os
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from rich.table import Table

from tfsgd.config import Experiment
from tfsgd.records import LogFolder, Record, Trial

WIDE = 150  # columns of a log file, where nothing tells how wide a reader's window is
QUIET_SECONDS = 30  # between two lines about the same trial in a log file


def console() -> Console:
    """Standard output, as wide as the terminal or as a log allows."""
    return Console() if sys.stdout.isatty() else Console(width=WIDE)


def send_native_logs_to(path: Path) -> None:
    """Sends what C++ libraries print on standard error to a file; Python's own messages stay.

    TensorFlow's start-up notes come before any of its log levels count.
    """
    sys.stderr.flush()
    sys.stderr = os.fdopen(os.dup(2), "w", buffering=1)
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    os.dup2(file, 2)
    os.close(file)


class Display:
    """Progress over all trials: bars on a terminal, lines in a log. Used as a context manager.

    Args:
        trials: how many are to be trained.
        epochs: of each.
        logs: where the trials' files are, to tell how large the whole grid will be.
        output: where to show it.
    """

    def __init__(self, trials: int, epochs: int, logs: LogFolder, output: Console) -> None:
        self._epochs = epochs
        self._trials = trials
        self._logs = logs
        self._output = output
        self._under_way: dict[str, int] = {}  # epochs done, by trial
        self._rows: dict[str, TaskID] = {}
        self._ended = 0
        self._head_start = 0  # epochs that an earlier run has trained
        self._last_line: dict[str, float] = {}
        self._bars = Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[doing]}"),
            TimeElapsedColumn(), TextColumn("left"), TimeRemainingColumn(),
            console=output, disable=not output.is_terminal, transient=True,
        )  # fmt: skip
        self._all = self._bars.add_task("all epochs", total=trials * epochs, doing="")

    def __enter__(self) -> Self:
        self._began = time.monotonic()
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bars.stop()

    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        name = trial.name
        if name not in self._rows:
            self._rows[name] = self._bars.add_task(name, total=self._epochs, doing="")
            self._head_start += max(epochs_done - 1, 0)
        self._under_way[name] = epochs_done
        self._bars.update(self._rows[name], completed=epochs_done, doing=doing)
        self._count()
        if not self._output.is_terminal and time.monotonic() - self._last_line.get(name, 0) > QUIET_SECONDS:
            self._last_line[name] = time.monotonic()
            self._line(
                f"{name} epoch {epochs_done} of {self._epochs}, {doing}, about {duration(self._seconds_left())} left"
            )

    def ended(self, trial: Trial, outcome: str) -> None:
        self._ended += 1
        self._under_way.pop(trial.name, None)
        if trial.name in self._rows:
            self._bars.remove_task(self._rows.pop(trial.name))
        self._count()
        self._line(f"{trial.name} {outcome}")
        if self._ended == 1 and self._trials > 1:
            size = sum(f.stat().st_size for f in self._logs.trial_path(trial).rglob("*") if f.is_file())
            self._line(
                f"expect about {duration(self._seconds_left())} and {size * self._trials / 1e6:.0f} MB for the {self._trials} trials"
            )

    def _count(self) -> None:
        self._bars.update(
            self._all, completed=self._epochs_done(), doing=f"{self._ended} of {self._trials} trials"
        )

    def _epochs_done(self) -> int:
        return self._ended * self._epochs + sum(self._under_way.values())

    def _seconds_left(self) -> float:
        done, total = self._epochs_done(), self._trials * self._epochs
        return (time.monotonic() - self._began) * (total - done) / max(done - self._head_start, 1)

    def _line(self, text: str) -> None:
        self._output.print(
            f"[{self._ended} of {self._trials}] {text}", markup=False, highlight=False, soft_wrap=True
        )


def duration(seconds: float) -> str:
    """Seconds for people: 41 s, 12 min, 3.4 h."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def plan_table(trials: list[Trial], experiment: Experiment) -> Table:
    """The trials with their SGD settings."""
    table = Table(
        title=f"{experiment.name}: {len(trials)} trials of {experiment.epochs} epochs", title_justify="left"
    )
    for heading in ("trial", "regimes"):
        table.add_column(heading)
    for heading in ("batch_size", "momentum", "learning_rate", "halved every", "seed"):
        table.add_column(heading, justify="right")
    for trial in trials:
        s = trial.settings
        halving = f"{s.halve_every_epochs} epochs" if s.halve_every_epochs else "never"
        table.add_row(
            trial.name, " = ".join(trial.regimes), str(s.batch_size), str(s.momentum),
            f"{s.learning_rate:g}", halving, str(trial.seed),
        )  # fmt: skip
    return table


def results_table(results: list[tuple[Trial, Record]], experiment: Experiment) -> Table:
    """The trials with what was measured; of each attack the smallest and the largest epsilon."""
    table = Table(
        title=f"{experiment.name}: accuracies are fractions, λ1 is the top Hessian eigenvalue",
        title_justify="left",
    )
    table.add_column("regimes")
    shown = [
        (name, epsilon)
        for name, attack in (("fgsm", experiment.attacks.fgsm), ("pgd", experiment.attacks.pgd))
        for epsilon in (sorted({min(attack.epsilon), max(attack.epsilon)}) if attack else ())
    ]
    headings = [
        "batch",
        "momentum",
        "rate",
        "seed",
        "train",
        "test",
        *(f"{n} {e:g}" for n, e in shown),
        "λ1",
        "time",
    ]
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column("status")
    for trial, record in results:
        s = trial.settings
        hessian = record.hessian
        eigenvalue = _number(hessian.eigenvalue, ".4g") + ("" if hessian.converged else "?")
        seconds = record.seconds.train + record.seconds.attacks + record.seconds.hessian
        table.add_row(
            " = ".join(record.regimes), str(s.batch_size), str(s.momentum), f"{s.learning_rate:g}", str(trial.seed),
            _number(record.train_accuracy), _number(record.test_accuracy),
            *(_number(record.accuracy(*attack)) for attack in shown), eigenvalue, duration(seconds), record.status,
        )  # fmt: skip
    if any(not record.hessian.converged for _, record in results):
        table.caption = "?: power iteration ended before its residual was below the tolerance"
    return table


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
