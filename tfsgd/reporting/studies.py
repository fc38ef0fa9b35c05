"""Log folders -> studies: which records may be compared, as a table, and which trials are missing.

A study is everything that was trained and measured in the same way: one folder, or several folders
whose configs mean the same. Records are only read here; nothing in a trial's folder is changed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, astuple, dataclass, replace
from pathlib import Path
from typing import Any

import pandas as pd

from tfsgd.data.dataset import Dataset
from tfsgd.data.load import DATASETS
from tfsgd.errors import RequestError
from tfsgd.measures.spec import Measurement, Split
from tfsgd.models import MODELS
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import grid, training_of
from tfsgd.plan.wanted import HESSIAN, SPLITS, natural, top_eigenvalue, wanted
from tfsgd.records.access import folders_in, is_there, read_text
from tfsgd.records.files import from_json
from tfsgd.records.folder import LogFolder
from tfsgd.records.record import Record
from tfsgd.reporting.derived import derived
from tfsgd.reporting.paper import UNDERTRAINED_MARGIN


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
    data: Dataset | None  # None: one's own, and there is no experiment.yaml
    model: str
    profile: str
    epochs: int
    trials: pd.DataFrame
    records: tuple[Record, ...]
    planned: int | None  # None: there is no experiment.yaml
    missing: tuple[str, ...]  # planned, neither recorded nor failed
    failures: tuple[Failure, ...]  # planned, and the last try failed
    repeated: int  # the same trial in more than one folder; it counts once

    @property
    def title(self) -> str:
        return f"{self.model_title} on {self.dataset_title}"

    @property
    def dataset_title(self) -> str:
        return self.data.title if self.data else self.dataset

    @property
    def model_title(self) -> str:
        return MODELS[self.model].title if self.model in MODELS else self.model.rpartition(":")[2]

    @property
    def paper_epsilon(self) -> float | None:
        """The epsilon of the paper's attacks on this data set; L-infinity, images in [0, 1]."""
        return self.data.paper_epsilon if self.data else None

    @property
    def chance(self) -> float:
        """The accuracy of guessing."""
        return 1 / self.records[0].classes

    @property
    def attacks(self) -> list[tuple[str, float]]:
        """Every (attack, epsilon) that was measured in some trial, in order."""
        return list(self.trials.attrs["attacks"])


def _attacks(rows: Sequence[_Row]) -> list[tuple[str, float]]:
    return sorted({key for row in rows for key in row.attacks})


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
    return logs.read_experiment() if is_there(logs.experiment_path) else None


def _refuse_stranger(record: Record, first: Record, experiment: Experiment | None, path: Path) -> None:
    where = f"{path}/trials/{record.folder}/record.json"
    for key in ("dataset", "model", "profile", "epochs", "train_examples", "data_sha256", "model_sha256"):
        expected = getattr(experiment, key, None) or getattr(first, key)
        if getattr(record, key) != expected:
            raise RequestError(
                f"{where}: {key}: {getattr(record, key)!r} beside {expected!r}; such trials cannot be "
                "compared, keep them in folders of their own"
            )


def _read_failures(path: Path) -> tuple[Failure, ...]:
    files = (
        folder / "failure.json" for regime in folders_in(path / "trials") for folder in folders_in(regime)
    )
    return tuple(
        _read_failure(file) for file in files if is_there(file) and not is_there(file.parent / "record.json")
    )


def _read_failure(file: Path) -> Failure:
    trial = f"{file.parent.parent.name}/{file.parent.name}"
    try:
        error = str(from_json(read_text(file))["error"])
    except (ValueError, KeyError, TypeError, RecursionError):
        error = "failure.json cannot be read"
    return Failure(trial, error.strip().splitlines()[0] if error.strip() else "no message")


# Grouping


def _meaning(folder: _Folder) -> str:
    """Equal for folders whose trials may be pooled: trained and measured in the same way, whatever the settings of SGD."""
    if folder.experiment is None:
        return str(folder.path)
    first, experiment = folder.records[0], folder.experiment
    same = [
        getattr(first, key)
        for key in ("profile", "dataset", "model", "data_sha256", "model_sha256", "epochs")
    ]
    requests = [
        [request.label, replace(request, epsilon=None if request.epsilon is None else 0.0).identity]
        for request in wanted(experiment, 0)
    ]
    return json.dumps([*same, first.train_examples, sorted(map(list, {tuple(r) for r in requests}))])


@dataclass(frozen=True)
class _Row:
    """A record, and of its measurements those that its folder's config asks for."""

    record: Record
    path: Path
    experiment: Experiment | None

    def natural(self, split: Split) -> Measurement | None:
        if self.experiment is None:
            return self.record.natural(split)
        [request] = natural({split: self.experiment.examples(split)})
        return self.record.find(request)

    @property
    def top_eigenvalue(self) -> Measurement | None:
        if self.experiment is None:
            return self.record.top_eigenvalue
        return self.record.find(top_eigenvalue(self.experiment))

    @property
    def attacks(self) -> dict[tuple[str, float], Measurement | None]:
        """By label and epsilon, those that are asked for first; then what was measured besides, each the last time."""
        requests = wanted(self.experiment, self.record.seed) if self.experiment else []
        asked = {(r.label, r.epsilon): self.record.find(r) for r in requests if r.epsilon is not None}
        used = {found.identity for found in asked.values() if found}
        besides = {(m.label, m.epsilon): m for m in self.record.attacks if m.identity not in used}
        return {key: found for key, found in (besides | asked).items() if key[1] is not None}  # type: ignore[misc]


