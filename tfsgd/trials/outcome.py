"""What is said of a trial: on its way, and when it has ended."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

from tfsgd import interrupts
from tfsgd.errors import OutputLost, RequestError
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import Superseded
from tfsgd.text import came_from_own, one_line, printable

IN_A_GRAPH = (
    "in user code:"  # so begins TensorFlow's error while it traces; a traceback follows, and the error last
)


class Callbacks(Protocol):
    """Whoever is told how a trial goes on."""

    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        """A trial has trained so many epochs and is at `doing`."""

    def ended(self, trial: Trial, outcome: str) -> None:
        """A trial has everything that was asked for, or has failed."""


@dataclass(frozen=True)
class TrialOutcome:
    """What became of a trial.

    Attributes:
        accuracy: on the validation images; 0 of a network that diverged, or where the trial failed.
        said: in a few words.
        error: in one line, of a trial that failed.
    """

    accuracy: float
    said: str
    error: str | None = None

    @staticmethod
    def failed(trial: Trial, error: str, details: str, logs: LogFolder) -> "TrialOutcome":
        """Of a trial that failed, with an error of one line; it is kept beside the trial with its details."""
        try:
            logs.write_failure(trial, error, details)
        except OSError as second:  # a full disk, most likely
            error += f" (and failure.json could not be written: {second})"
        return TrialOutcome(0.0, f"failed: {error}", error)


def in_a_line(error: BaseException) -> str:
    """An error's type and the first line of what it says; a refusal speaks for itself."""
    if isinstance(error, RequestError):
        return printable(str(error).splitlines()[0])
    if str(error).startswith(IN_A_GRAPH):
        return printable(str(error).strip().splitlines()[-1].strip())
    if came_from_own(error):
        return one_line(error)
    return printable(f"{type(error).__name__}: {error}".splitlines()[0])


@contextlib.contextmanager
def only_own_failures() -> Iterator[None]:
    """Passes on what ends a command; every other exception of code of one's own is a failure of what it was to do.

    Raises:
        RequestError: code of one's own raised what is no `Exception`, such as SystemExit or KeyboardInterrupt.
    """
    try:
        yield
    except (Exception, Superseded, OutputLost):
        raise
    except BaseException as error:
        if interrupts.was_meant(error) or not came_from_own(error):
            raise
        raise RequestError(one_line(error)) from error
