"""One trial, from SGD settings to its record: train, measure, export, record."""

import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import tensorflow as tf

from tfsgd.data.dataset import Splits, to_unit
from tfsgd.measures.accuracy import Evaluator, Figures
from tfsgd.measures.attacks import Attacker, planned_attacks, run_attack
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.records.record import AttackResult, HessianResult, Record, Seconds
from tfsgd.sweeping.export import export_network
from tfsgd.sweeping.pictures import as_png, attack_rows
from tfsgd.sweeping.provenance import device, git_commit, versions
from tfsgd.sweeping.tensorboard import write_summary
from tfsgd.training.checkpoint import remove_checkpoints
from tfsgd.training.devices import replica_devices
from tfsgd.training.train import Trained, train


class Observer(Protocol):
    """Whoever is told how a trial goes on."""

    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        """A trial has trained so many epochs and is at `doing`."""

    def ended(self, trial: Trial, outcome: str) -> None:
        """A trial has its record, or has failed."""


NOT_MEASURED = Figures(np.nan, np.nan, 0)


def run_trial(
    trial: Trial, experiment: Experiment, splits: Splits, logs: LogFolder, observe: Observer
) -> Record:
    """Trains and measures one network, and writes everything that the trial leaves.

    The record is written last: where it is, the trial is done.

    Args:
        trial: what to train.
        experiment: how to train and measure.
        splits: the images, already cut to the number that the experiment asks for.
        logs: where its files go; an interrupted training goes on from its last checkpoint.
        observe: told how the trial goes on.
    """
    git_commit()
    folder = _prepared_folder(logs.trial_path(trial))
    trained = train(
        trial.settings, trial.seed, experiment, splits, folder, trial.config_hash(experiment),
        lambda done, figures: observe.progress(trial, done, f"loss {figures['loss']:.3f}"),
    )  # fmt: skip
    evaluate = Evaluator(trained.network)
    on_train = evaluate(splits.train)
    finite = trained.hessian is not None and bool(np.isfinite(on_train.loss))
    on_validation, on_test = (
        evaluate(split) if finite else NOT_MEASURED for split in (splits.validation, splits.test)
    )

    began = time.perf_counter()
    attacks, zero_gradients, picture = planned_attacks(experiment.attacks, len(splits.test)), np.nan, None
    if finite:
        attacks, zero_gradients, picture = _attack(
            trained.network,
            attacks,
            splits,
            trial,
            lambda doing: observe.progress(trial, experiment.epochs, doing),
        )
    attack_seconds = time.perf_counter() - began

    record = Record(
        name=experiment.name,
        dataset=experiment.dataset,
        model=experiment.model,
        regime=trial.regime,
        regimes=trial.regimes,
        batch_size=trial.settings.batch_size,
        momentum=trial.settings.momentum,
        learning_rate=trial.settings.learning_rate,
        halve_every_epochs=trial.settings.halve_every_epochs,
        seed=trial.seed,
        epochs=experiment.epochs,
        profile=experiment.profile,
        status=_status(on_train, finite, experiment.data.classes),
        train_loss=on_train.loss if finite else None,
        train_accuracy=on_train.accuracy if finite else None,
        validation_accuracy=on_validation.accuracy,
        test_loss=on_test.loss,
        test_accuracy=on_test.accuracy,
        train_examples=len(splits.train),
        validation_examples=len(splits.validation),
        test_examples=len(splits.test),
        attacks=tuple(attacks),
        zero_gradient_fraction=zero_gradients,
        hessian=_hessian(trained, experiment, finite),
        history=trained.history,
        seconds=Seconds(train=trained.train_seconds, attacks=attack_seconds, hessian=trained.hessian_seconds),
        versions=versions(),
        device=device(),
        threads=tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0)),
        onednn=os.environ.get("TF_ENABLE_ONEDNN_OPTS") == "1",
        replicas=len(replica_devices()),
        git_commit=git_commit(),
        data_sha256=splits.sha256,
        config_hash=trial.config_hash(experiment),
    )
    if experiment.export:
        observe.progress(trial, experiment.epochs, "export")
        export_network(trained.network, record, folder)
    write_summary(trial, record, experiment, picture, folder)
    observe.progress(trial, experiment.epochs, "record")
    logs.write_record(record)
    remove_checkpoints(folder / "checkpoint")
    return record


def outcome(record: Record) -> str:
    """A record in a few words."""
    if record.status == "diverged":
        return "diverged"
    measured = [f"test accuracy {record.test_accuracy:.3f}"]
    measured += [
        f"{a.name} {a.epsilon:g}: {a.accuracy:.3f}" for a in record.attacks if a.accuracy is not None
    ]
    measured += [f"top eigenvalue {record.hessian.eigenvalue:.3g}"] if record.hessian.eigenvalue else []
    return f"{record.status}: {', '.join(measured)}"


def _prepared_folder(folder: Path) -> Path:
    """An empty folder, or that of an interrupted training with its checkpoints and scalars."""
    if folder.exists() and not (folder / "checkpoint").is_dir():
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _attack(
    network: Any, planned: list[AttackResult], splits: Splits, trial: Trial, observe: Callable[[str], None]
) -> tuple[list[AttackResult], float, bytes]:
    """What was measured, the share of images without a gradient, and a picture of the attacks."""
    images, labels = to_unit(splits.test.images), splits.test.labels
    attacker = Attacker(network)
    clean = attacker.predict(images) == labels
    results = []
    for attack in planned:
        observe(f"{attack.name} {attack.epsilon:g}")
        results.append(run_attack(attacker, attack, images, labels, clean, trial.seed))
    rows = attack_rows(attacker, planned, images, labels, trial.seed)
    return results, attacker.zero_gradient_fraction(images, labels), as_png(rows, labels)


def _status(on_train: Figures, finite: bool, classes: int) -> str:
    """A collapsed network's loss is finite, but it has learnt nothing that an attack could break."""
    if not finite:
        return "diverged"
    if on_train.predicted_classes == 1 or on_train.accuracy < 1.5 / classes:
        return "collapsed"
    return "completed"


def _hessian(trained: Trained, experiment: Experiment, finite: bool) -> HessianResult:
    result = trained.hessian if finite else None
    return HessianResult(
        eigenvalue=result.eigenvalue if result else None,
        residual=result.residual if result else None,
        iterations=result.iterations if result else 0,
        converged=bool(result and result.converged),
        examples=experiment.hessian.examples,
        split=experiment.hessian.split,
    )


# Where it was measured
