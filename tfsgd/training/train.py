"""Training one network: compile under the strategy, `fit`, and nothing else."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
from tensorflow.python.framework import ops

from tfsgd.data.dataset import Splits
from tfsgd.measures.eigen import EigenResult
from tfsgd.plan.config import Experiment
from tfsgd.plan.regimes import SGDSettings
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
from tfsgd.training.model import compiled_model


@dataclass(frozen=True)
class Trained:
    """A trained network with what was seen on the way."""

    network: Any  # a plain Keras model, no strategy, not compiled
    history: dict[str, tuple[float | None, ...]]  # one entry an epoch
    hessian: EigenResult | None  # after the last epoch; None: diverged
    train_seconds: float
    hessian_seconds: float


def train(
    settings: SGDSettings,
    seed: int,
    experiment: Experiment,
    splits: Splits,
    folder: Path,
    config_hash: str | None = None,
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
        config_hash: of the trial; checkpoints of another one are not used. `None`: no checkpoints.
        observe: called after each epoch.
    """
    strategy = mirrored_strategy()
    check_replicas((settings.batch_size,), len(splits.train), strategy.num_replicas_in_sync)
    keras.backend.clear_session()
    keras.utils.set_random_seed(seed)
    batches = EpochBatches(splits.train, settings.batch_size, seed, experiment.data.augment)
    model = compiled_model(experiment, settings, strategy, len(splits.train))
    hessian_split = getattr(splits, experiment.hessian.split).first(experiment.hessian.examples)
    hessian = TopHessianEigenvalue(
        hessian_split,
        epochs=experiment.epochs,
        every_epochs=experiment.hessian.every_epochs,
        max_iterations=experiment.hessian.max_iterations,
        tolerance=experiment.hessian.tolerance,
    )
    log = EpochLog(observe)
    checkpoints = Checkpoints(
        folder / "checkpoint", config_hash or "", experiment.checkpoint_every_epochs, log, hessian
    )
    callbacks = [
        ExactLoss(),
        LearningRateRule(settings),
        StopWhenDiverged(),
        ValidationMetrics(splits.validation),
        hessian,
        log,
        keras.callbacks.TensorBoard(folder, write_graph=False),
    ]
    done = 0
    if config_hash is not None:
        callbacks.append(checkpoints)
        done = checkpoints.restore(model)
    with _custom_gradients_forgotten():
        model.fit(
            batches.distributed(strategy, first_epoch=done),
            steps_per_epoch=batches.steps,
            initial_epoch=done,
            epochs=experiment.epochs,
            callbacks=callbacks,
            verbose=0,
            shuffle=False,
        )
    seconds = checkpoints.seconds
    return Trained(
        network=_plain_copy(model, experiment),
        history=log.columns(),
        hessian=None if model.stop_training else hessian.result,
        train_seconds=seconds - hessian.seconds,
        hessian_seconds=hessian.seconds,
    )


@contextlib.contextmanager
def _custom_gradients_forgotten() -> Iterator[None]:
    """Gives back the memory of what is traced inside: 3.6 MB a trial.

    The all-reduce of MirroredStrategy has a gradient of its own, which TensorFlow registers under a
    new name at each trace, for the life of the process, and which holds the graph of the train step.
    """
    registry = ops.gradient_registry._registry
    before = set(registry)
    try:
        yield
    finally:
        for name in set(registry) - before:
            if name.startswith("CustomGradient-"):
                del registry[name]


def _plain_copy(model: Any, experiment: Experiment) -> Any:
    copy = experiment.architecture.build(experiment.data.image_shape, experiment.data.classes)
    copy.set_weights(model.get_weights())
    return copy