def _study(folders: list[_Folder]) -> Study:
    found: dict[str, _Row] = {}
    for folder in folders:
        for record in folder.records:
            known = found.get(record.training_hash)
            if known is None:
                found[record.training_hash] = _Row(record, folder.path, folder.experiment)
            else:  # the same trial, under the labels of both folders
                labels = tuple(dict.fromkeys((*known.record.regimes, *record.regimes)))
                found[record.training_hash] = replace(
                    known, record=known.record.model_copy(update={"regimes": labels})
                )
    rows = sorted(
        found.values(), key=lambda row: (row.record.regime, *astuple(row.record.sgd)[:2], row.record.seed)
    )
    records = tuple(row.record for row in rows)
    first = records[0]
    planned: dict[str, str] = {}
    for folder in folders:
        if folder.experiment:
            planned |= {
                training_of(trial, folder.experiment, first.data_sha256, first.model_sha256).hash: trial.name
                for trial in grid(folder.experiment)
            }
    recorded = {record.folder for record in records}
    expected = {*planned.values()} - recorded
    failures = {f.trial: f for folder in folders for f in folder.failures if f.trial in expected}
    missing = [name for key, name in planned.items() if key not in found and name not in failures]
    return Study(
        folders=tuple(folder.path for folder in folders),
        dataset=first.dataset,
        data=next((f.experiment.data for f in folders if f.experiment), DATASETS.get(first.dataset)),
        model=first.model,
        profile=first.profile,
        epochs=first.epochs,
        trials=_table([trial_row(row) for row in rows], _attacks(rows)),
        records=records,
        planned=len(planned) if all(folder.experiment for folder in folders) else None,
        missing=tuple(missing),
        failures=tuple(failures.values()),
        repeated=sum(len(folder.records) for folder in folders) - len(records),
    )


# Tables


def trial_row(row: _Row) -> dict[str, Any]:
    """One trial, flat: accuracies in [0, 1], `eigenvalue` is the top one of the Hessian."""
    record, top = row.record, row.top_eigenvalue
    keys = (
        "name",
        "dataset",
        "model",
        "regime",
        "regimes",
        "seed",
        "epochs",
        "profile",
        "status",
        "train_examples",
    )
    curvature = top.values if top else {}
    confidence = next((m for m in reversed(record.measurements) if m.kind == "confidence"), None)
    return {
        "folder": str(row.path / "trials" / record.folder),
        **{key: getattr(record, key) for key in keys},
        **asdict(record.sgd),
        **_natural_columns(row),
        "eigenvalue": curvature.get("value"),
        "residual": curvature.get("error"),
        "iterations": curvature.get("products", 0),
        "converged": bool(curvature.get("converged")),
        **derived(record, curvature.get("value")),
        **{
            key: confidence.values[key] for key in ("confidence", "margin", "calibration_error") if confidence
        },
        "hessian_examples": top.examples if top else None,
        "hessian_split": top.split if top else None,
        **{f"seconds_{key}": value for key, value in _seconds(record).items()},
        **record.provenance.model_dump(exclude={"versions"}),
        "data_sha256": record.data_sha256,
        "training_hash": record.training_hash,
        **{attack_column(*key): found.accuracy if found else None for key, found in row.attacks.items()},
        **{
            m.label: m.values.get("value", m.values.get("fraction"))
            for m in record.measurements
            if _is_other(m)
        },
    }


def _natural_columns(row: _Row) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for split in SPLITS:
        found = row.natural(split)
        columns[f"{split}_loss"] = found.values.get("loss") if found else None
        columns[f"{split}_accuracy"] = found.accuracy if found else None
    return columns


def _seconds(record: Record) -> dict[str, float]:
    """What a trial has cost: of schema 1 the sums, else the sum over the measurements of a kind."""
    columns = {"train": 0.0, "attacks": 0.0, "hessian": 0.0} | record.seconds
    for found in record.measurements:
        key = {"attack": "attacks", "curvature": "hessian"}.get(found.kind)
        if key:
            columns[key] += found.seconds or 0.0
    return columns


def _is_other(found: Measurement) -> bool:
    return found.kind == "gradient" or (found.kind == "curvature" and found.label != HESSIAN)


def _table(rows: list[dict[str, Any]], attacks: Sequence[tuple[str, float]]) -> pd.DataFrame:
    numbers = ["train_loss", "train_accuracy", "validation_accuracy", "test_loss", "test_accuracy"]
    numbers += ["eigenvalue", "residual", *(attack_column(*attack) for attack in attacks)]
    table = pd.DataFrame(rows).astype(dict.fromkeys(numbers, float))
    table.attrs["attacks"] = tuple(attacks)
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
