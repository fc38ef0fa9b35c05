"""Training one network: compile under the strategy, `fit`, and nothing else."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import ops

from tfsgd.callbacks import (
    EpochLog,
    ExactLoss,
    LearningRateRule,
    StopWhenDiverged,
    TopHessianEigenvalue,
    ValidationMetrics,
    exact_loss_metric,
)
from tfsgd.checkpoint import Checkpoints
from tfsgd.config import Experiment
from tfsgd.data import DATASETS, Splits
from tfsgd.errors import RequestError
from tfsgd.hessian import EigenResult
from tfsgd.models import build_model
from tfsgd.optimizer import SGD
from tfsgd.pipeline import EpochBatches
from tfsgd.regimes import SGDSettings

STEPS_PER_EXECUTION = 64  # at most so many steps between two visits to Python
PART_SIZE = 1_024  # images of a batch in one pass, on a replica: memory, not mathematics


@dataclass(frozen=True)
class Trained:
    """A trained network with what was seen on the way."""

    network: Any  # a plain Keras model, no strategy, not compiled
    history: dict[str, tuple[float | None, ...]]  # one entry an epoch
    hessian: EigenResult | None  # after the last epoch; None: diverged
    train_seconds: float
    hessian_seconds: float


def configure_tensorflow(threads: int | None = None) -> None:
    """Sets what can only be set before TensorFlow starts to compute.

    Args:
        threads: within an operation; `None` leaves one for each core.
    """
    if threads is not None:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    tf.config.experimental.enable_op_determinism()
    tf.get_logger().setLevel("ERROR")


def replica_devices() -> list[str]:
    """The devices that hold a replica each: every GPU, or every logical CPU device where there is no GPU."""
    devices = tf.config.list_logical_devices("GPU") or tf.config.list_logical_devices("CPU")
    return [device.name for device in devices]


def mirrored_strategy() -> tf.distribute.MirroredStrategy:
    """One replica for each of `replica_devices`.

    Gradients and BatchNorm's moments are reduced on one device, in a fixed order. TensorFlow's
    default collectives may meet in another order on each replica, and then abort the training.
    """
    return tf.distribute.MirroredStrategy(
        replica_devices(), cross_device_ops=tf.distribute.ReductionToOneDevice()
    )


def check_replicas(batch_sizes: tuple[int, ...], examples: int, replicas: int) -> None:
    """Refuses what cannot be dealt out so that every replica has its part of every batch.

    Args:
        batch_sizes: of the trials.
        examples: training images; what a batch size leaves of them is the last batch.
        replicas: see `replica_devices`.

    Raises:
        RequestError: a batch size is no multiple of the number of replicas, or a last batch has fewer images.
    """
    odd = [str(size) for size in batch_sizes if size % replicas]
    if odd:
        raise RequestError(
            f"batch_sizes: expected multiples of {replicas}, as there are {replicas} replicas; "
            f"received {', '.join(odd)}"
        )
    for size in batch_sizes:
        if 0 < examples % size < replicas:
            raise RequestError(
                f"train_examples: {examples:,} images in batches of {size} leave a last one of {examples % size}, "
                f"less than the {replicas} replicas; choose another number"
            )


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
    dataset = DATASETS[experiment.dataset]
    batches = EpochBatches(splits.train, settings.batch_size, seed, dataset.augment)
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
        network=_plain_copy(model, experiment, dataset.classes),
        history=log.columns(),
        hessian=None if model.stop_training else hessian.result,
        train_seconds=seconds - hessian.seconds,
        hessian_seconds=hessian.seconds,
    )


def compiled_model(
    experiment: Experiment, settings: SGDSettings, strategy: tf.distribute.MirroredStrategy, examples: int
) -> Any:
    """The experiment's network, ready for `fit` over epochs of so many images."""
    replicas = strategy.num_replicas_in_sync
    with strategy.scope():
        model = build_model(experiment.model, DATASETS[experiment.dataset].classes)
        parts = parts_of_a_batch(settings.batch_size, examples, replicas)
        normalizes = any(isinstance(layer, keras.layers.BatchNormalization) for layer in model.layers)
        if parts > 1 and not normalizes:
            model = InParts(model.inputs, model.outputs, name=model.name, parts=parts)
        model.compile(
            optimizer=SGD(settings.learning_rate, momentum=float(settings.momentum)),
            # The batches carry the weights that turn this sum into the mean over the whole batch.
            loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum"),
            metrics=["accuracy", *([exact_loss_metric()] if replicas > 1 else [])],
            # With several replicas Keras supports neither more steps per execution nor XLA.
            steps_per_execution=steps_per_execution(-(-examples // settings.batch_size))
            if replicas == 1
            else 1,
            jit_compile=False,
        )
        model.optimizer.build(model.trainable_variables)
    return model


def parts_of_a_batch(batch_size: int, examples: int, replicas: int) -> int:
    """How many parts hold at most `PART_SIZE` images of a replica; none is empty in the smaller last batch."""
    smallest = examples % batch_size or batch_size
    return min(-(-batch_size // (PART_SIZE * replicas)), smallest // replicas)


class InParts(keras.Model):
    """A network that passes over each batch part by part, and then takes the step of the whole batch.

    The gradient of the batch's loss is the sum of the parts' gradients. With BatchNorm it is not: its
    statistics are those of the images that it sees at once.

    Args:
        parts: of as many images as can be, one after the other, so that the activations of only one are in
            memory at a time.
    """

    def __init__(self, *args: Any, parts: int, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._parts = parts

    def train_step(self, data: tuple[tf.Tensor, tf.Tensor, tf.Tensor]) -> dict[str, Any]:
        """Keras's hook: one step on a batch of images, labels and weights."""
        count = tf.shape(data[1])[0]
        batch_loss = tf.constant(0.0)
        sums = [tf.zeros_like(variable) for variable in self.trainable_variables]
        for i in range(self._parts):
            with tf.control_dependencies(sums):  # the part before is done
                images, labels, weights = (
                    piece[i * count // self._parts : (i + 1) * count // self._parts] for piece in data
                )
            with tf.GradientTape() as tape:
                logits = self(images, training=True)
                loss = self.compute_loss(images, labels, logits, weights)
            gradients = tape.gradient(loss, self.trainable_variables)
            sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
            batch_loss += loss
            self.compute_metrics(images, labels, logits, weights)
        self.optimizer.apply(sums, self.trainable_variables)
        self.metrics[0].update_state(batch_loss, sample_weight=count)  # Keras's `loss`
        return self.get_metrics_result()


def steps_per_execution(steps: int) -> int:
    """The greatest divisor of an epoch's steps that is at most `STEPS_PER_EXECUTION`.

    An execution that is no divisor would run into the next epoch.
    """
    return max(n for n in range(1, STEPS_PER_EXECUTION + 1) if steps % n == 0)


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


def _plain_copy(model: Any, experiment: Experiment, classes: int) -> Any:
    copy = build_model(experiment.model, classes)
    copy.set_weights(model.get_weights())
    return copy
