"""`LOGS/NAME`: the paths below it, and the only code that writes there."""

import hashlib
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from tfsgd.errors import RequestError
from tfsgd.fields import problems
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial
from tfsgd.plan.yaml_io import read_yaml, to_yaml
from tfsgd.records.atomic import from_json, to_json, write_atomically
from tfsgd.records.lease import Lease
from tfsgd.records.preflight import LARGEST_TEXT, folders_in, is_there, read_text, refuse_irregular
from tfsgd.records.record import Record
from tfsgd.records.upgrade import upgraded
from tfsgd.source_hash import running
from tfsgd.text import cut, shown


@dataclass(frozen=True)
class LogFolder:
    """`LOGS/NAME`: the paths below it, and the only code that writes records there.

    Attributes:
        path: of it.
        shard: `2-of-8` where this sweep is one of eight that work in the folder at a time, on trials of their own.
    """

    path: Path
    shard: str = ""

    @property
    def experiment_path(self) -> Path:
        return self.path / "experiment.yaml"

    @property
    def tuner_path(self) -> Path:
        return self.path / "tuner" / f"shard-{self.shard}" if self.shard else self.path / "tuner"

    @property
    def images_path(self) -> Path:
        """The images of a sweep that is running, for its workers; see `tfsgd.data.shared_memory`."""
        return self.tuner_path / "images"

    @property
    def temporary_path(self) -> Path:
        """Temporary files of a running sweep's workers, which are ended at once and clear nothing away."""
        return self.tuner_path / "tmp"

    @property
    def certificate_path(self) -> Path:
        """What workers of other machines need to join a sweep that is running; its user alone can read it."""
        return self.tuner_path / "certificate.json"

    def trial_path(self, trial: Trial) -> Path:
        return self.path / "trials" / trial.name

    def network(self, name: str) -> Path:
        """The file of another network: of a trained trial by its name, or a `.keras` file by its path from here on.

        Raises:
            RequestError: there is none.
        """
        if name.endswith(".keras"):
            if not is_there(self.path / name):
                raise RequestError(f"{self.path / name}: no such file")
            return self.path / name
        folder = self.path / "trials" / name
        if ".." in Path(name).parts or not is_there(folder / "record.json"):
            raise RequestError(
                f"{name}: no trained trial of {self.path}; expected one such as lr/b0064-m0.0-s0, or a .keras file"
            )
        return stored_network(folder)

    def records(self) -> Iterator[Record]:
        """All records, in the order of their paths.

        Raises:
            RequestError: a record is no valid record, or does not belong where it lies.
        """
        hessian = self._recorded_hessian()
        for regime in folders_in(self.path / "trials"):
            for path in (folder / "record.json" for folder in folders_in(regime)):
                if is_there(path):
                    yield read_record(path, hessian)

    def record(self, trial: Trial) -> Record | None:
        """The record in a trial's folder; `None` if there is none yet.

        Raises:
            RequestError: what lies there is no record.
        """
        path = self.trial_path(trial) / "record.json"
        return read_record(path, self._recorded_hessian()) if is_there(path) else None

    def write_record(self, record: Record) -> Path:
        """Writes a record where it belongs and removes the failure of an earlier try."""
        folder = self.path / "trials" / record.folder
        text = to_json(record.model_dump(mode="json", by_alias=True))
        if len(text) > LARGEST_TEXT:  # it would not be read again
            raise RequestError(
                f"{folder / 'record.json'}: expected at most {LARGEST_TEXT:,} bytes, found {len(text):,} with what was "
                "measured last; ask for less of it"
            )
        write_atomically(folder / "record.json", text)
        (folder / "failure.json").unlink(missing_ok=True)
        return folder / "record.json"

    def has_record(self, trial: Trial) -> bool:
        return is_there(self.trial_path(trial) / "record.json")

    def has_ended(self, trial: Trial) -> bool:
        """Whether a trial has left a record or a failure."""
        return any((self.trial_path(trial) / name).exists() for name in ("record.json", "failure.json"))

    def write_failure(self, trial: Trial, error: str, traceback: str) -> None:
        path = self.trial_path(trial) / "failure.json"
        write_atomically(path, to_json({"trial": trial.name, "error": error, "traceback": traceback}))

    def write_experiment(self, experiment: Experiment) -> None:
        """Writes the resolved config; the next run is compared with it."""
        write_atomically(self.experiment_path, to_yaml(experiment.model_dump(mode="json")))

    def write_plan(self, experiment: Experiment) -> None:
        """Tells the workers of this run what to train and measure."""
        content = experiment.model_dump(mode="json") | {"own_code": list(experiment.own_code)}
        write_atomically(self._plan_path, to_yaml(content))
        write_atomically(self.tuner_path / "code.json", to_json(_code_of(experiment)))

    def refuse_other_code(self, experiment: Experiment) -> None:
        """Refuses to work for a sweep of another version or code: its records would say that theirs was made by it.

        Args:
            experiment: as this process has read it.

        Raises:
            RequestError: the line names what differs.
        """
        path = self.tuner_path / "code.json"
        try:
            theirs = dict(from_json(read_text(path)))
        except (OSError, ValueError, TypeError, RecursionError):
            raise RequestError(
                f"{path}: cannot be read: the sweep is over, or of another version of tfsgd"
            ) from None
        ours = _code_of(experiment)
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise RequestError(
                    f"{self.path}: {cut(key)}: the sweep there runs {shown(theirs.get(key))}, this machine has "
                    f"{shown(ours.get(key))}; all of its workers must be of one version and code"
                )

    def read_plan(self) -> Experiment:
        """What the workers of this run are to train and measure.

        Raises:
            RequestError: it cannot be read.
        """
        return _experiment(self._plan_path, read_yaml(self._plan_path))

    @property
    def _plan_path(self) -> Path:
        return self.tuner_path / "experiment.yaml"

    def read_experiment(self) -> Experiment:
        """The resolved config of the last sweep here, without any code of one's own: nothing that it names is imported.

        Raises:
            RequestError: it cannot be read.
        """
        return _experiment(self.experiment_path, read_yaml(self.experiment_path) | {"own_code": []})

    def empty_scratch(self) -> None:
        """Removes what the workers of an earlier run have left."""
        shutil.rmtree(self.tuner_path, ignore_errors=True)
        self.tuner_path.mkdir(parents=True, exist_ok=True)

    def lease(self, holder: str) -> Lease:
        """The claims of a worker."""
        return Lease(self.tuner_path / "claims", holder)

    def _recorded_hessian(self) -> dict[str, Any]:
        """The `hessian` block of the last sweep's config: records of schema 1 leave a part of it out."""
        try:
            return self.read_experiment().hessian.model_dump()
        except RequestError:
            return {}


