"""The network under attack, compiled once: every question that an attack may ask, as a graph of TensorFlow."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
from cleverhans.tf2.utils import clip_eta, optimize_linear
from numpy.typing import NDArray

from tfsgd.errors import RequestError
from tfsgd.measures.attack import Ascent
from tfsgd.measures.victim import Images, Labels, Mask
from tfsgd.models.structure import input_shape
from tfsgd.networks.finite import FINITE, ODD_LOGITS, faults_of, predicted_classes, refuse, refuse_infinite
from tfsgd.networks.losses import LOSSES, TARGETED, UPHILL

CHUNK_SIZE = 256  # images in one pass: memory and speed, not mathematics

# What graphs are traced for
NUMBER, NUMBERS = tf.TensorSpec((), tf.float32), tf.TensorSpec((None,), tf.float32)
COUNT, FLAG = tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.bool)


class CompiledVictim:
    """A `tfsgd.measures.victim.Victim` of logits; every graph is traced once, whatever the epsilon, steps or number of images.

    Args:
        logits: images, float32 `(N, *image_shape)` in [0, 1], to logits `(N, classes)`; in inference mode.
        image_shape: `(height, width, channels)`.
        name: for messages.
        chunk_size: images in one pass.

    Attributes:
        beside: the name of another network -> a `tfsgd.networks.surrogate.Source`.

    Raises:
        RequestError: the outputs are probabilities, or differ between two calls.
    """

    def __init__(
        self,
        logits: Callable[[tf.Tensor], tf.Tensor],
        image_shape: tuple[int, ...],
        name: str = "the network",
        chunk_size: int = CHUNK_SIZE,
    ) -> None:
        self._images = tf.TensorSpec((None, *image_shape), tf.float32)
        self._labels = tf.TensorSpec((None,), tf.int64)
        self._ask = logits
        self._name = name
        self._chunk_size = chunk_size
        self._logits = tf.function(logits, [self._images])
        self._predict = tf.function(lambda images: predicted_classes(logits(images)), [self._images])
        self.beside: Callable[[str], Any] = nobody
        self._graphs: dict[tuple[Any, ...], Any] = {}  # by what they do, up which loss, and how
        check_logits(self.logits, np.random.default_rng(0).random((8, *image_shape), np.float32), name)

    @classmethod
    def of(cls, model: Any, chunk_size: int = CHUNK_SIZE) -> "CompiledVictim":
        """The victim that is a Keras model, in inference mode."""
        return cls(
            lambda x: model(x, training=False),
            (input_shape(model) or ())[1:],
            f"model {model.name}",
            chunk_size,
        )

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Logits, shape `(N, classes)`."""
        return np.concatenate([self._logits(images[c]).numpy() for c in self._chunks(images)])

    def finite_logits(self, images: Images) -> NDArray[np.float32]:
        """The same; refuses those that are not finite, as all questions below do, and gradients that are not."""
        logits = self.logits(images)
        refuse_infinite(self._name, logits)
        return logits

    def predict(self, images: Images) -> Labels:
        """Predicted classes, shape `(N,)`."""
        predicted = np.concatenate([self._predict(images[c]).numpy() for c in self._chunks(images)])
        refuse(self._name, np.where(predicted < 0, ODD_LOGITS, FINITE))
        return predicted

    def gradient(self, images: Images, labels: Labels, loss: str = "cross_entropy") -> Images:
        """The way up each image's loss, shaped as the images: see `value_and_gradient`."""
        return self.value_and_gradient(images, labels, loss)[2]

    def value_and_gradient(
        self, images: Images, labels: Labels, loss: str = "cross_entropy", targets: Labels | None = None
    ) -> tuple[Labels, NDArray[np.float32], Images]:
        """Predictions, losses and the way up them; see `Victim`."""
        graph, towards = self._gradient(loss, targeted=targets is not None), _or(targets, labels)
        found = [[t.numpy() for t in graph(images[c], labels[c], towards[c])] for c in self._chunks(images)]
        predicted, gradient, losses = (np.concatenate(parts) for parts in zip(*found, strict=True))
        refuse(self._name, faults_of(predicted, gradient).numpy())
        return predicted, losses, gradient

    def step(
        self,
        images: Images,
        labels: Labels,
        step_size: float,
        loss: str = "cross_entropy",
        norm: str = "Linf",
    ) -> Images:
        """The images after one step of length `step_size` up the loss, clipped to [0, 1]."""
        how = Ascent(0, 0, 1, False, loss, norm=norm)
        graph = self._graph("step", how, self._step_in_graph, [self._images, self._labels, NUMBER])
        moved, faults = np.empty_like(images), np.zeros(len(images), np.int32)
        for c in self._chunks(images):
            moved[c], faults[c] = (tensor.numpy() for tensor in graph(images[c], labels[c], step_size))
        refuse(self._name, faults)
        return moved

    def ascend(self, images: Images, labels: Labels, start: Images, how: Ascent) -> tuple[Images, Mask]:
        """Many steps up the loss, each followed by a projection into the ball; see `Victim`."""
        reached, correct, _ = self.climb(images, labels, start, how)
        return reached, correct

    def climb(
        self, images: Images, labels: Labels, start: Images, how: Ascent
    ) -> tuple[Images, Mask, NDArray[np.float32]]:
        """As `ascend`; and how much the last step raised each image's loss, NaN where it ended before, `(N,)`."""
        kinds = [self._images, self._labels, self._labels, self._images, NUMBERS, NUMBERS, COUNT, FLAG]
        graph = self._graph("ascend", how, self._ascend_in_graph, kinds)
        towards = _or(how.targets, labels)
        epsilon, step_size = (
            np.broadcast_to(np.float32(x), len(images)) for x in (how.epsilon, how.step_size)
        )
        found = graph(images, labels, towards, start, epsilon, step_size, how.steps, how.early_stop)
        reached, correct, rise, faults = (tensor.numpy() for tensor in found)
        refuse(self._name, faults)
        return reached, correct, rise

    def answers_as_traced(self, images: Images, labels: Labels) -> bool:
        """Whether the graphs still do what the network does: a setting of a layer may be another one by now.

        Weights are read anew each time, and need no look. Asked of the logits, and of whichever gradients were traced.
        """
        images, labels = tf.constant(images), tf.constant(labels)
        pairs = [(self._ask(images), self._logits(images))]
        for (what, *_), graph in self._graphs.items():
            if what == "gradient":
                three = images, labels, labels
                pairs += zip(graph.python_function(*three), graph(*three), strict=True)
        return all(_about_equal(now.numpy(), traced.numpy()) for now, traced in pairs)

    def _chunks(self, images: Images) -> Iterator[slice]:
        return (slice(i, i + self._chunk_size) for i in range(0, len(images), self._chunk_size))

    def _graph(self, what: str, how: Ascent, python: Callable[..., Any], kinds: list[tf.TensorSpec]) -> Any:
        targeted = how.targets is not None
        key = (what, how.loss, how.temperature, how.norm, targeted)
        if key not in self._graphs:
            gradient = self._gradient(how.loss, how.temperature, targeted)
            self._graphs[key] = tf.function(lambda *tensors: python(gradient, how.norm, *tensors), kinds)
        return self._graphs[key]

    def _gradient(self, loss: str, temperature: float = 1.0, targeted: bool = False) -> Any:
        """`(images, labels, targets)` -> predicted classes, the way up each image's loss, and the losses.

        Not inlined: in the graph of a loop TensorFlow leaves MaxPool's gradient to a kernel of its own, which
        is more than ten times slower than oneDNN's.
        """

        def gradient(
            images: tf.Tensor, labels: tf.Tensor, targets: tf.Tensor
        ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
            with tf.GradientTape() as tape:
                tape.watch(images)
                logits = self._ask(images)
                divided = logits if temperature == 1 else logits / temperature
                height = (
                    TARGETED[loss](labels, divided, targets) if targeted else UPHILL[loss](labels, divided)
                )
            uphill = tape.gradient(height, images)
            if uphill is None:  # it does not reach the pixels
                uphill = tf.fill(tf.shape(images), np.float32(np.nan))
            value = height if targeted else LOSSES[loss](labels, divided)
            return predicted_classes(logits), uphill, value

        key = ("gradient", loss, temperature, targeted)
        if key not in self._graphs:
            kinds = [self._images, self._labels, self._labels]
            self._graphs[key] = tf.function(gradient, kinds, experimental_attributes={"_noinline": True})
        return self._graphs[key]

    @staticmethod
    def _step_in_graph(
        gradient_of: Callable[..., Any],
        norm: str,
        images: tf.Tensor,
        labels: tf.Tensor,
        step_size: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        predicted, gradient, _ = gradient_of(images, labels, labels)
        moved = tf.clip_by_value(images + _steepest(gradient, step_size, norm), 0.0, 1.0)
        return moved, faults_of(predicted, gradient)

    def _ascend_in_graph(
        self, gradient_of: Callable[..., Any], norm: str, *tensors: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor, tf.Tensor]:
        """Steps on all images, with a chunk of them under way at a time.

        An image that is done leaves the chunk and the next one takes its place, each with its own
        count of steps. So the passes stay full while early stopping takes images out at once.
        """
        images, labels, targets, start, epsilon, step_size, steps, early_stop = tensors
        count = tf.shape(images)[0]
        epsilon, step_size = (
            tf.reshape(x, [-1, *[1] * (images.shape.rank - 1)]) for x in (epsilon, step_size)
        )
        result = tf.zeros_like(images)
        correct = tf.zeros([count], tf.bool)
        rise = tf.fill([count], np.float32(np.nan))
        faults = tf.fill([count], FINITE)
        waiting = 0  # the next image to enter
        index = tf.zeros([0], tf.int32)  # of the images under way
        done_steps = tf.zeros([0], tf.int32)
        before = tf.zeros([0], tf.float32)  # each one's loss before its last step
        current = images[:0]
        while waiting < count or tf.size(index) > 0:
            tf.autograph.experimental.set_loop_options(
                shape_invariants=[
                    (index, tf.TensorShape([None])),
                    (done_steps, tf.TensorShape([None])),
                    (before, tf.TensorShape([None])),
                    (current, tf.TensorShape([None, *images.shape[1:]])),
                ]
            )
            entering = tf.range(waiting, tf.minimum(count, waiting + self._chunk_size - tf.size(index)))
            waiting += tf.size(entering)
            first = _into_ball(
                tf.gather(images, entering), tf.gather(start, entering), tf.gather(epsilon, entering), norm
            )
            index = tf.concat([index, entering], 0)
            done_steps = tf.concat([done_steps, tf.zeros_like(entering)], 0)
            before = tf.concat([before, tf.fill([tf.size(entering)], np.float32(np.nan))], 0)
            current = tf.concat([current, first], 0)

            label = tf.gather(labels, index)
            predicted, gradient, losses = gradient_of(current, label, tf.gather(targets, index))
            losses = tf.cast(losses, tf.float32)
            right = predicted == label
            leaving = (done_steps == steps) | (early_stop & ~right)
            result = tf.tensor_scatter_nd_update(result, index[leaving][:, None], current[leaving])
            correct = tf.tensor_scatter_nd_update(correct, index[leaving][:, None], right[leaving])
            last = done_steps == steps
            rise = tf.tensor_scatter_nd_update(rise, index[last][:, None], losses[last] - before[last])

            staying = ~leaving  # who leaves needs no gradient
            fault = tf.where(leaving & (predicted >= 0), FINITE, faults_of(predicted, gradient))
            faults = tf.tensor_scatter_nd_max(faults, index[:, None], fault)
            index, done_steps, before = index[staying], done_steps[staying] + 1, losses[staying]
            current = current[staying] + _steepest(gradient[staying], tf.gather(step_size, index), norm)
            current = tf.clip_by_value(current, 0.0, 1.0)
            clean = tf.gather(images, index)
            current = _into_ball(clean, current - clean, tf.gather(epsilon, index), norm)
        return result, correct, rise, faults


def _about_equal(one: NDArray[Any], other: NDArray[Any]) -> bool:
    """But for the rounding of another order of the sums."""
    scale = float(np.abs(other).max(initial=0, where=np.isfinite(other)))
    return np.allclose(one, other, rtol=1e-3, atol=1e-3 * scale, equal_nan=True)


def nobody(name: str) -> Any:
    """The other networks of a victim that was given none.

    Raises:
        RequestError: always.
    """
    raise RequestError(f"source: {name}: no other network is known here")


ORDERS = {"Linf": np.inf, "L2": 2}  # as CleverHans has them


def _into_ball(clean: tf.Tensor, perturbation: tf.Tensor, epsilon: tf.Tensor, norm: str) -> tf.Tensor:
    return tf.clip_by_value(clean + clip_eta(perturbation, ORDERS[norm], epsilon), 0.0, 1.0)


def _steepest(gradient: tf.Tensor, step_size: tf.Tensor, norm: str) -> tf.Tensor:
    """CleverHans's step. It divides by no L2 norm below 1e-6, so a gradient is first divided by its largest entry."""
    if norm == "L2":
        largest = tf.reduce_max(tf.abs(gradient), list(range(1, len(gradient.shape))), keepdims=True)
        gradient = tf.math.divide_no_nan(gradient, largest)
    return optimize_linear(gradient, step_size, ORDERS[norm])


def _or(targets: Labels | None, labels: Labels) -> Labels:
    return labels if targets is None else targets


def check_logits(logits: Callable[[Images], NDArray[np.float32]], images: Images, name: str) -> None:
    """Refuses a network that no gradient attack can judge.

    Raises:
        RequestError: outputs are no table of logits, are probabilities (their loss has no gradient where it
            saturates), differ between two calls, or depend on the other images of a batch.
    """
    first, second = logits(images), logits(images)
    if first.ndim != 2 or first.shape[0] != len(images) or first.shape[1] < 2:
        raise RequestError(
            f"{name}: expected logits of shape (images, classes), received {first.shape} for {len(images)} images"
        )
    if np.isfinite(first).all() and not np.array_equal(first, second):
        raise RequestError(
            f"{name}: expected the same outputs for the same images, received different ones; "
            "switch off what is random in it (dropout, noise)"
        )
    some = logits(images[: len(images) // 2])
    if np.isfinite(first).all() and not np.allclose(
        some, first[: len(some)], rtol=1e-3, atol=1e-3 * float(np.abs(first).max())
    ):
        raise RequestError(
            f"{name}: expected outputs of an image that do not depend on the others of its batch, received other ones; "
            "let BatchNorm use its running statistics"
        )
    rounding = 1e-4 + float(np.spacing(first.dtype.type(1))) * first.shape[1]  # of a sum, with 16 bits too
    if (first >= 0).all() and np.allclose(first.sum(1), 1, atol=rounding):
        raise RequestError(f"{name}: expected logits, received probabilities; leave the softmax out")
