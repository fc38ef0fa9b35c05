"""Log folders -> studies: which records may be compared, as a table, and which trials are missing.

A study is everything that was trained and measured in the same way: one folder, or several folders
whose configs mean the same. Records are only read here; nothing in a trial's folder is changed.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
import yaml

from tfsgd.data.dataset import Dataset
from tfsgd.data.load import DATASETS
from tfsgd.errors import RequestError
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.records.record import Record
from tfsgd.reporting.paper import DATASET_NAMES, MODEL_NAMES, PAPER_EPSILON, UNDERTRAINED_MARGIN


@dataclass(frozen=True)
class Failure:
    """A trial that has no record because its last try ended with an error."""

    trial: str
    error: str


@dataclass(frozen=True)
class Study:
    """Records that can be compared with each other.

    `trials` has one row a trial (see `trial_row`); a trial of two regimes is one row.
    """

    folders: tuple[Path, ...]
    dataset: str
    model: str
    profile: str
    epochs: int
    trials: pd.DataFrame
    records: tuple[Record, ...]
    planned: int | None  # None: there is no experiment.yaml
    missing: tuple[str, ...]  # planned, neither recorded nor failed
    failures: tuple[Failure, ...]  # planned, and the last try failed
    repeated: int  # the same trial in more than one folder; it counts once
    data: Dataset | None  # None: one's own, and there is no experiment.yaml

    @property
    def title(self) -> str:
        names = MODEL_NAMES.get(self.model, self.model), DATASET_NAMES.get(self.dataset, self.dataset)
        return " on ".join(names)

    @property
    def paper_epsilon(self) -> float | None:
        """The epsilon of the paper's attacks on this data set; L-infinity, images in [0, 1]."""
        return PAPER_EPSILON.get(self.dataset)

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.data.classes if self.data else 0.1

    @property
    def attacks(self) -> list[tuple[str, float]]:
        """Every (attack, epsilon) that was measured in some trial, in order."""
        return _attacks(self.records)


def _attacks(records: Sequence[Record]) -> list[tuple[str, float]]:
    return sorted({(a.name, a.epsilon) for record in records for a in record.attacks})


def attack_column(attack: str, epsilon: float) -> str:
    """The column of the accuracy under an attack, such as `fgsm_0.3`."""
    return f"{attack}_{float(epsilon)}"


# Reading


@dataclass(frozen=True)
class _Folder:
    path: Path
    records: tuple[Record, ...]
    experiment: Experiment | None
    failures: tuple[Failure, ...]


def read_studies(paths: Sequence[Path]) -> list[Study]:
    """Reads log folders and puts those together whose trials mean the same.

    Raises:
        RequestError: a folder is not there, has no record, or holds something that is no record.
    """
    groups: dict[str, list[_Folder]] = {}
    for path in dict.fromkeys(path.resolve() for path in paths):
        folder = _read_folder(path)
        groups.setdefault(_meaning(folder), []).append(folder)
    return [_study(folders) for folders in groups.values()]


def _read_folder(path: Path) -> _Folder:
    if not path.is_dir():
        raise RequestError(f"{path}: no such folder; expected LOGS/NAME, as a sweep writes it")
    logs = LogFolder(path)
    try:
        failures = _read_failures(path)
        records = tuple(logs.records())
    except OSError as error:
        raise RequestError(f"{error.filename or path}: cannot be read: {error.strerror}") from None
    if not records:
        hint = (
            f"all of its {len(failures)} tries failed"
            if failures
            else "expected LOGS/NAME after its first trial"
        )
        raise RequestError(f"{path}: no record.json below trials/; {hint}")
    experiment = _read_experiment(logs)
    for record in records:
        _refuse_stranger(record, records[0], experiment, path)
    return _Folder(path, records, experiment, failures)


def _read_experiment(logs: LogFolder) -> Experiment | None:
    path = logs.experiment_path
    try:
        return Experiment.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # pydantic's is a ValueError
        raise RequestError(
            f"{path}: no valid config: {_first_line(error)}; the next sweep writes it anew"
        ) from None


def _first_line(error: Exception) -> str:
    """What is wrong; for a config that does not fit, the key first."""
    if hasattr(error, "errors"):
        first = error.errors()[0]
        return f"{'.'.join(str(part) for part in first['loc']) or 'the whole file'}: {first['msg']}"
    return str(error).splitlines()[0]


def _refuse_stranger(record: Record, first: Record, experiment: Experiment | None, path: Path) -> None:
    where = f"{path}/trials/{record.folder}/record.json"
    for key in ("dataset", "model", "profile", "epochs", "data_sha256"):
        expected = getattr(experiment, key, getattr(first, key))
        if getattr(record, key) != expected:
            raise RequestError(
                f"{where}: {key}: {getattr(record, key)!r} beside {expected!r}; such trials cannot be "
                "compared, keep them in folders of their own"
            )
    if experiment and _trial(record).config_hash(experiment) != record.config_hash:
        raise RequestError(
            f"{where}: config_hash: it was made with another config than {path}/experiment.yaml, or edited; "
            "move it away or train it again"
        )


