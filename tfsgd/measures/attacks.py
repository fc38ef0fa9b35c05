"""Adversarial accuracy: CleverHans's FGSM and PGD in the L-infinity ball, true labels, images in [0, 1].

To add an attack, write a method of `Attacker` that returns which images still get their label,
name it in `planned_attacks`
and `Attacker.run`, and give it a block in `config.Attacks`.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import tensorflow as tf
from cleverhans.tf2.attacks import fast_gradient_method as cleverhans_fgsm
from cleverhans.tf2.utils import clip_eta, compute_gradient, optimize_linear
from numpy.typing import NDArray

from tfsgd.measures.loss import cross_entropy
from tfsgd.plan.config import Attacks
from tfsgd.records.record import AttackResult

Images = NDArray[np.float32]  # (N, height, width, channels) in [0, 1]
Labels = NDArray[np.int64]  # (N,)
Mask = NDArray[np.bool_]  # (N,)

# CleverHans's gradient is a tf.function for the whole process, whose cache would keep every network that
# was ever attacked. Its plain function computes the same inside the graphs below, which go with the network.
cleverhans_fgsm.compute_gradient = compute_gradient.python_function

CHUNK_SIZE = 256  # images in one pass: memory and speed, not mathematics
BALL_TOLERANCE = 1e-6  # float32 rounding of x + epsilon


@dataclass(frozen=True)
class Outcome:
    """What an attack left: the perturbed images, and which of them still get their true label."""

    images: Images
    correct: Mask


class Attacker:
    """Attacks one model; every graph is traced once, whatever the epsilon, steps or number of images.

    Args:
        model: a Keras model, float32 images in [0, 1] to logits.
        chunk_size: images in one pass.

    Raises:
        ValueError: the model's outputs are probabilities, or differ between two calls.
    """

    def __init__(self, model: Any, chunk_size: int = CHUNK_SIZE) -> None:
        shape = model.input_shape[1:]
        images = tf.TensorSpec((None, *shape), tf.float32)
        labels = tf.TensorSpec((None,), tf.int64)
        number, count, flag = (tf.TensorSpec((), dtype) for dtype in (tf.float32, tf.int32, tf.bool))
        self._model = model
        self._chunk_size = chunk_size
        self._fgsm = tf.function(self._fgsm_in_graph, [images, labels, number])
        self._pgd = tf.function(self._pgd_in_graph, [images, images, labels, number, number, count, flag])
        # Not inlined: in the graph of PGD's loop TensorFlow leaves MaxPool's gradient to a kernel of its own,
        # which is more than ten times slower than oneDNN's.
        self._gradient = tf.function(
            self._loss_gradient, [images, labels], experimental_attributes={"_noinline": True}
        )
        self._predict = tf.function(lambda x: tf.argmax(self._logits(x), 1), [images])
        check_logits(model, np.random.default_rng(0).random((8, *shape), np.float32))

    def predict(self, images: Images) -> NDArray[np.int64]:
        """Predicted classes, shape `(N,)`."""
        return np.concatenate([self._predict(images[c]).numpy() for c in self._chunks(images)])

    def run(self, planned: AttackResult, images: Images, labels: Labels, seed: int) -> Outcome:
        """Runs the attack that a plan describes."""
        if planned.name == "fgsm":
            return self.fgsm(images, labels, planned.epsilon)
        return self.pgd(
            images, labels, planned.epsilon, steps=planned.steps, step_size=planned.step_size,
            random_start=planned.random_start, restarts=planned.restarts,
            early_stop=planned.early_stop, seed=seed,
        )  # fmt: skip

    def fgsm(self, images: Images, labels: Labels, epsilon: float) -> Outcome:
        """Fast gradient sign method: one step of size epsilon."""
        perturbed = np.empty_like(images)
        for c in self._chunks(images):
            perturbed[c] = self._fgsm(images[c], labels[c], epsilon).numpy()
        assert_in_ball(perturbed, images, epsilon)
        return Outcome(perturbed, self.predict(perturbed) == labels)

    def pgd(
        self,
        images: Images,
        labels: Labels,
        epsilon: float,
        *,
        steps: int,
        step_size: float,
        random_start: bool,
        restarts: int = 1,
        early_stop: bool,
        seed: int = 0,
    ) -> Outcome:
        """Projected gradient descent (Madry et al. 2018).

        Args:
            images: clean images.
            labels: their true labels.
            epsilon: radius of the ball around each image.
            steps: gradient steps.
            step_size: L-infinity length of each step, in pixel units.
            random_start: start uniformly in the ball, else at the image.
            restarts: runs from different starts; an image counts as broken if any run breaks it.
            early_stop: an image is broken if the clean image, the start or the image after any
                step is misclassified; it is then attacked no further. Else only the image after
                the last step counts, as in CleverHans.
            seed: of the random starts, which are drawn image by image: the first images' starts
                do not depend on how many follow.

        Returns:
            The misclassified image where one was found, else the last iterate of the last run.
        """
        perturbed = images.copy()
        correct = self.predict(images) == labels if early_stop else np.ones(len(images), bool)
        for restart in range(restarts):
            start = (
                _random_start(images.shape, epsilon, (seed, restart))
                if random_start
                else np.zeros_like(images)
            )
            left = np.flatnonzero(correct)
            start = start[left]
            last, right = self._pgd(images[left], start, labels[left], epsilon, step_size, steps, early_stop)
            perturbed[left], correct[left] = last.numpy(), right.numpy()
        assert_in_ball(perturbed, images, epsilon)
        return Outcome(perturbed, correct)

    def zero_gradient_fraction(self, images: Images, labels: Labels) -> float:
        """Share of images whose loss has an input gradient of exactly zero: no attack can move them.

        In float32 the cross-entropy saturates: it is a sign of confidence, not of robustness.
        """
        zero = [
            ~np.any(self._gradient(images[c], labels[c])[1].numpy(), axis=(1, 2, 3))
            for c in self._chunks(images)
        ]
        return float(np.concatenate(zero).mean())

    def _chunks(self, images: Images) -> Iterator[slice]:
        return (slice(i, i + self._chunk_size) for i in range(0, len(images), self._chunk_size))

    def _logits(self, images: tf.Tensor) -> tf.Tensor:
        return self._model(images, training=False)

    def _fgsm_in_graph(self, images: tf.Tensor, labels: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
        return cleverhans_fgsm.fast_gradient_method(
            self._logits, images, epsilon, np.inf, clip_min=0.0, clip_max=1.0, y=labels
        )

    def _loss_gradient(self, images: tf.Tensor, labels: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        with tf.GradientTape() as tape:
            tape.watch(images)
            logits = self._logits(images)
            loss = cross_entropy(labels, logits)
        return tf.argmax(logits, 1), tape.gradient(loss, images)

    def _pgd_in_graph(
        self,
        images: tf.Tensor,
        start: tf.Tensor,
        labels: tf.Tensor,
        epsilon: tf.Tensor,
        step_size: tf.Tensor,
        steps: tf.Tensor,
        early_stop: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """PGD over all images, with a chunk of them under way at a time.

        An image that is done leaves the chunk and the next one takes its place, each with its own
        count of steps. So the passes stay full while early stopping takes images out at once.
        """
        count = tf.shape(images)[0]
        result = tf.zeros_like(images)
        correct = tf.zeros([count], tf.bool)
        waiting = 0  # the next image to enter
        index = tf.zeros([0], tf.int32)  # of the images under way
        done_steps = tf.zeros([0], tf.int32)
        current = images[:0]
        while waiting < count or tf.size(index) > 0:
            tf.autograph.experimental.set_loop_options(
                shape_invariants=[
                    (index, tf.TensorShape([None])),
                    (done_steps, tf.TensorShape([None])),
                    (current, tf.TensorShape([None, *images.shape[1:]])),
                ]
            )
            entering = tf.range(waiting, tf.minimum(count, waiting + self._chunk_size - tf.size(index)))
            waiting += tf.size(entering)
            first = _into_ball(tf.gather(images, entering), tf.gather(start, entering), epsilon)
            index = tf.concat([index, entering], 0)
            done_steps = tf.concat([done_steps, tf.zeros_like(entering)], 0)
            current = tf.concat([current, first], 0)

            label = tf.gather(labels, index)
            predicted, gradient = self._gradient(current, label)
            right = predicted == label
            leaving = (done_steps == steps) | (early_stop & ~right)
            result = tf.tensor_scatter_nd_update(result, index[leaving][:, None], current[leaving])
            correct = tf.tensor_scatter_nd_update(correct, index[leaving][:, None], right[leaving])

            staying = ~leaving
            index, done_steps = index[staying], done_steps[staying] + 1
            current = current[staying] + optimize_linear(gradient[staying], step_size)
            current = tf.clip_by_value(current, 0.0, 1.0)
            clean = tf.gather(images, index)
            current = _into_ball(clean, current - clean, epsilon)
        return result, correct


def _random_start(shape: tuple[int, ...], epsilon: float, key: tuple[int, int]) -> Images:
    """Uniform in [-epsilon, epsilon], in place: memory is what an attack on all images is short of."""
    start = np.random.default_rng(key).random(shape, np.float32)
    start *= 2
    start -= 1
    start *= np.float32(epsilon)
    return start


def _into_ball(clean: tf.Tensor, perturbation: tf.Tensor, epsilon: tf.Tensor) -> tf.Tensor:
    return tf.clip_by_value(clean + clip_eta(perturbation, np.inf, epsilon), 0.0, 1.0)


def check_logits(model: Any, images: Images) -> None:
    """Refuses a model that no gradient attack can judge.

    Raises:
        ValueError: outputs are probabilities (their loss has no gradient where it saturates), or
            differ between two calls.
    """
    first, second = (np.asarray(model(images, training=False)) for _ in range(2))
    if np.isfinite(first).all() and not np.array_equal(first, second):
        raise ValueError(
            f"model {model.name}: expected the same outputs for the same images, received different ones"
        )
    if (first >= 0).all() and np.allclose(first.sum(1), 1, atol=1e-4):
        raise ValueError(
            f"model {model.name}: expected logits, received probabilities; leave the softmax out"
        )


def assert_in_ball(perturbed: Images, images: Images, epsilon: float) -> None:
    """Holds every attack to its promise: |x' - x| <= epsilon, and x' in [0, 1].

    Raises:
        ArithmeticError: a perturbed image is outside.
    """
    difference = perturbed - images
    distance = float(np.abs(difference, out=difference).max(initial=0))
    if not distance <= epsilon + BALL_TOLERANCE:
        raise ArithmeticError(f"perturbation of {distance:.7g}, expected at most epsilon = {epsilon:g}")
    if not (perturbed.min(initial=0) >= 0 and perturbed.max(initial=1) <= 1):
        raise ArithmeticError("perturbed pixels outside [0, 1]")


def planned_attacks(attacks: Attacks, test_examples: int) -> list[AttackResult]:
    """Every configured attack at each epsilon, not yet measured."""
    plan = []
    if attacks.fgsm:
        for epsilon in attacks.fgsm.epsilon:
            plan.append(
                AttackResult(
                    name="fgsm", norm="Linf", epsilon=epsilon, steps=1, step_size=epsilon,
                    random_start=False, restarts=1, early_stop=False,
                    examples=attacks.fgsm.examples or test_examples, clean_accuracy=None, accuracy=None,
                )
            )  # fmt: skip
    if attacks.pgd:
        pgd = attacks.pgd
        for epsilon in pgd.epsilon:
            plan.append(
                AttackResult(
                    name="pgd", norm="Linf", epsilon=epsilon, steps=pgd.steps,
                    step_size=pgd.relative_step_size * epsilon, random_start=pgd.random_start,
                    restarts=pgd.restarts, early_stop=pgd.early_stop,
                    examples=pgd.examples or test_examples, clean_accuracy=None, accuracy=None,
                )
            )  # fmt: skip
    return plan


def run_attack(
    attacker: Attacker, planned: AttackResult, images: Images, labels: Labels, clean: Mask, seed: int
) -> AttackResult:
    """Measures one planned attack on the first `planned.examples` images.

    Args:
        attacker: of the network.
        planned: which attack, and how.
        images: clean images.
        labels: their true labels.
        clean: which of them get their true label unperturbed.
        seed: of random starts.
    """
    first = slice(planned.examples)
    outcome = attacker.run(planned, images[first], labels[first], seed)
    return planned.model_copy(
        update={
            "clean_accuracy": float(clean[first].mean()),
            "accuracy": float(outcome.correct.mean()),
        }
    )
