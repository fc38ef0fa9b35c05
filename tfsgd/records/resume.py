"""What is done, what is left, and whether a folder's records mean what a config asks for."""

import hashlib
from collections.abc import Iterable
from dataclasses import asdict, dataclass, replace
from itertools import islice

from tfsgd.errors import RequestError
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import along_requests, requests_of
from tfsgd.plan.trials import Trial, grid, training_of
from tfsgd.records.folder import LogFolder, another_name
from tfsgd.records.preflight import is_there, refuse_irregular
from tfsgd.records.record import EIGENVALUE_COLUMNS, Record
from tfsgd.records.tensorboard_tags import is_current
from tfsgd.text import counted

Done = list[tuple[Trial, Record]]


@dataclass(frozen=True)
class SweepState:
    """What a folder of logs has of a grid.

    Attributes:
        trials: of the grid; those that are trained are called what their records are.
        done: those that are trained, each with its record.
        complete: those of them on which everything is measured.
        current: those of them that TensorBoard shows as the config asks.
    """

    trials: list[Trial]
    done: Done
    complete: Done
    current: set[Trial]

    @property
    def incomplete(self) -> list[Trial]:
        """The trials that are to be trained or to be measured."""
        complete = {trial for trial, _ in self.complete}
        return [trial for trial in self.trials if trial not in complete]

    @property
    def waiting(self) -> list[Trial]:
        """The trials that are to be trained, to be measured, or to be shown anew in TensorBoard."""
        incomplete = set(self.incomplete)
        return [trial for trial in self.trials if trial in incomplete or trial not in self.current]

    def __str__(self) -> str:
        to_measure = len(self.done) - len(self.complete)
        to_show = len(self.waiting) - len(self.incomplete)
        return (
            f"{counted(len(self.trials), 'trial')}, {len(self.complete)} complete, "
            f"{len(self.trials) - len(self.done)} to train"
            + (f", {to_measure} to measure" if to_measure else "")
            + (f", {to_show} to show anew in TensorBoard" if to_show else "")
        )


def read_state(experiment: Experiment, logs: LogFolder) -> SweepState:
    """Reads all records of a folder, and compares them with a config.

    Raises:
        RequestError: as for `trained`.
    """
    trials = grid(experiment)
    done = trained(trials, experiment, logs)
    named = {(trial.settings, trial.seed): trial for trial, _ in done}
    return SweepState(
        trials=[named.get((trial.settings, trial.seed), trial) for trial in trials],
        done=done,
        complete=[pair for pair in done if is_complete(pair[1], experiment)],
        current={trial for trial, record in done if is_current(record, experiment, logs.trial_path(trial))},
    )


def trained(trials: list[Trial], experiment: Experiment, logs: LogFolder) -> Done:
    """The trials whose network is trained, each with its record, in the order of the grid.

    Such a trial is called what its record is, whatever labels its regimes have now, so that its folder is found.

    Raises:
        RequestError: a record in the folder was trained with another config, or on other images or another network
            than the others; the line names the key.
    """
    records = list(logs.records())
    for record in records:
        _refuse_other_training(record, logs, experiment)
        _refuse_other_snapshots(record, logs, experiment)
    if records:
        _refuse_other_snapshot_images(logs, experiment)
    _refuse_mixed(records, logs)
    if experiment.own_data and experiment.own_data.sha256:
        refuse_other_data(experiment.own_data.sha256, f"dataset: {experiment.dataset}", logs)
    known = {(record.sgd, record.seed): record for record in records}
    at = {record.folder: record for record in records}
    for trial in grid(experiment):
        other = at.get(trial.name)
        if (trial.settings, trial.seed) not in known and other is not None:
            theirs = asdict(other.sgd)
            keys = [key for key, value in asdict(trial.settings).items() if theirs[key] != value]
            raise RequestError(
                f"regimes.{trial.regime}: {logs.path} holds {trial.name} with another {' and '.join(keys)}; "
                f"{another_name(experiment)}"
            )
    pairs = ((trial, known.get((trial.settings, trial.seed))) for trial in trials)
    return [(replace(trial, regime=record.regime), record) for trial, record in pairs if record is not None]


