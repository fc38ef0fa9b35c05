"""What is done, what is left, and whether a folder's records mean what a config asks for."""

from dataclasses import asdict
from typing import Any

from tfsgd.errors import RequestError
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial, grid, hash_of
from tfsgd.records.folder import LogFolder, another_name
from tfsgd.records.record import Record


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
                f"{another_name(experiment)}"
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
    if hash_of(meaning, record.settings, record.seed) == record.config_hash:
        return
    recorded = _flat(logs.recorded_meaning() or {})
    wanted = _flat(meaning)
    changed = [
        key for key in sorted({*wanted, *recorded}) if recorded and recorded.get(key) != wanted.get(key)
    ]
    if not changed:
        raise RequestError(
            f"{logs.path}/trials/{record.folder}/record.json: made with another config; {another_name(experiment)}"
        )
    key = changed[0]
    raise RequestError(
        f"{key}: {logs.path} holds trials made with {recorded.get(key)!r}, this config says {wanted.get(key)!r}; "
        f"{another_name(experiment)}"
    )


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {prefix + key: value}
    return flat
