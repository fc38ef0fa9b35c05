"""What a trial is called, where its files are, and the record that is its result.

Everything below `LOGS/NAME` derives from hyperparameters here and nowhere else. A record is
written once, atomically, at the end of a trial; whether a trial has been done is decided by
`config_hash`, never by a path.
"""

import contextlib
import fcntl
import hashlib
import json
import math
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from tfsgd.config import Experiment, slug
from tfsgd.errors import RequestError
from tfsgd.regimes import SGDSettings

# Trials


@dataclass(frozen=True)
class Trial:
    """One point of the grid: SGD settings and a seed, and the regimes that they belong to."""

    regime: str  # the label under which it is stored: the first of `regimes`
    regimes: tuple[str, ...]
    settings: SGDSettings
    seed: int

    @property
    def name(self) -> str:
        """Its folder below `trials/`, such as `lr-bs/b0064-m0.9-s0`."""
        s = self.settings
        return f"{slug(self.regime)}/b{s.batch_size:04d}-m{s.momentum}-s{self.seed}"

    def config_hash(self, experiment: Experiment) -> str:
        """SHA-256 of everything that determines the trial's numbers: not labels, axes or paths."""
        return _config_hash(experiment.meaning(), self.settings, self.seed)


def _config_hash(meaning: dict[str, Any], settings: SGDSettings, seed: int) -> str:
    what = json.dumps([meaning, asdict(settings), seed], sort_keys=True)
    return hashlib.sha256(what.encode()).hexdigest()


def grid(experiment: Experiment) -> list[Trial]:
    """The trials of an experiment, seed by seed.

    Settings that are equal in several regimes (LR and LR/BS at batch size 64) are one trial, which
    names all of them and is stored under the first.
    """
    trials: dict[tuple[SGDSettings, int], Trial] = {}
    for seed in experiment.seeds:
        for label, regime in experiment.regimes.items():
            for batch_size in experiment.batch_sizes:
                for momentum in regime.momentum:
                    settings = regime.settings(batch_size, momentum)
                    known = trials.get((settings, seed), Trial(label, (), settings, seed))
                    trials[settings, seed] = replace(known, regimes=(*known.regimes, label))
    return list(trials.values())


# Records


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]  # NaN is null


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AttackResult(_Part):
    """Accuracy under one attack at one epsilon, over all attacked images."""

    name: str
    norm: str
    epsilon: float
    steps: int
    step_size: float
    random_start: bool
    restarts: int
    early_stop: bool
    examples: int
    clean_accuracy: Number
    accuracy: Number


class HessianResult(_Part):
    """The top eigenvalue of the Hessian of the mean cross-entropy, and how well it is known."""

    eigenvalue: Number
    residual: Number
    iterations: int
    converged: bool
    examples: int
    split: str


class Seconds(_Part):
    train: float
    attacks: float
    hessian: float


class Record(_Part):
    """The result of one trial: the keys of `record.json`. Accuracies are fractions in [0, 1]."""

    name: str
    dataset: str
    model: str
    regime: str
    regimes: tuple[str, ...]
    batch_size: int
    momentum: float
    learning_rate: float
    halve_every_epochs: int | None
    seed: int
    epochs: int
    profile: Literal["full", "quick"]
    status: Literal["completed", "diverged", "collapsed"]
    train_loss: Number
    train_accuracy: Number
    validation_accuracy: Number
    test_loss: Number
    test_accuracy: Number
    train_examples: int
    validation_examples: int
    test_examples: int
    attacks: tuple[AttackResult, ...]
    zero_gradient_fraction: Number
    hessian: HessianResult
    history: dict[str, tuple[Number, ...]]
    seconds: Seconds
    versions: dict[str, str]
    device: str
    threads: int
    onednn: bool
    replicas: int
    git_commit: str | None
    data_sha256: str
    config_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def settings(self) -> SGDSettings:
        return SGDSettings(self.batch_size, self.momentum, self.learning_rate, self.halve_every_epochs)

    @property
    def folder(self) -> str:
        """Where it was stored below `trials/`."""
        return Trial(self.regime, self.regimes, self.settings, self.seed).name

    def accuracy(self, attack: str, epsilon: float) -> float | None:
        """Accuracy under an attack at an epsilon; `None` if it was not measured."""
        return next((a.accuracy for a in self.attacks if (a.name, a.epsilon) == (attack, epsilon)), None)


