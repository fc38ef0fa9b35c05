"""One trial, from SGD settings to its record: train, keep the network, measure, export."""

import functools
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

from tfsgd import interrupts
from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.measures.spec import Measurement
from tfsgd.networks.measured_network import MeasuredNetwork, keep_graphs, with_known_graphs
from tfsgd.networks.surrogate import Sources
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import SPLITS, natural, requests_of, top_eigenvalue
from tfsgd.plan.trials import Trial, training_of
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import Lease
from tfsgd.records.manifest import write_manifest
from tfsgd.records.outcomes import keep_outcomes
from tfsgd.records.record import Record, Snapshot
from tfsgd.records.tensorboard_tags import is_current
from tfsgd.terminal.progress import warn
from tfsgd.training.checkpoint import remove_checkpoints
from tfsgd.training.model import initial_weights, structure_of
from tfsgd.training.provenance import provenance
from tfsgd.training.scalars import remove_events
from tfsgd.training.train import Trained, train
from tfsgd.trials.keep_network import forget_network, keep_network
from tfsgd.trials.outcome import Callbacks, in_a_line, only_own_failures
from tfsgd.trials.pictures import attacks_picture
from tfsgd.trials.stored_network import load_stored
from tfsgd.trials.tensorboard import write_summary


@dataclass(frozen=True)
class SweepContext:
    """What every trial of a sweep has in common.

    Attributes:
        experiment: how to train, and what to measure.
        splits: the images, already cut to the number that the experiment asks for.
        logs: where everything is written.
        callbacks: told how the trials go on.
        lease: of this process on the trial at hand; `None`: it works alone.
    """

    experiment: Experiment
    splits: Splits
    logs: LogFolder
    callbacks: Callbacks
    lease: Lease | None = None

    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        """Passes on how a trial goes on, if it is still this process's.

        Raises:
            Superseded: it is another one's.
            KeyboardInterrupt: the user wants all to end.
        """
        interrupts.check()
        if self.lease:
            self.lease.hold(trial)
        self.callbacks.progress(trial, epochs_done, doing)

    def keep(self, trial: Trial, record: Record) -> None:
        """Writes a record, if the trial is still this process's.

        Raises:
            Superseded: it is another one's.
        """
        if self.lease:
            self.lease.hold(trial)
        self.logs.write_record(record)


def run_trial(trial: Trial, context: SweepContext) -> Record:
    """Trains one network, unless it is trained, and measures on it what is not measured yet.

    The network is kept before there is a record, and the record is written again after each measurement: an
    end at any moment loses at most an epoch, or the measurement at hand.

    Raises:
        RequestError: something is missing in a record whose network is gone, or is another one.
    """
    folder, requests = context.logs.trial_path(trial), requests_of(context.experiment, trial.seed)
    known = context.logs.record(trial)
    if known and known.is_complete(requests):
        _show_anew(known, trial, context)
        return known  # handed out again after its record was written, or only TensorBoard's view is missing
    provenance()  # kept from now on: the checkout may change while a network is trained, the code that runs does not
    record, network = (
        (known, load_stored(known, context.experiment, folder)) if known else train_trial(trial, context)
    )
    sources, failures = Sources(context.logs.network), list[tuple[str, BaseException]]()
    measured = functools.partial(
        MeasuredNetwork,
        splits=context.splits,
        batch_size=trial.settings.batch_size,
        sources=sources,
        initial=functools.partial(initial_weights, context.experiment, trial.seed),
    )
    subject = measured(network)
    if not context.experiment.uses_own_code:  # which may leave in a network more than its weights
        subject = with_known_graphs(subject, record.model_sha256)
        keep_graphs(subject, record.model_sha256)
    for part in record.networks:
        on = subject
        if isinstance(part, Snapshot) and part.missing(requests):
            network = load_stored(record, context.experiment, folder, part.file)
            on = measured(network)
        for request in part.missing(requests):
            try:
                context.progress(trial, record.epochs, request.title)
                with only_own_failures():
                    found = request.measure_on(on)
            except Exception as error:  # what comes after it is measured all the same
                failures.append((request.title, error))
                continue
            keep_outcomes(folder, on.new_outcomes(), part)
            record = record.with_measurements(_marked(found, record), of=part)
            if not record.is_complete(requests):
                context.keep(trial, record)
    context.progress(trial, record.epochs, "record")
    write_summary(record, context.experiment, _picture(subject, record, trial, context), folder)
    write_manifest(record, context.experiment, folder)
    context.keep(trial, record)
    if failures:
        _raise(failures)
    remove_checkpoints(folder / "checkpoint")
    if not known and not context.experiment.export:
        forget_network(folder)
    return record


