"""Training one network: compile under the strategy, `fit`, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from tfsgd.data.dataset import Splits
from tfsgd.measures.curvature_spec import Curvature
from tfsgd.plan.config import Experiment
from tfsgd.plan.length import Length
from tfsgd.plan.regimes import SGDSettings
from tfsgd.records.record import Snapshot, Stretch
from tfsgd.training.batches import EpochBatches
from tfsgd.training.callbacks import (
    EpochLog,
    ExactLoss,
    LearningRateRule,
    StopWhenDiverged,
    TopHessianEigenvalue,
    ValidationMetrics,
)
from tfsgd.training.checkpoint import Checkpoints
from tfsgd.training.devices import check_replicas, mirrored_strategy
from tfsgd.training.model import compiled_model, plain_copy
from tfsgd.training.scalars import EpochScalars
from tfsgd.training.seeds import seeded
from tfsgd.training.snapshots import KeepSnapshots


@dataclass(frozen=True)
class Trained:
    """A trained network with what was seen on the way."""

    network: Any  # a plain Keras model, no strategy, not compiled
    history: dict[str, tuple[float | None, ...]]  # one entry an epoch
    diverged: bool  # the loss was not finite
    hessian: Curvature | None  # λ1 after the last epoch; None: diverged, or not measured here
    train_seconds: float
    hessian_seconds: float
    made_by: tuple[Stretch, ...]  # where and with what
    snapshots: tuple[Snapshot, ...]  # networks on the way, as asked for; nothing is measured on them yet


def train(
    settings: SGDSettings,
    seed: int,
    experiment: Experiment,
    splits: Splits,
    folder: Path,
    training_hash: str | None = None,
    observe: Callable[[int, dict[str, float]], None] = lambda epochs_done, logs: None,
) -> Trained:
    """Trains a network on unperturbed images, from the start or from its last checkpoint.

    A training that was interrupted, at any moment, ends with the bits of one that was not.

    Args:
        settings: batch size, momentum and learning-rate rule.
        seed: initialization, dropout, order of the batches and augmentation derive from it.
        experiment: which model, how many epochs, how to measure the Hessian.
        splits: the images, already cut to the number that the experiment asks for.
        folder: where TensorBoard's epoch scalars go, and checkpoints to `folder/checkpoint`.
        training_hash: of the trial; checkpoints of another one are not used. `None`: no checkpoints.
        observe: called after each epoch.
    """
    strategy = mirrored_strategy()
    check_replicas((settings.batch_size,), len(splits.train), strategy.num_replicas_in_sync)
    _forget_earlier_trials()
    with seeded(seed):
        batches = EpochBatches(splits.train, settings.batch_size, seed, experiment.data.augment)
        model = compiled_model(experiment, settings, strategy, len(splits.train))
        spec, epochs = experiment.hessian, experiment.epochs_at(settings.batch_size)
        hessian = TopHessianEigenvalue(getattr(splits, spec.split), spec, epochs, settings.batch_size)
        log = EpochLog(observe)
        tensorboard = EpochScalars(folder, log)
        snapshots = KeepSnapshots(experiment, splits.train, folder, log)
        checkpoints = Checkpoints(
            folder / "checkpoint", training_hash or "", experiment.checkpoint_every_epochs,
            log, hessian, snapshots, len(splits.validation),
        )  # fmt: skip
        rules = [ExactLoss(), LearningRateRule(settings, epochs), StopWhenDiverged()]
        callbacks = [*rules, ValidationMetrics(splits.validation), hessian, snapshots, log, tensorboard]
        done = 0
        if training_hash is not None:
            callbacks.append(checkpoints)
            done = checkpoints.restore(model)
        for until, steps in _stages(experiment.length, batches.steps):
            if done < until and not model.stop_training:
                model.fit(
                    batches.distributed(strategy, first_epoch=done), steps_per_epoch=steps, initial_epoch=done,
                    epochs=until, callbacks=callbacks, verbose=0, shuffle=False,
                )  # fmt: skip
                done = until
        return Trained(
            train_seconds=checkpoints.seconds - hessian.seconds,
            network=plain_copy(model, experiment),
            history=log.columns(),
            diverged=bool(model.stop_training),
            hessian=None if model.stop_training else hessian.result,
            hessian_seconds=hessian.seconds,
            made_by=checkpoints.made_by(len(log.epochs)),
            snapshots=snapshots.found(),
        )


def _forget_earlier_trials() -> None:
    """Clears Keras's session, but not the dtype policy that code of one's own may have set when it was imported."""
    policy = keras.config.dtype_policy()
    keras.backend.clear_session()
    keras.config.set_dtype_policy(policy)


def _stages(length: Length, steps: int) -> list[tuple[int, int]]:
    """Until which epoch with how many updates each: the whole epochs, then one that is cut."""
    epochs, rest = length.epochs(steps), length.rest(steps)
    return [(epochs - 1, steps), (epochs, rest)] if rest else [(epochs, steps)]