# Files


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
            raise RequestError(f"{path}: made with another config; {_another_name(experiment)}")
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
        return _text(self.tuner_path / "claims" / trial.name)

    def beat(self, tuner_id: str, text: str) -> None:
        """A worker's sign of life: a text that it changes."""
        write_atomically(self.tuner_path / "heartbeats" / tuner_id, text)

    def heartbeat(self, tuner_id: str) -> str | None:
        """A worker's last sign of life; `None` if it never gave one."""
        return _text(self.tuner_path / "heartbeats" / tuner_id)

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


def _text(path: Path) -> str | None:
    try:
        return path.read_text()
    except OSError:
        return None


def to_json(value: Any) -> str:
    return json.dumps(value, indent=1, allow_nan=False) + "\n"


def write_atomically(path: Path, text: str) -> None:
    """Writes a file so that it is there whole or not at all, also after a crash."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


# What is done, what is left


def finished(logs: LogFolder, experiment: Experiment) -> dict[str, Record]:
    """The records of a folder by `config_hash`, once it is sure that they mean the same.

    Raises:
        RequestError: a record in the folder was made with another config; the line names the key.
    """
    records = {record.config_hash: record for record in logs.records()}
    for record in records.values():
        _refuse_other_meaning(record, logs, experiment)
    at = {record.folder: record for record in records.values()}
    for trial in grid(experiment):
        other = at.get(trial.name)
        if trial.config_hash(experiment) not in records and other is not None:
            keys = [key for key, value in asdict(trial.settings).items() if getattr(other, key) != value]
            raise RequestError(
                f"regimes.{trial.regime}: {logs.path} holds {trial.name} with another {' and '.join(keys)}; "
                f"{_another_name(experiment)}"
            )
    return records


def results(trials: list[Trial], experiment: Experiment, logs: LogFolder) -> list[tuple[Trial, Record]]:
    """The trials that have a record, with it, in the order of the grid.

    Raises:
        RequestError: as `finished`.
    """
    done = finished(logs, experiment)
    pairs = ((trial, done.get(trial.config_hash(experiment))) for trial in trials)
    return [(trial, record) for trial, record in pairs if record is not None]


def name_regimes(done: list[tuple[Trial, Record]], logs: LogFolder) -> None:
    """Adds the labels that a grown grid gives to recorded trials; no number changes."""
    for trial, record in done:
        labels = tuple(dict.fromkeys((*record.regimes, *trial.regimes)))
        if labels != record.regimes:
            logs.write_record(record.model_copy(update={"regimes": labels}))


def refuse_other_data(done: list[tuple[Trial, Record]], sha256: str, source: str, logs: LogFolder) -> None:
    """Refuses to mix records that were measured on other images.

    Raises:
        RequestError: a record's `data_sha256` is another one.
    """
    for _, record in done:
        if record.data_sha256 != sha256:
            raise RequestError(
                f"{source}: its images are not those that the records in {logs.path} were measured on; "
                f"use the same files, or keep both with --set name={record.name}-2"
            )


def _refuse_other_meaning(record: Record, logs: LogFolder, experiment: Experiment) -> None:
    meaning = experiment.meaning()
    if _config_hash(meaning, record.settings, record.seed) == record.config_hash:
        return
    recorded = _flat(logs.recorded_meaning() or {})
    wanted = _flat(meaning)
    changed = [
        key for key in sorted({*wanted, *recorded}) if recorded and recorded.get(key) != wanted.get(key)
    ]
    if not changed:
        raise RequestError(
            f"{logs.path}/trials/{record.folder}/record.json: made with another config; {_another_name(experiment)}"
        )
    key = changed[0]
    raise RequestError(
        f"{key}: {logs.path} holds trials made with {recorded.get(key)!r}, this config says {wanted.get(key)!r}; "
        f"{_another_name(experiment)}"
    )


def _another_name(experiment: Experiment) -> str:
    return f"keep both with --set name={experiment.name}-2"


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
