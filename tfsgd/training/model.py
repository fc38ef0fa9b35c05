"""The network as `fit` needs it: compiled, and passing over large batches part by part."""

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.models.paper import Architecture
from tfsgd.models.structure import structure_sha256
from tfsgd.networks.losses import squared_error
from tfsgd.plan import optimizers
from tfsgd.plan.config import Experiment
from tfsgd.plan.import_string import is_own_name
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.stages import Stage, stages_of
from tfsgd.plan.user_model import UserModel
from tfsgd.training.callbacks import exact_loss_metric
from tfsgd.training.devices import check_ghosts, check_rules, check_statistics
from tfsgd.training.optimizer import SGD
from tfsgd.training.own_optimizer import check_state, own_optimizer
from tfsgd.training.precision import build_in
from tfsgd.training.seeds import seeded
from tfsgd.training.train_steps import InParts, SharpnessAware

STEPS_PER_EXECUTION = 64  # at most so many steps between two visits to Python


PART_SIZE = 1_024  # images of a batch in one pass, on a replica: memory, not mathematics


def compiled_model(
    experiment: Experiment, settings: SGDSettings, strategy: tf.distribute.MirroredStrategy, examples: int
) -> Any:
    """The experiment's network, ready for `fit` over the first stage of a training on so many images."""
    replicas, stages = strategy.num_replicas_in_sync, stages_of(settings, experiment.length, examples)
    with strategy.scope():
        model = build_in(experiment, settings.precision)
        check_statistics(model, replicas)
        check_rules([settings], replicas)
        check_ghosts([settings], model)
        parts = [_parts(model, settings, stage, examples, replicas) for stage in stages]
        if settings.sam:
            model = SharpnessAware(
                model.inputs, model.outputs, name=model.name, rho=settings.sam, adaptive=settings.adaptive
            )
        elif max(parts) > 1 or settings.adversarial_epochs:
            model = InParts(model.inputs, model.outputs, name=model.name)
        model.compile(
            optimizer=_optimizer(experiment, settings),
            loss=_loss(settings),
            metrics=[
                "accuracy",
                *([exact_loss_metric()] if replicas > 1 or settings.label_smoothing else []),
            ],
            jit_compile=False,
            # Keras would wrap SGD under a global policy of mixed_float16, and leave out steps whose scaled
            # gradients overflow: Algorithm 1 has neither.
            auto_scale_loss=False,
        )
        model.optimizer.build(model.trainable_variables)
        check_state(model.optimizer, settings.optimizer)
    enter(model, settings, stages[0], examples, replicas)
    return model


def enter(model: Any, settings: SGDSettings, stage: Stage, examples: int, replicas: int) -> None:
    """Makes the network ready for the epochs of a stage, over so many images."""
    if isinstance(model, InParts):
        model.parts = _parts(model, settings, stage, examples, replicas)
        attack = settings.adversarial_attack, settings.adversarial_epsilon
        model.attack = attack if stage.is_adversarial else None
    # With several replicas Keras supports neither more steps per execution nor XLA.
    is_alone = stage.is_watched or replicas > 1
    model.steps_per_execution = 1 if is_alone else steps_per_execution(stage.steps)
    model.train_function = None  # traced anew


def _parts(model: Any, settings: SGDSettings, stage: Stage, examples: int, replicas: int) -> int:
    """In how many parts the network passes over a batch of a stage."""
    # A layer with statistics of its own, as BatchNorm has, must see the whole batch at once, or each ghost batch.
    if model.non_trainable_weights:
        return -(-stage.batch_size // settings.ghost_batch) if settings.ghost_batch else 1
    return parts_of_a_batch(stage.batch_size, examples, replicas)


def _optimizer(experiment: Experiment, settings: SGDSettings) -> keras.optimizers.Optimizer:
    """The paper's SGD, or another of Keras's optimizers, or one's own."""
    if is_own_name(settings.optimizer):
        return own_optimizer(experiment, settings)
    if settings.optimizer != optimizers.SGD:
        given = optimizers.arguments(settings.optimizer, settings.optimizer_arguments)
        config = {"learning_rate": settings.learning_rate, **given}
        return keras.optimizers.deserialize({"class_name": settings.optimizer, "config": config})
    return SGD(
        settings.learning_rate,
        momentum=float(settings.momentum),
        nesterov=settings.nesterov,
        weight_decay=settings.weight_decay or None,
    )


def _loss(settings: SGDSettings) -> keras.losses.Loss:
    """What SGD descends. The batches carry the weights that turn the sum into the mean over the whole batch."""
    if settings.loss == "mse":
        return SquaredError()
    if settings.label_smoothing:
        return SmoothedCrossEntropy(settings.label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")


class SquaredError(keras.losses.Loss):
    """The sum of `tfsgd.networks.losses.squared_error`."""

    def __init__(self) -> None:
        super().__init__(name="squared_error", reduction="sum")

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Keras's hook: of labels and logits."""
        return squared_error(tf.cast(y_true, tf.int64), y_pred)


class SmoothedCrossEntropy(keras.losses.Loss):
    """The sum of the cross-entropies with labels of which a share is dealt out to all classes alike.

    Szegedy et al. 2016, Section 7: y is 1 - share at the label, and share / classes more at every class.
    """

    def __init__(self, share: float) -> None:
        super().__init__(name="smoothed_cross_entropy", reduction="sum")
        self._share = share

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Keras's hook: of labels and logits."""
        of_labels = keras.losses.sparse_categorical_crossentropy(y_true, y_pred, from_logits=True)
        of_all = keras.ops.logsumexp(y_pred, axis=-1) - keras.ops.mean(y_pred, axis=-1)
        return (1 - self._share) * of_labels + self._share * of_all


@functools.cache
def _structure(
    architecture: Architecture | UserModel, image_shape: tuple[int, int, int], classes: int
) -> str:
    return structure_sha256(architecture.build(image_shape, classes))


def structure_of(experiment: Experiment) -> str:
    """SHA-256 of how an experiment's network is built."""
    return _structure(experiment.architecture, experiment.data.image_shape, experiment.data.classes)


def plain_copy(model: Any, experiment: Experiment) -> Any:
    """The network with its weights, under no strategy and not compiled."""
    copy = experiment.build()
    copy.set_weights(model.get_weights())
    return copy


def initial_weights(experiment: Experiment, seed: int) -> list[NDArray[Any]] | None:
    """The trained variables of the experiment's network before its training.

    `None`: its code is not to be had, or it began with a checkpoint of another training.
    """
    if experiment.fork or not experiment.has_code:
        return None
    with seeded(seed):
        return [np.asarray(variable) for variable in experiment.build().trainable_variables]


def parts_of_a_batch(batch_size: int, examples: int, replicas: int) -> int:
    """How many parts hold at most `PART_SIZE` images of a replica; none is empty in the smaller last batch."""
    smallest = examples % batch_size or batch_size
    return min(-(-batch_size // (PART_SIZE * replicas)), smallest // replicas)


def steps_per_execution(steps: int) -> int:
    """The greatest divisor of an epoch's steps that is at most `STEPS_PER_EXECUTION`.

    An execution that is no divisor would run into the next epoch.
    """
    return max(n for n in range(1, STEPS_PER_EXECUTION + 1) if steps % n == 0)