def _trial(record: Record) -> Trial:
    return Trial(record.regime, record.regimes, record.settings, record.seed)


def _read_failures(path: Path) -> tuple[Failure, ...]:
    return tuple(
        _read_failure(file)
        for file in sorted((path / "trials").glob("*/*/failure.json"))
        if not (file.parent / "record.json").exists()
    )


def _read_failure(file: Path) -> Failure:
    trial = f"{file.parent.parent.name}/{file.parent.name}"
    try:
        error = str(json.loads(file.read_text(encoding="utf-8"))["error"])
    except (ValueError, KeyError, TypeError):
        error = "failure.json cannot be read"
    return Failure(trial, error.strip().splitlines()[0] if error.strip() else "no message")


# Grouping


def _meaning(folder: _Folder) -> str:
    """Equal for folders whose trials may be pooled."""
    if folder.experiment is None:
        return str(folder.path)
    meaning, profile = folder.experiment.meaning(), folder.experiment.profile
    return json.dumps([meaning, profile, folder.records[0].data_sha256], sort_keys=True)


def _study(folders: list[_Folder]) -> Study:
    found = {
        record.config_hash: (folder.path, record) for folder in reversed(folders) for record in folder.records
    }
    rows = sorted(
        found.values(), key=lambda item: (item[1].regime, item[1].batch_size, item[1].momentum, item[1].seed)
    )
    records = tuple(record for _, record in rows)
    planned: dict[str, str] = {}
    for folder in folders:
        if folder.experiment:
            planned |= {trial.config_hash(folder.experiment): trial.name for trial in grid(folder.experiment)}
    recorded = {record.folder for record in records}
    expected = {*planned.values()} - recorded
    failures = {f.trial: f for folder in folders for f in folder.failures if f.trial in expected}
    missing = [name for key, name in planned.items() if key not in found and name not in failures]
    first = records[0]
    known = [folder.experiment.data for folder in folders if folder.experiment]
    return Study(
        folders=tuple(folder.path for folder in folders),
        dataset=first.dataset,
        model=first.model,
        profile=first.profile,
        epochs=first.epochs,
        trials=_table([trial_row(record, path) for path, record in rows], _attacks(records)),
        records=records,
        planned=len(planned) if all(folder.experiment for folder in folders) else None,
        missing=tuple(missing),
        failures=tuple(failures.values()),
        repeated=sum(len(folder.records) for folder in folders) - len(records),
        data=known[0] if known else DATASETS.get(first.dataset),
    )


# Tables


def trial_row(record: Record, path: Path) -> dict[str, Any]:
    """One trial, flat: accuracies in [0, 1], `eigenvalue` is the top one of the Hessian."""
    scalars = record.model_dump(exclude={"attacks", "hessian", "history", "seconds", "versions", "regimes"})
    return {
        "folder": str(path / "trials" / record.folder),
        **scalars,
        "regimes": record.regimes,
        **record.hessian.model_dump(include={"eigenvalue", "residual", "iterations", "converged"}),
        "hessian_examples": record.hessian.examples,
        "hessian_split": record.hessian.split,
        **{f"seconds_{key}": value for key, value in record.seconds.model_dump().items()},
        **{attack_column(a.name, a.epsilon): a.accuracy for a in record.attacks},
    }


def _table(rows: list[dict[str, Any]], attacks: Sequence[tuple[str, float]]) -> pd.DataFrame:
    numbers = ["train_loss", "train_accuracy", "validation_accuracy", "test_loss", "test_accuracy"]
    numbers += ["eigenvalue", "residual", *(attack_column(*attack) for attack in attacks)]
    table = pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))
    table["undertrained"] = undertrained(table)
    return table


def undertrained(trials: pd.DataFrame) -> pd.Series:
    """Trials of cells whose mean train accuracy is 2 points or more below the best cell's.

    A cell is one setting of SGD over its seeds; only completed trials count for the mean.
    """
    completed = trials["train_accuracy"].where(trials["status"] == "completed")
    keys = [
        trials[key].fillna(0) for key in ("batch_size", "momentum", "learning_rate", "halve_every_epochs")
    ]
    cell = completed.groupby(keys).transform("mean")
    return (cell <= cell.max() - UNDERTRAINED_MARGIN) & completed.notna()


def curves(trials: pd.DataFrame) -> pd.DataFrame:
    """The trials, once for every regime that they belong to: `regime` is then that regime's label."""
    long = trials.drop(columns="regime").explode("regimes", ignore_index=True)
    return long.rename(columns={"regimes": "regime"})
