"""Steps of SGD that Keras has not: over a batch in parts, on attacked images, and with the gradient of another place (SAM)."""

from typing import Any

import keras
import tensorflow as tf

from tfsgd.training.adversarial import attacked

Batch = tuple[tf.Tensor, tf.Tensor, tf.Tensor]  # images, labels, weights
ETA = 0.01  # Kwon et al. 2021: a weight that is 0 is still moved


class InParts(keras.Model):
    """A network that passes over each batch part by part, and then takes the step of the whole batch.

    The gradient of the batch's loss is the sum of the parts' gradients. With BatchNorm it is not: its
    statistics are those of the images that it sees at once, as of the ghost batches of Hoffer et al. 2017 (Algorithm 1).

    Attributes:
        parts: of as many images as can be, one after the other, so that the activations of only one are in
            memory at a time.
        attack: on the images of each step, and its epsilon; `None`: they are as they are.
    """

    parts = 1
    attack: tuple[str, float] | None = None

    def train_step(self, data: Batch) -> dict[str, Any]:
        """Keras's hook: one step on a batch of images, labels and weights."""
        count = tf.shape(data[1])[0]
        gradients, loss = self._gradients(self._attacked(data, count), count)
        self.optimizer.apply(gradients, self.trainable_variables)
        self.metrics[0].update_state(loss, sample_weight=count)  # Keras's `loss`
        return self.get_metrics_result()

    def _part(self, i: int, data: Batch, count: tf.Tensor) -> Batch:
        """One part of a batch of so many images."""
        begin, end = i * count // self.parts, (i + 1) * count // self.parts
        images, labels, weights = (piece[begin:end] for piece in data)
        return images, labels, weights

    def _attacked(self, data: Batch, count: tf.Tensor) -> Batch:
        if self.attack is None:
            return data
        parts = [self._part(i, data, count) for i in range(self.parts)]
        images = [attacked(self, images, labels, *self.attack) for images, labels, _ in parts]
        return tf.concat(images, 0), *data[1:]

    def _gradients(
        self, data: Batch, count: tf.Tensor, is_measured: bool = True
    ) -> tuple[list[tf.Tensor], tf.Tensor]:
        """The gradients of the loss of a batch of so many images, and the loss; the metrics are told, or not."""
        batch_loss = tf.constant(0.0)
        sums = [tf.zeros_like(variable) for variable in self.trainable_variables]
        for i in range(self.parts):
            with tf.control_dependencies(sums):  # the part before is done
                images, labels, weights = self._part(i, data, count)
            with tf.GradientTape() as tape:
                logits = self(images, training=True)
                loss = self.compute_loss(images, labels, logits, weights)
            gradients = tape.gradient(loss, self.trainable_variables)
            sums = [total + gradient for total, gradient in zip(sums, gradients, strict=True)]
            batch_loss += loss
            if is_measured:
                self.compute_metrics(images, labels, logits, weights)
        return sums, batch_loss


class SharpnessAware(InParts):
    """SAM (Foret et al. 2021, Algorithm 1): SGD with the gradient at theta + rho g / |g|, g being that at theta.

    Both passes see the same images with the same dropout masks. BatchNorm's moving statistics, the loss and the
    accuracy are those of the first.

    Args:
        rho: length of the ascent.
        adaptive: ASAM (Kwon et al. 2021, equation 8): the ascent is rho T^2 g / |T g|, T being |theta| + 0.01, and 1 for
            biases, as in the authors' code.
    """

    def __init__(self, *args: Any, rho: float, adaptive: bool, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._rho, self._adaptive = rho, adaptive

    def train_step(self, data: Batch) -> dict[str, Any]:
        """Keras's hook: one step on a batch of images, labels and weights."""
        count = tf.shape(data[1])[0]
        data = self._attacked(data, count)
        changing = [*self.trainable_variables, *self._states()]
        before = [tf.identity(variable) for variable in changing]
        gradients, loss = self._gradients(data, count)
        after = [*before[: len(gradients)], *(tf.identity(state) for state in changing[len(gradients) :])]
        for variable, ascent in zip(changing, self._ascent(gradients), strict=False):
            variable.assign_add(ascent)
        for state, value in zip(changing[len(gradients) :], before[len(gradients) :], strict=True):
            state.assign(value)
        gradients, _ = self._gradients(data, count, is_measured=False)
        for variable, value in zip(changing, after, strict=True):
            variable.assign(value)
        self.optimizer.apply(gradients, self.trainable_variables)
        self.metrics[0].update_state(loss, sample_weight=count)  # Keras's `loss`
        return self.get_metrics_result()

    def _states(self) -> list[Any]:
        """BatchNorm's moving statistics and dropout's generators."""
        others = [variable for metric in self.metrics for variable in metric.variables]
        known = {id(variable) for variable in [*others, *self.trainable_variables]}
        return [variable for variable in self.variables if id(variable) not in known]

    def _ascent(self, gradients: list[tf.Tensor]) -> list[tf.Tensor]:
        """From the weights to where the loss is highest in their neighbourhood, to first order."""
        scales = [self._scale(variable) for variable in self.trainable_variables]
        scaled = [scale * gradient for scale, gradient in zip(scales, gradients, strict=True)]
        length = tf.math.divide_no_nan(self._rho, tf.linalg.global_norm(scaled))
        return [length * scale * one for scale, one in zip(scales, scaled, strict=True)]

    def _scale(self, variable: Any) -> Any:
        is_scaled = self._adaptive and variable.name not in ("bias", "beta")
        return tf.abs(variable.value) + ETA if is_scaled else 1.0