def is_complete(record: Record, experiment: Experiment, also_free: bool = False) -> bool:
    """Whether everything that a config asks for is measured on a trained network.

    Args:
        record: of the network.
        experiment: the config.
        also_free: count also what is no reason to load a stored network.
    """
    requests = [r for r in requests_of(experiment, record.seed) if also_free or not r.free]
    return record.is_complete(requests)


def refuse_changed_sources(done: Done, experiment: Experiment, logs: LogFolder) -> None:
    """Refuses to go on with perturbations of a network whose file is another one by now; one that is gone is no matter.

    Raises:
        RequestError: the line names the attack and the file.
    """
    now = dict[str, str | None]()
    for trial, record in done:
        for found in record.asked(requests_of(experiment, record.seed)):
            if "source_sha256" not in found.values:
                continue
            name = str(found.settings["source"])
            if name not in now:
                now[name] = _sha256_of(name, logs)
            if now[name] not in (None, found.values["source_sha256"]):
                raise RequestError(
                    f"attacks.{found.label}.source: {name} is another network than the one whose perturbations were "
                    f"tried on {trial.name} (SHA-256); put it back, or give the new one a name of its own"
                )


def _sha256_of(name: str, logs: LogFolder) -> str | None:
    """Of another network's file; `None` where there is none."""
    try:
        path = logs.network(name)
        refuse_irregular(path)
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except (RequestError, OSError):
        return None


def not_to_be_had(done: Done, experiment: Experiment, logs: LogFolder) -> list[str]:
    """What a config asks for and trainings that are over have not left, a line each."""
    without_course = [trial.name for trial, record in done if _lacks_course(record, experiment.hessian)]
    without_network = [
        trial.name
        for trial, _ in done
        if experiment.export and not is_there(logs.trial_path(trial) / "model.keras")
    ]
    asked = f"hessian.every_epochs={experiment.hessian.every_epochs}: λ1 was not taken so often"
    without_along = [trial.name for trial, record in done if not _has_along(record, experiment)]
    found = (
        (asked, without_course),
        ("along: not all of it was measured on the way", without_along),
        ("export=true: no network was kept", without_network),
    )
    return [
        f"{what} in {counted(len(names), 'trained trial')} ({names[0]}{', ...' if len(names) > 1 else ''}); remove a "
        f"trial's folder to train it again, or {another_name(experiment)}"
        for what, names in found
        if names
    ]


def _lacks_course(record: Record, hessian: TopEigenvalue) -> bool:
    """Whether λ1 was asked for at epochs at which it was not taken."""
    if record.status == "diverged" or not hessian.every_epochs:
        return False
    values = record.history.get(EIGENVALUE_COLUMNS[hessian.mode], (None,) * record.epochs)
    return None in values[hessian.every_epochs - 1 :: hessian.every_epochs]


def _has_along(record: Record, experiment: Experiment) -> bool:
    """Whether all that is asked for on the way was measured."""
    titles = {request.title for request in along_requests(experiment, record.seed)}
    return record.status == "diverged" or titles <= record.along.keys()


def name_regimes(done: Done, logs: LogFolder) -> None:
    """Gives recorded trials the labels that the grid gives them now; no number changes.

    The label under which a trial is stored stays its `regime`, whatever it means now: its folder has it.
    """
    for trial, record in done:
        if trial.regimes != record.regimes:
            logs.write_record(record.model_copy(update={"regimes": trial.regimes}))


def labelled_now(records: Iterable[Record], experiment: Experiment) -> tuple[Record, ...]:
    """The records with the labels of the grid alone; what is not in it keeps its own."""
    now = {(trial.settings, trial.seed): trial.regimes for trial in grid(experiment)}
    return tuple(
        record.model_copy(update={"regimes": now.get((record.sgd, record.seed), record.regimes)})
        for record in records
    )


