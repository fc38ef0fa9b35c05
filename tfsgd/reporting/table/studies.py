"""Log folders -> studies: which records may be compared, as a table, and which trials are missing.

A study is everything that was trained and measured in the same way: one folder, or several folders
whose configs mean the same. Records are only read here; nothing in a trial's folder is changed.
"""

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from tfsgd.data.dataset import Dataset
from tfsgd.data.load import DATASETS
from tfsgd.errors import RequestError
from tfsgd.models.paper import MODELS
from tfsgd.plan.claim import Claim
from tfsgd.plan.config import Experiment
from tfsgd.plan.length import Length
from tfsgd.plan.regimes import Regime
from tfsgd.plan.requests import requests_of
from tfsgd.plan.trials import grid, training_of
from tfsgd.records.atomic import from_json
from tfsgd.records.folder import LogFolder
from tfsgd.records.preflight import folders_in, is_there, read_text
from tfsgd.records.record import Record
from tfsgd.records.resume import labelled_now
from tfsgd.records.stated import said_of, stated_claims
from tfsgd.records.upgrade import BY_SOFTMAX
from tfsgd.reporting.table.columns import Attack, Column, attacks_of, smallest_column, table_of
from tfsgd.reporting.table.regime_labels import LabelledRegime, expand_by_regime, paper_regimes, regimes_of
from tfsgd.reporting.table.rows import TrialRow, consistent


@dataclass(frozen=True, eq=False)
class Study:
    """Records that can be compared with each other.

    Attributes:
        folders: where the records are.
        dataset: as the config says it.
        data: `None`: one's own, and there is no experiment.yaml.
        model: as the config says it.
        profile: `full` or `quick`.
        length: of each training.
        trials: one row a trial, with the columns of `records-columns.csv`; a trial of two regimes is one row.
        columns: what each of its columns means, by name.
        attacks: every (attack, epsilon) that was measured in some trial, in order; but not those of `softmax`.
        softmax: (attack, epsilon) -> the label and epsilon of the same by float32's softmax, where both were measured.
        snapshots: the train losses at which networks were kept and measured, from large to small.
        records: one a trial, with the measurements that make the columns, see `TrialRow.shown`.
        planned: trials; `None`: there is no experiment.yaml.
        missing: trials that are planned, neither recorded nor failed.
        failures: trials that are planned, and whose last try failed -> its error, in one line.
        repeated: how often the same trial is in more than one folder; it counts once.
        claims: a user's own, by their keys, and when each was stated, in words.
        rules: label -> the blocks of the configs that have it.
    """

    folders: tuple[Path, ...]
    dataset: str
    data: Dataset | None
    model: str
    profile: str
    length: Length
    trials: pd.DataFrame
    columns: dict[str, Column]
    attacks: list[Attack]
    softmax: dict[Attack, Attack]
    snapshots: list[float]
    records: tuple[Record, ...]
    planned: int | None
    missing: tuple[str, ...]
    failures: dict[str, str]
    repeated: int
    claims: dict[str, tuple[Claim, str]]
    rules: dict[str, list[Regime]]

    @cached_property
    def regimes(self) -> list[LabelledRegime]:
        """The regimes that its trials hold."""
        return regimes_of(self.trials, self.rules)

    @cached_property
    def by_regime(self) -> pd.DataFrame:
        """The trials, once for every regime that they belong to."""
        return expand_by_regime(self.trials, self.rules)

    @cached_property
    def paper_regimes(self) -> dict[str, LabelledRegime]:
        """Those that stand for the paper's, by its names."""
        return paper_regimes(self.regimes)

    @property
    def place(self) -> str:
        """Data set and network, in a title."""
        return f"on {self.dataset_title} with {self.model_title}"

    @property
    def title(self) -> str:
        """Network and data set, for people."""
        return f"{self.model_title} on {self.dataset_title}"

    @property
    def dataset_title(self) -> str:
        """The data set, for people."""
        return self.data.title if self.data else self.dataset

    @property
    def model_title(self) -> str:
        """The network, for people."""
        return MODELS[self.model].title if self.model in MODELS else self.model.rpartition(":")[2]

    @property
    def paper_epsilon(self) -> float | None:
        """The epsilon of the paper's attacks on this data set; L-infinity, images in [0, 1]."""
        return self.data.paper_epsilon if self.data else None

    @property
    def chance(self) -> float:
        """The accuracy of guessing, in [0, 1]."""
        return 1 / self.records[0].classes

    @property
    def epsilons(self) -> dict[str, list[float]]:
        """Attack -> every epsilon at which it was measured in some trial; both in order; without those of `searched`."""
        found: dict[str, list[float]] = {}
        searched = self.searched
        for attack, epsilon in self.attacks:
            if (attack, epsilon) not in searched:
                found.setdefault(attack, []).append(epsilon)
        return found

    @property
    def searched(self) -> list[Attack]:
        """The attacks that search each image's smallest epsilon, with the largest that they try.

        They are told by what they find: quartiles, and how many images hold out at the largest.
        """
        return [key for key in self.attacks if smallest_column(key, "censored") in self.trials]


