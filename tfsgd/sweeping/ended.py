"""What is said of a trial: on its way, and when it has ended."""

from dataclasses import dataclass
from typing import Protocol

from tfsgd.errors import RequestError
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder

IN_A_GRAPH = (
    "in user code:"  # so begins TensorFlow's error while it traces; a traceback follows, and the error last
)


class Observer(Protocol):
    """Whoever is told how a trial goes on."""

    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        """A trial has trained so many epochs and is at `doing`."""

    def ended(self, trial: Trial, outcome: str) -> None:
        """A trial has everything that was asked for, or has failed."""


@dataclass(frozen=True)
class Ended:
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
    def failed(trial: Trial, error: str, details: str, logs: LogFolder) -> "Ended":
        """Of a trial that failed, with an error of one line; it is kept beside the trial with its details."""
        try:
            logs.write_failure(trial, error, details)
        except OSError as second:  # a full disk, most likely
            error += f" (and failure.json could not be written: {second})"
        return Ended(0.0, f"failed: {error}", error)


def in_a_line(error: BaseException) -> str:
    """An error's type and the first line of what it says; a refusal speaks for itself."""
    if isinstance(error, RequestError):
        return str(error).splitlines()[0]
    if str(error).startswith(IN_A_GRAPH):
        return str(error).strip().splitlines()[-1].strip()
    return f"{type(error).__name__}: {error}".splitlines()[0]
