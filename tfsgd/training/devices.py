"""Which devices train, and what can only be set before TensorFlow starts to compute."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any

import keras
import tensorflow as tf
from tensorflow.python.framework import ops

from tfsgd.environment import refuse_other_settings
from tfsgd.errors import RequestError
from tfsgd.plan.regimes import SGDSettings


def configure_tensorflow(threads: int | None = None) -> None:
    """Sets what can only be set before TensorFlow starts to compute.

    Args:
        threads: within an operation; `None` leaves one for each core.

    Raises:
        RequestError: Keras is set up otherwise than a record would say.
    """
    refuse_other_settings(keras)
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


def check_rules(all_settings: Iterable[SGDSettings], replicas: int) -> None:
    """Refuses SAM on several replicas: it needs the gradient of the whole batch before it has one.

    Raises:
        RequestError: a setting has it.
    """
    if replicas > 1 and any(settings.sam for settings in all_settings):
        raise RequestError(
            f"regimes: sam: expected one replica, found {replicas}; leave it out, or train on one device"
        )


def check_ghosts(all_settings: Iterable[SGDSettings], network: Any) -> None:
    """Refuses ghost batches where nothing is normalized over a batch.

    Raises:
        RequestError: a setting has them, and the network no statistics of its own.
    """
    if any(settings.ghost_batch for settings in all_settings) and not network.non_trainable_weights:
        raise RequestError(
            f"regimes: ghost_batch: expected a network with BatchNorm, {network.name} has none; leave it out"
        )


def check_statistics(network: Any, replicas: int) -> None:
    """Refuses BatchNorm that would take its moments over a replica's part of each batch, and not over the batch.

    Args:
        network: a Keras model.
        replicas: see `replica_devices`.

    Raises:
        RequestError: a layer is not synchronized.
    """
    for layer in network._flatten_layers() if replicas > 1 else ():
        normalizes = isinstance(layer, keras.layers.BatchNormalization) and layer.trainable
        if normalizes and not layer.synchronized:
            raise RequestError(
                f"model: the layer {layer.name} would take its moments over a part of each batch on each of "
                f"{replicas} replicas; give it synchronized=True, or train on one"
            )


@contextlib.contextmanager
def custom_gradients_forgotten() -> Iterator[None]:
    """Gives back the memory of what is traced inside: 3.6 MB a trial, in a process that trains many.

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