def train_trial(trial: Trial, context: SweepContext) -> tuple[Record, Any]:
    """Trains one network, from the start or from its last checkpoint, and keeps it, with a first record.

    Returns:
        The record, with natural accuracies and λ1, and the network.
    """
    experiment, folder = context.experiment, _prepared_folder(context.logs.trial_path(trial))
    training = training_of(trial, experiment, context.splits.sha256, structure_of(experiment))
    trained = train(
        trial.settings, trial.seed, experiment, context.splits, folder, training.hash,
        lambda done, figures: context.progress(trial, done, f"loss {figures['loss']:.3f}"),
    )  # fmt: skip
    found = _first_measurements(trained, context)
    record = Record(
        schema=2,
        name=experiment.name,
        dataset=experiment.dataset,
        model=experiment.model,
        regime=trial.regime,
        regimes=trial.regimes,
        sgd=trial.settings,
        seed=trial.seed,
        epochs=training.epochs,
        updates=experiment.budget.updates if experiment.budget else None,
        profile=experiment.profile,
        status=_status(found, experiment.data.classes),
        train_examples=len(context.splits.train),
        classes=experiment.data.classes,
        batch_norm=bool(trained.network.non_trainable_weights),
        measurements=found,
        history=trained.history,
        seconds={"train": trained.train_seconds}
        | ({"along": trained.along_seconds} if trained.along else {}),
        provenance=provenance(),
        data_sha256=training.data_sha256,
        data_note=context.splits.note,
        model_sha256=training.model_sha256,
        cut=training.train_examples is not None,
        batch_order=training.batch_order,
        training_hash=training.hash,
        fork=training.fork or None,
        made_by=trained.made_by if len(trained.made_by) > 1 else (),
        snapshots=trained.snapshots,
        along=trained.along,
    )
    context.progress(trial, training.epochs, "network")
    keep_network(trained.network, record, folder, context.experiment.export)
    if not record.is_complete(requests_of(experiment, trial.seed)):
        context.keep(trial, record)
        remove_checkpoints(folder / "checkpoint")
    return record, trained.network


def summary(record: Record, experiment: Experiment) -> str:
    """What a config asks for of a record, in a few words."""
    if record.status == "diverged":
        return "diverged"
    found = record.asked(requests_of(experiment, record.seed))
    accuracy = next((m.accuracy for m in found if m.kind == "accuracy" and m.split == "test"), None)
    said = [f"test accuracy {accuracy or 0:.3f}"]
    attacks = (m for m in found if m.kind == "attack" and m.accuracy is not None)
    said += [f"{a.label} {a.epsilon:g}: {a.accuracy:.3f}" for a in attacks]
    top = record.find(top_eigenvalue(experiment))
    said += [f"top eigenvalue {top.values['value']:.3g}"] if top and top.values["value"] else []
    return f"{record.status}: {', '.join(said)}"


def _raise(failures: list[tuple[str, BaseException]]) -> NoReturn:
    """Says in one line what could not be measured, each with what came instead.

    Raises:
        RequestError: always.
    """
    said = "; ".join(f"{title}: {in_a_line(error)}" for title, error in failures)
    raise RequestError(said) from failures[0][1]


def _first_measurements(trained: Trained, context: SweepContext) -> tuple[Measurement, ...]:
    """Natural accuracies, which tell whether the network has learnt anything, and λ1 of the last epoch.

    Of a diverged network nothing is measured.
    """
    if trained.diverged:
        return ()
    subject = MeasuredNetwork(trained.network, context.splits)
    sizes = {split: context.experiment.examples(split) for split in SPLITS}
    on_train, *others = natural(sizes)
    found = [on_train.measure_on(subject)]
    if found[0].values["loss"] is None:
        return ()
    found += [request.measure_on(subject) for request in others]
    if trained.hessian:
        found.append(
            top_eigenvalue(context.experiment).measured(trained.hessian.values(), trained.hessian_seconds)
        )
    return tuple(found)


def _status(found: tuple[Measurement, ...], classes: int) -> str:
    """A collapsed network's loss is finite, but it has learnt nothing that an attack could break."""
    if not found:
        return "diverged"
    on_train = found[0]
    assert on_train.accuracy is not None
    if on_train.values["predicted_classes"] == 1 or on_train.accuracy < 1.5 / classes:
        return "collapsed"
    return "completed"


def _show_anew(record: Record, trial: Trial, context: SweepContext) -> None:
    """Has TensorBoard show what the config of the day asks for, where it shows what was asked for before."""
    folder = context.logs.trial_path(trial)
    if is_current(record, context.experiment, folder):
        return
    picture = None
    if record.status != "diverged":
        try:
            network = load_stored(record, context.experiment, folder)
            subject = MeasuredNetwork(
                network, context.splits, trial.settings.batch_size, Sources(context.logs.network)
            )
            picture = _picture(subject, record, trial, context)
        except RequestError as error:
            warn(f"{trial.name}: no picture of the attacks: {error}")
    write_summary(record, context.experiment, picture, folder)


def _picture(subject: MeasuredNetwork, record: Record, trial: Trial, context: SweepContext) -> bytes | None:
    """What the attacks look like; none where one of one's own cannot do with so few images."""
    try:
        with only_own_failures():
            return (
                None
                if record.status == "diverged"
                else attacks_picture(subject, context.experiment, trial.seed)
            )
    except Exception as error:
        warn(f"{trial.name}: no picture of the attacks: {in_a_line(error)}")
        return None


def _marked(found: Measurement, record: Record) -> Measurement:
    """With where it was measured, if not where the network was trained."""
    here = provenance()
    return found if here == record.provenance else found.model_copy(update={"provenance": here})


def _prepared_folder(folder: Path) -> Path:
    """A folder without a network, or that of an interrupted training with its checkpoints and scalars.

    Nothing in it is removed that the tool has not written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "checkpoint").is_dir():
        forget_network(folder)
        shutil.rmtree(folder / "saved_model", ignore_errors=True)
        remove_events(folder)
    return folder