def _code_of(experiment: Experiment) -> dict[str, str]:
    """What runs here: see `running`, and the files of one's own that the config names."""
    own = {}
    for name in experiment.own_code:
        file = Path(experiment.code_dir or "") / f"{name.partition(':')[0].replace('.', '/')}.py"
        own[name] = hashlib.sha256(file.read_bytes()).hexdigest() if file.is_file() else "no such file"
    return running() | own


def _experiment(path: Path, raw: dict[str, Any]) -> Experiment:
    """What was trained here is known also where its model is not: a report needs none."""
    try:
        return Experiment.model_validate(raw, context={"recorded": True})
    except ValidationError as error:
        raise RequestError(
            f"{path}: no valid config: {_first_problem(error)}; the next sweep writes it anew"
        ) from None


def read_record(path: Path, hessian: Mapping[str, Any]) -> Record:
    """Reads one `record.json`, whatever its schema.

    Args:
        path: of the file.
        hessian: see `upgraded`.

    Raises:
        RequestError: it cannot be read, is not a record, or lies in another trial's folder.
    """
    advice = "put its original back, or read it with the version of tfsgd that wrote it"
    try:
        raw = from_json(read_text(path))
        record = Record.model_validate(upgraded(raw, hessian) if isinstance(raw, dict) else raw)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    except ValidationError as error:
        raise RequestError(f"{path}: no valid record: {_first_problem(error)}; {advice}") from None
    except RecursionError:
        raise RequestError(f"{path}: no valid JSON (found too much nesting); {advice}") from None
    except ValueError as error:
        raise RequestError(f"{path}: no valid JSON ({cut(str(error))}); {advice}") from None
    except (KeyError, TypeError, AttributeError, ArithmeticError) as error:
        raise RequestError(f"{path}: no valid record of schema 1: {cut(str(error))}; {advice}") from None
    for found in record.measurements:
        if found.missing_values:
            raise RequestError(
                f"{path}: no valid record: {found.label}: values.{found.missing_values[0]}: missing; {advice}"
            )
    if path.parent.parent.name + "/" + path.parent.name != record.folder:
        raise RequestError(
            f"{path}: its content belongs to trials/{record.folder}; move it there or remove it"
        )
    return record


def _first_problem(error: ValidationError) -> str:
    first = problems(error, found="found", in_lists=True)[0]
    return first if error.errors()[0]["loc"] else f"the whole file: {first}"


def stored_network(folder: Path, name: str = "model.keras") -> Path:
    """The network in a trial's folder, once it is sure that it is the one that was trained.

    Args:
        folder: of the trial.
        name: of the file below it.

    Raises:
        RequestError: it is gone, or its SHA-256 is not the manifest's.
    """
    path = folder / name
    advice = "put it back, or remove the trial's folder to train it again"
    try:
        expected = from_json(read_text(folder / "manifest.json"))["sha256"][name]
        refuse_irregular(path)
        content = path.read_bytes()
    except FileNotFoundError as error:
        kept = "" if error.filename == str(path) else " (export: false keeps no network)"
        raise RequestError(
            f"{error.filename}: the trained network is needed and not there{kept}; {advice}"
        ) from None
    except OSError as error:
        raise RequestError(f"{error.filename}: cannot be read: {error.strerror}") from None
    except (ValueError, KeyError, TypeError, RecursionError):
        raise RequestError(f"{folder / 'manifest.json'}: no valid manifest; {advice}") from None
    if hashlib.sha256(content).hexdigest() != expected:
        raise RequestError(f"{path}: it is not the network that was trained (SHA-256); {advice}")
    return path


def another_name(of: Experiment | Record) -> str:
    return f"keep both with --set name={of.name}-2"