# Reading


class _Folder(NamedTuple):
    path: Path
    records: tuple[Record, ...]
    experiment: Experiment | None
    failures: dict[str, str]


def read_studies(paths: Sequence[Path], claims: Mapping[str, Claim] | None = None) -> list[Study]:
    """Reads log folders and puts those together whose trials mean the same.

    Args:
        paths: the folders.
        claims: by their keys, to be judged besides those of the folders' configs.

    Raises:
        RequestError: a folder is not there, has no record, or holds something that is no record.
    """
    groups: dict[str, list[_Folder]] = {}
    for path in dict.fromkeys(path.resolve() for path in paths):
        folder = _read_folder(path)
        groups.setdefault(_meaning(folder), []).append(folder)
    return [_study(folders, claims or {}) for folders in groups.values()]


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
        tries = f"all of its {len(failures)} tries failed"
        hint = tries if failures else "expected LOGS/NAME after its first trial"
        raise RequestError(f"{path}: no record.json below trials/; {hint}")
    experiment = _of_code(logs.read_experiment(), records) if is_there(logs.experiment_path) else None
    for record in records:
        _refuse_stranger(record, records[0], experiment, path)
    return _Folder(path, labelled_now(records, experiment) if experiment else records, experiment, failures)


def _of_code(experiment: Experiment, records: Sequence[Record]) -> Experiment:
    """Numbers of one's own attacks and measures are of the code that most trials were measured with last."""
    used: dict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for record in records:
        for request in (r for r in requests_of(experiment, record.seed) if r.spec.is_recorded):
            if found := record.find(request):
                used[request.spec.kind, request.label][str(found.settings.get("code_sha256", ""))] += 1
    blocks: dict[str, Any] = {"attacks": dict(experiment.attacks), "curvature": dict(experiment.curvature)}
    for (kind, label), count in used.items():
        specs = blocks["attacks" if kind == "attack" else "curvature"]
        specs[label] = specs[label].model_copy(update={"code_sha256": count.most_common(1)[0][0]})
    return experiment.model_copy(update=blocks)


def _refuse_stranger(record: Record, first: Record, experiment: Experiment | None, path: Path) -> None:
    for key in ("dataset", "model", "profile", "length", "train_examples", "data_sha256", "model_sha256"):
        found, expected = getattr(record, key), getattr(experiment, key, None) or getattr(first, key)
        if found != expected:
            said = [str(value) if isinstance(value, Length) else repr(value) for value in (found, expected)]
            raise RequestError(
                f"{path}/trials/{record.folder}/record.json: {key}: {' beside '.join(said)}; such trials cannot be "
                "compared, keep them in folders of their own"
            )


