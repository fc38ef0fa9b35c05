"""The network as `fit` needs it: compiled, and passing over large batches part by part."""

from typing import Any

import keras
import tensorflow as tf

from tfsgd.plan.config import Experiment
from tfsgd.plan.length import steps_per_epoch
from tfsgd.plan.regimes import SGDSettings
from tfsgd.training.callbacks import exact_loss_metric
from tfsgd.training.devices import check_statistics
from tfsgd.training.optimizer import SGD

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
        parts = parts_of_a_batch(settings.batch_size, examples, replicas)
        # A layer with statistics of its own, as BatchNorm has, must see the whole batch at once.
        if parts > 1 and not model.non_trainable_weights:
            model = InParts(model.inputs, model.outputs, name=model.name, parts=parts)
        model.compile(
            optimizer=SGD(
                settings.learning_rate,
                momentum=float(settings.momentum),
                nesterov=settings.nesterov,
                weight_decay=settings.weight_decay or None,
            ),
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


def steps_per_execution(steps: int, rest: int = 0) -> int:
    """The greatest divisor of an epoch's steps, and of a cut one's, that is at most `STEPS_PER_EXECUTION`.

    An execution that is no divisor would run into the next epoch.
    """
    return max(n for n in range(1, STEPS_PER_EXECUTION + 1) if steps % n == 0 and rest % n == 0)
