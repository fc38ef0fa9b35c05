"""Training one network: compile under the strategy, `fit`, and nothing else."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import keras

from tfsgd.data.dataset import Splits
from tfsgd.measures.curvature_spec import Curvature
from tfsgd.networks.measured_network import MeasuredNetwork, with_known_graphs
from tfsgd.plan.config import Experiment
from tfsgd.plan.fork import updates_kept
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.requests import along_requests
from tfsgd.plan.stages import Stage, begun, stages_of
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
from tfsgd.training.measure_along import MeasureAlong
from tfsgd.training.model import compiled_model, enter, plain_copy, structure_of
from tfsgd.training.precision import Twin
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
    along_seconds: float
    made_by: tuple[Stretch, ...]  # where and with what
    snapshots: tuple[Snapshot, ...]  # networks on the way, as asked for; nothing is measured on them yet
    along: dict[str, tuple[float | None, ...]]  # what was measured on the way: `update`, and a column each


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
        seed: initialization and dropout derive from it, and order of the batches and augmentation, if they have no other.
        experiment: which model, how many epochs, how to measure the Hessian.
        splits: the images, already cut to the number that the experiment asks for.
        folder: where TensorBoard's epoch scalars go, and checkpoints to `folder/checkpoint`.
        training_hash: of the trial; checkpoints of another one are not used. `None`: no checkpoints.
        observe: called after each epoch.
    """
    strategy = mirrored_strategy()
    examples, replicas = len(splits.train), strategy.num_replicas_in_sync
    moments = experiment.along, updates_kept(experiment.keep_checkpoints)
    stages = stages_of(settings, experiment.length, examples, *moments)
    check_replicas(tuple(stage.batch_size for stage in stages), examples, replicas)
    _forget_earlier_trials()
    with seeded(seed):
        order = seed if settings.order_seed is None else settings.order_seed
        batches = EpochBatches(splits.train, settings.batch_size, order, experiment.data.augment)
        model = compiled_model(experiment, settings, strategy, examples)
        subject = _measured(model, experiment, settings, splits)
        seen = _Observers(
            subject, _Observed(experiment, settings, seed, stages), folder, training_hash, EpochLog(observe)
        )
        rules = [ExactLoss(), LearningRateRule(settings, stages[-1].until), StopWhenDiverged()]
        twins = [Twin(subject.network)] if subject.network is not model else []
        callbacks = [*rules, *twins, *seen.callbacks]
        done, inside = seen.checkpoints.restore(model) if training_hash is not None else (0, 0)
        for stage in begun(stages, done, inside):
            if done < stage.until and not model.stop_training:
                enter(model, settings, stage, examples, replicas)
                model.fit(
                    batches.of_size(stage.batch_size).distributed(strategy, done, inside),
                    steps_per_epoch=stage.steps, initial_epoch=done, epochs=stage.until,
                    callbacks=callbacks, verbose=0, shuffle=False,
                )  # fmt: skip
                done, inside = stage.until, 0
        return seen.trained(plain_copy(model, experiment), bool(model.stop_training))


class _Observed(NamedTuple):
    """What is trained and seen; as of `train`."""

    experiment: Experiment
    settings: SGDSettings
    seed: int
    stages: list[Stage]


class _Observers:
    """What is seen of a training, and kept; arguments as of `train`.

    Args:
        subject: on which validation, λ1 and snapshots are taken.
        log: of the epochs.
    """

    def __init__(
        self,
        subject: MeasuredNetwork,
        asked: _Observed,
        folder: Path,
        training_hash: str | None,
        log: EpochLog,
    ) -> None:
        experiment, settings, seed, stages = asked
        self.log = log
        self.hessian = TopHessianEigenvalue(experiment.hessian, experiment.epochs_of(settings), subject)
        self.snapshots = KeepSnapshots(experiment, folder, log, subject)
        requests, along = along_requests(experiment, seed), experiment.along
        self.along = MeasureAlong(along, requests, subject) if along else None
        self.checkpoints = Checkpoints(
            folder / "checkpoint",
            training_hash or "",
            experiment,
            len(subject.splits.validation),
            stages,
            (log, self.hessian, self.snapshots, self.along),
        )
        validation, tensorboard = ValidationMetrics(subject), EpochScalars(folder, log)
        on_the_way = [self.along] if self.along else []
        last = [self.checkpoints] if training_hash is not None else []
        self.callbacks = [validation, self.hessian, self.snapshots, log, *on_the_way, tensorboard, *last]

    def trained(self, network: Any, diverged: bool) -> Trained:
        """What is left of it."""
        return Trained(
            train_seconds=self.checkpoints.seconds
            - self.hessian.seconds
            - (self.along.seconds if self.along else 0.0),
            network=network,
            history=self.log.columns(),
            diverged=diverged,
            hessian=None if diverged else self.hessian.result,
            hessian_seconds=self.hessian.seconds,
            along_seconds=self.along.seconds if self.along else 0.0,
            made_by=self.checkpoints.made_by(len(self.log.epochs)),
            snapshots=self.snapshots.found(),
            along={key: tuple(values) for key, values in self.along.course.items()} if self.along else {},
        )


def _measured(model: Any, experiment: Experiment, settings: SGDSettings, splits: Splits) -> MeasuredNetwork:
    """What of a training is measured: a float32 network, whose graphs an earlier trial has traced if they are the same."""
    network = model if settings.precision == "float32" else experiment.build()
    subject = MeasuredNetwork(network, splits, settings.batch_size)
    return subject if experiment.uses_own_code else with_known_graphs(subject, structure_of(experiment))


def _forget_earlier_trials() -> None:
    """Clears Keras's session, but not the dtype policy that code of one's own may have set when it was imported."""
    policy = keras.config.dtype_policy()
    keras.backend.clear_session()
    keras.config.set_dtype_policy(policy)