def _read_failures(path: Path) -> dict[str, str]:
    """Trial -> the first line of what its failure says."""
    found = {}
    for trial in (trial for regime in folders_in(path / "trials") for trial in folders_in(regime)):
        if is_there(trial / "failure.json") and not is_there(trial / "record.json"):
            try:
                error = str(from_json(read_text(trial / "failure.json"))["error"])
            except (ValueError, KeyError, TypeError, RecursionError):
                error = "failure.json cannot be read"
            found[f"{trial.parent.name}/{trial.name}"] = (error.strip() or "no message").splitlines()[0]
    return found


# Grouping


def _meaning(folder: _Folder) -> str:
    """Equal for folders whose trials may be pooled: trained and measured in the same way, whatever the settings of SGD."""
    if folder.experiment is None:
        return str(folder.path)
    first = folder.records[0]
    same = [first.profile, first.dataset, first.model, first.data_sha256, first.model_sha256]
    requests = {
        (request.label, replace(request, epsilon=None if request.epsilon is None else 0.0).identity)
        for request in requests_of(folder.experiment, 0)
    }
    return json.dumps([*same, str(first.length), first.train_examples, sorted(requests)])


def _study(folders: list[_Folder], claims: Mapping[str, Claim]) -> Study:
    rows = _rows(folders)
    records = tuple(row.shown for row in rows)
    first, experiments = records[0], [folder.experiment for folder in folders if folder.experiment]
    planned = {
        training_of(trial, experiment, first.data_sha256, first.model_sha256).hash: trial.name
        for experiment in experiments
        for trial in grid(experiment)
    }
    expected = {*planned.values()} - {record.folder for record in records}
    failures = {trial: error for f in folders for trial, error in f.failures.items() if trial in expected}
    found = {record.training_hash for record in records}
    trials, columns = table_of(rows)
    attacks = attacks_of(rows)
    softmax = {key: twin for key in attacks if (twin := (f"{key[0]}{BY_SOFTMAX}", key[1])) in attacks}
    return Study(
        folders=tuple(folder.path for folder in folders),
        dataset=first.dataset,
        data=experiments[0].data if experiments else DATASETS.get(first.dataset),
        model=first.model,
        profile=first.profile,
        length=first.length,
        trials=trials,
        columns=columns,
        attacks=[attack for attack in attacks if attack not in softmax.values()],
        softmax=softmax,
        snapshots=sorted({s.train_loss for row in rows for s in row.record.snapshots}, reverse=True),
        records=records,
        planned=len(planned) if len(experiments) == len(folders) else None,
        missing=tuple(n for key, n in planned.items() if key not in found and n not in failures),
        failures=failures,
        repeated=sum(len(folder.records) for folder in folders) - len(records),
        claims=_own_claims(folders, claims),
        rules={
            label: [e.regimes[label] for e in experiments if label in e.regimes]
            for label in dict.fromkeys(label for e in experiments for label in e.regimes)
        },
    )


def _own_claims(folders: Sequence[_Folder], others: Mapping[str, Claim]) -> dict[str, tuple[Claim, str]]:
    found: dict[str, tuple[Claim, str]] = {}
    for folder in folders:
        known = stated_claims(LogFolder(folder.path))
        asked = {**others, **(folder.experiment.claims if folder.experiment else {})}
        found = {key: (claim, said_of(claim, known)) for key, claim in asked.items()} | found
    return found


def _rows(folders: Sequence[_Folder]) -> list[TrialRow]:
    """One a trial, in the order of the settings; the order of the folders does not matter."""
    folders = sorted(folders, key=lambda folder: folder.path)
    experiments = tuple(folder.experiment for folder in folders if folder.experiment)
    found: dict[str, TrialRow] = {}
    for folder in folders:
        for record in folder.records:
            row = found.setdefault(record.training_hash, TrialRow(record, folder.path, experiments))
            if row.record is not record:
                found[record.training_hash] = replace(row, record=row.record.united(record))
    order = sorted(found.values(), key=lambda r: (r.record.regime, *astuple(r.record.sgd)[:2], r.record.seed))
    return consistent(order)
