"""`LOGS/NAME`: the paths below it, and the only code that writes there."""

import contextlib
import fcntl
import json
import os
import shutil
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tfsgd.errors import RequestError
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial
from tfsgd.records.files import text_of, to_json, write_atomically
from tfsgd.records.record import Record


@dataclass(frozen=True)
class LogFolder:
    """`LOGS/NAME`: the paths below it, and the only code that writes records there."""

    path: Path

    @property
    def experiment_path(self) -> Path:
        return self.path / "experiment.yaml"

    @property
    def tuner_path(self) -> Path:
        return self.path / "tuner"

    def trial_path(self, trial: Trial) -> Path:
        return self.path / "trials" / trial.name

    def records(self) -> Iterator[Record]:
        """All records, in the order of their paths.

        Raises:
            RequestError: a record is no valid record, or does not belong where it lies.
        """
        for path in sorted((self.path / "trials").glob("*/*/record.json")):
            yield read_record(path)

    def record(self, trial: Trial, experiment: Experiment) -> Record | None:
        """The record of a trial; `None` if it has none yet.

        Raises:
            RequestError: what lies there is no record, or not of this trial.
        """
        path = self.trial_path(trial) / "record.json"
        if not path.exists():
            return None
        record = read_record(path)
        if record.config_hash != trial.config_hash(experiment):
            raise RequestError(f"{path}: made with another config; {another_name(experiment)}")
        return record

    def write_record(self, record: Record) -> Path:
        """Writes a record where it belongs and removes the failure of an earlier try."""
        folder = self.path / "trials" / record.folder
        write_atomically(folder / "record.json", to_json(record.model_dump(mode="json")))
        (folder / "failure.json").unlink(missing_ok=True)
        return folder / "record.json"

    def has_ended(self, trial: Trial) -> bool:
        """Whether a trial has left a record or a failure."""
        return any((self.trial_path(trial) / name).exists() for name in ("record.json", "failure.json"))

    def write_failure(self, trial: Trial, error: str, traceback: str) -> Path:
        path = self.trial_path(trial) / "failure.json"
        write_atomically(path, to_json({"trial": trial.name, "error": error, "traceback": traceback}))
        return path

    def write_experiment(self, experiment: Experiment) -> None:
        """Writes the resolved config; the next run is compared with it."""
        text = yaml.safe_dump(experiment.model_dump(mode="json"), sort_keys=False)
        write_atomically(self.experiment_path, text)

    def read_experiment(self) -> Experiment:
        """The resolved config of the sweep that runs here.

        Raises:
            RequestError: it cannot be read.
        """
        try:
            return Experiment.model_validate(yaml.safe_load(self.experiment_path.read_text()))
        except (OSError, yaml.YAMLError, ValidationError, UnicodeDecodeError) as error:
            raise RequestError(
                f"{self.experiment_path}: cannot be read: {str(error).splitlines()[0]}"
            ) from None

    def empty_scratch(self) -> None:
        """Removes what keras-tuner and the workers of an earlier run have left."""
        shutil.rmtree(self.tuner_path, ignore_errors=True)
        self.tuner_path.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keeps a second sweep out of the folder, for as long as this process lives.

        Raises:
            RequestError: another process has it; the line names that process.
        """
        with (self.path / ".lock").open("a+") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise RequestError(
                    f"{self.path}: another sweep is at work there: {file.read().strip()}; wait for it or stop it"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
            file.flush()
            yield

    def claim(self, trial: Trial, name: str) -> None:
        """Says which worker has a trial now; whoever had it before leaves it alone."""
        write_atomically(self.tuner_path / "claims" / trial.name, name)

    def claimant(self, trial: Trial) -> str | None:
        """The worker that has a trial."""
        return text_of(self.tuner_path / "claims" / trial.name)

    def beat(self, tuner_id: str, text: str) -> None:
        """A worker's sign of life: a text that it changes."""
        write_atomically(self.tuner_path / "heartbeats" / tuner_id, text)

    def heartbeat(self, tuner_id: str) -> str | None:
        """A worker's last sign of life; `None` if it never gave one."""
        return text_of(self.tuner_path / "heartbeats" / tuner_id)

    def recorded_meaning(self) -> dict[str, Any] | None:
        """What the trials in this folder mean, by its `experiment.yaml`; `None` if that is not there."""
        try:
            return self.read_experiment().meaning()
        except RequestError:
            return None


def read_record(path: Path) -> Record:
    """Reads one `record.json`.

    Raises:
        RequestError: it cannot be read, is not a record, or lies in another trial's folder.
    """
    try:
        record = Record.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(str(part) for part in first["loc"])
        raise RequestError(
            f"{path}: no valid record: {key}: {first['msg']}; remove it to train the trial again"
        ) from None
    except ValueError as error:
        raise RequestError(f"{path}: no valid JSON ({error}); remove it to train the trial again") from None
    if path.parent.parent.name + "/" + path.parent.name != record.folder:
        raise RequestError(
            f"{path}: its content belongs to trials/{record.folder}; move it there or remove it"
        )
    return record


def another_name(experiment: Experiment) -> str:
    return f"keep both with --set name={experiment.name}-2"