def refuse_other_data(sha256: str, source: str, logs: LogFolder) -> None:
    """Refuses to mix records that were trained on other images; all of a folder are of one kind, see `trained`.

    Raises:
        RequestError: the records' `data_sha256` is another one.
    """
    for record in islice(logs.records(), 1):
        if record.data_sha256 != sha256:
            said = f"{source}: its images are not those of the records in {logs.path}; use the same files"
            raise RequestError(f"{said}, or {another_name(record)}")


def refuse_other_structure(sha256: str, logs: LogFolder) -> None:
    """Refuses to mix records of networks that are built differently under the same name; see `refuse_other_data`."""
    for record in islice(logs.records(), 1):
        if record.model_sha256 != sha256:
            said = f"model: {record.model} is now built otherwise than the networks of the records in {logs.path}"
            raise RequestError(f"{said}; restore it, or {another_name(record)}")


def _refuse_mixed(records: list[Record], logs: LogFolder) -> None:
    """Records that were copied in may be of other data, or of other code, under the same names."""
    for key, what in (("data_sha256", "on other images"), ("model_sha256", "as a network built otherwise")):
        for record in records:
            if getattr(record, key) != getattr(records[0], key):
                raise RequestError(
                    f"{logs.path}/trials/{record.folder}/record.json: {key}: trained {what} than "
                    f"{records[0].folder} beside it; such trials cannot be compared, keep them in folders of their own"
                )


def _refuse_other_training(record: Record, logs: LogFolder, experiment: Experiment) -> None:
    """A record that stands for another training than this config's."""
    theirs = record.training
    ours = training_of(record.trial, experiment, theirs.data_sha256, theirs.model_sha256)
    compared = (
        ("dataset", theirs.dataset, ours.dataset),
        ("model", theirs.model, ours.model),
        ("budget.updates" if experiment.budget else "epochs", str(record.length), str(experiment.length)),
        ("train_examples", theirs.train_examples, ours.train_examples),
        ("batch_order", theirs.batch_order, ours.batch_order),
        ("fork.checkpoint", theirs.fork, ours.fork),
        ("profile (--quick)", record.profile, experiment.profile),
    )
    for key, recorded, asked in compared:
        if recorded != asked:
            raise RequestError(
                f"{key}: {logs.path} holds trials trained with {_said(recorded)}, this config says {_said(asked)}; "
                f"{another_name(experiment)}"
            )


def _refuse_other_snapshots(record: Record, logs: LogFolder, experiment: Experiment) -> None:
    """A network on the way cannot be had once the training is over."""
    kept = {snapshot.train_loss for snapshot in record.snapshots}
    asked = experiment.snapshots.train_loss if experiment.snapshots else ()
    if lacking := [f"{value:g}" for value in asked if value not in kept]:
        raise RequestError(
            f"snapshots.train_loss: {logs.path} holds {record.folder}, trained without a snapshot at "
            f"{', '.join(lacking)}; {another_name(experiment)}"
        )


def _refuse_other_snapshot_images(logs: LogFolder, experiment: Experiment) -> None:
    """A record does not say on how many images the train loss was taken; the config that it was trained by does."""
    try:
        before = logs.read_experiment().snapshots
    except RequestError:  # it is gone, or spoilt: the next sweep writes it anew
        return
    if before is None or experiment.snapshots is None:
        return
    most = experiment.examples("train")
    recorded, asked = (min(snapshots.examples, most) for snapshots in (before, experiment.snapshots))
    if recorded != asked:
        raise RequestError(
            f"snapshots.examples: {logs.path} holds snapshots by the loss on {recorded:,} training images, this config "
            f"says {asked:,}; {another_name(experiment)}"
        )


def _said(value: object) -> str:
    return "all" if value is None else repr(value)
