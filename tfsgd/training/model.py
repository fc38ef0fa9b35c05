"""The network as `fit` needs it: compiled, and passing over large batches part by part."""

from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.plan import optimizers
from tfsgd.plan.config import Experiment
from tfsgd.plan.length import steps_per_epoch
from tfsgd.plan.regimes import SGDSettings
from tfsgd.training.callbacks import exact_loss_metric
from tfsgd.training.devices import check_rules, check_statistics
from tfsgd.training.optimizer import SGD
from tfsgd.training.seeds import seeded
from tfsgd.training.train_steps import InParts, SharpnessAware

STEPS_PER_EXECUTION = 64  # at most so many steps between two visits to Python


PART_SIZE = 1_024  # images of a batch in one pass, on a replica: memory, not mathematics


def compiled_model(
    experiment: Experiment, settings: SGDSettings, strategy: tf.distribute.MirroredStrategy, examples: int
) -> Any:
    """The experiment's network, ready for `fit` over epochs of so many images."""
    replicas, steps = strategy.num_replicas_in_sync, steps_per_epoch(examples, settings.batch_size)
    with strategy.scope():
        model = experiment.build()
        check_statistics(model, replicas)
        check_rules([settings], replicas)
        parts = parts_of_a_batch(settings.batch_size, examples, replicas)
        # A layer with statistics of its own, as BatchNorm has, must see the whole batch at once.
        parts = 1 if model.non_trainable_weights else parts
        if settings.sam:
            model = SharpnessAware(
                model.inputs,
                model.outputs,
                name=model.name,
                parts=parts,
                rho=settings.sam,
                adaptive=settings.adaptive,
            )
        elif parts > 1:
            model = InParts(model.inputs, model.outputs, name=model.name, parts=parts)
        model.compile(
            optimizer=_optimizer(settings),
            loss=_loss(settings.label_smoothing),
            metrics=[
                "accuracy",
                *([exact_loss_metric()] if replicas > 1 or settings.label_smoothing else []),
            ],
            # With several replicas Keras supports neither more steps per execution nor XLA.
            steps_per_execution=steps_per_execution(steps, experiment.length.rest(steps))
            if replicas == 1
            else 1,
            jit_compile=False,
            # Keras would wrap SGD under a global policy of mixed_float16, and leave out steps whose scaled
            # gradients overflow: Algorithm 1 has neither.
            auto_scale_loss=False,
        )
        model.optimizer.build(model.trainable_variables)
    return model


def _optimizer(settings: SGDSettings) -> keras.optimizers.Optimizer:
    """The paper's SGD, or another of Keras's optimizers."""
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


def _loss(label_smoothing: float) -> keras.losses.Loss:
    """What SGD descends. The batches carry the weights that turn the sum into the mean over the whole batch."""
    if label_smoothing:
        return SmoothedCrossEntropy(label_smoothing)
    return keras.losses.SparseCategoricalCrossentropy(from_logits=True, reduction="sum")


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


def plain_copy(model: Any, experiment: Experiment) -> Any:
    """The network with its weights, under no strategy and not compiled."""
    copy = experiment.build()
    copy.set_weights(model.get_weights())
    return copy


def initial_weights(experiment: Experiment, seed: int) -> list[NDArray[Any]] | None:
    """The trained variables of the experiment's network before its training; `None`: its code is not to be had."""
    if not experiment.has_code:
        return None
    with seeded(seed):
        return [np.asarray(variable) for variable in experiment.build().trainable_variables]


def parts_of_a_batch(batch_size: int, examples: int, replicas: int) -> int:
    """How many parts hold at most `PART_SIZE` images of a replica; none is empty in the smaller last batch."""
    smallest = examples % batch_size or batch_size
    return min(-(-batch_size // (PART_SIZE * replicas)), smallest // replicas)


def steps_per_execution(steps: int, rest: int = 0) -> int:
    """The greatest divisor of an epoch's steps, and of a cut one's, that is at most `STEPS_PER_EXECUTION`.

    An execution that is no divisor would run into the next epoch.
    """
    return max(n for n in range(1, STEPS_PER_EXECUTION + 1) if steps % n == 0 and rest % n == 0)
