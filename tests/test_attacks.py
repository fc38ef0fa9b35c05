"""The attacks against CleverHans itself, closed forms, and their own promises."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

from tfsgd.data.dataset import Splits, to_unit
from tfsgd.measures.attacks import Attacker, assert_in_ball, planned_attacks, run_attack
from tfsgd.models import build_model
from tfsgd.plan.config import FGSM, PGD, Attacks


@pytest.fixture(scope="module")
def network(splits: Splits) -> Any:
    """StdCNN, trained enough that attacks matter."""
    keras.utils.set_random_seed(0)
    model = build_model("stdcnn")
    model.compile(
        keras.optimizers.SGD(0.05, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(to_unit(splits.train.images[:6000]), splits.train.labels[:6000], epochs=2, verbose=0)
    return model


@pytest.fixture(scope="module")
def images(splits: Splits) -> np.ndarray:
    return to_unit(splits.test.images[:100])


@pytest.fixture(scope="module")
def labels(splits: Splits) -> np.ndarray:
    return splits.test.labels[:100]


@pytest.fixture(scope="module")
def attacker(network: Any) -> Attacker:
    return Attacker(network, chunk_size=32)


def test_fgsm_is_cleverhans_bit_for_bit(
    attacker: Attacker, network: Any, images: np.ndarray, labels: np.ndarray
) -> None:
    ours = attacker.fgsm(images, labels, 0.1)
    theirs = fast_gradient_method(
        lambda x: network(x, training=False),
        tf.constant(images),
        0.1,
        np.inf,
        clip_min=0.0,
        clip_max=1.0,
        y=labels,
    ).numpy()
    np.testing.assert_array_equal(ours.images, theirs)
    np.testing.assert_array_equal(ours.correct, np.argmax(network(theirs), 1) == labels)
    assert ours.correct.mean() < (attacker.predict(images) == labels).mean()


def test_pgd_without_early_stop_is_cleverhans_bit_for_bit(
    attacker: Attacker, network: Any, images: np.ndarray, labels: np.ndarray
) -> None:
    ours = attacker.pgd(images, labels, 0.1, steps=7, step_size=0.03, random_start=False, early_stop=False)
    theirs = projected_gradient_descent(
        lambda x: network(x, training=False), tf.constant(images), 0.1, 0.03, 7, np.inf,
        clip_min=0.0, clip_max=1.0, y=labels, rand_init=False,
    ).numpy()  # fmt: skip
    np.testing.assert_array_equal(ours.images, theirs)
    np.testing.assert_array_equal(ours.correct, np.argmax(network(theirs), 1) == labels)


def test_pgd_of_one_full_step_is_fgsm(attacker: Attacker, images: np.ndarray, labels: np.ndarray) -> None:
    pgd = attacker.pgd(images, labels, 0.1, steps=1, step_size=0.1, random_start=False, early_stop=False)
    fgsm = attacker.fgsm(images, labels, 0.1)
    np.testing.assert_allclose(pgd.images, fgsm.images, atol=1e-6)
    np.testing.assert_array_equal(pgd.correct, fgsm.correct)


@pytest.mark.parametrize("early_stop", [True, False])
def test_epsilon_zero_is_the_identity(
    attacker: Attacker, images: np.ndarray, labels: np.ndarray, early_stop: bool
) -> None:
    clean = attacker.predict(images) == labels
    for outcome in (
        attacker.fgsm(images, labels, 0.0),
        attacker.pgd(images, labels, 0.0, steps=3, step_size=0.0, random_start=True, early_stop=early_stop),
    ):
        np.testing.assert_array_equal(outcome.images, images)
        np.testing.assert_array_equal(outcome.correct, clean)


@pytest.mark.parametrize("epsilon", [0.02, 0.3])
@pytest.mark.parametrize("early_stop", [True, False])
def test_perturbations_stay_in_the_ball_and_in_range(
    attacker: Attacker, images: np.ndarray, labels: np.ndarray, epsilon: float, early_stop: bool
) -> None:
    outcome = attacker.pgd(
        images, labels, epsilon, steps=10, step_size=epsilon / 4, random_start=True, early_stop=early_stop
    )
    assert np.abs(outcome.images - images).max() <= epsilon + 1e-6
    assert outcome.images.min() >= 0
    assert outcome.images.max() <= 1


@pytest.mark.parametrize("early_stop", [True, False])
def test_chunk_size_changes_no_result(
    network: Any, images: np.ndarray, labels: np.ndarray, early_stop: bool
) -> None:
    outcomes = [
        Attacker(network, chunk).pgd(
            images, labels, 0.05, steps=10, step_size=0.01, random_start=True, early_stop=early_stop, seed=5
        )
        for chunk in (16, 33, 100)
    ]
    for other in outcomes[1:]:
        np.testing.assert_array_equal(other.correct, outcomes[0].correct)
        np.testing.assert_array_equal(other.images, outcomes[0].images)


def test_random_starts_do_not_depend_on_how_many_images_follow(
    attacker: Attacker, images: np.ndarray, labels: np.ndarray
) -> None:
    arguments: dict[str, Any] = {"steps": 2, "step_size": 0.02, "random_start": True, "early_stop": False}
    few = attacker.pgd(images[:10], labels[:10], 0.1, **arguments)
    many = attacker.pgd(images, labels, 0.1, **arguments)
    np.testing.assert_array_equal(few.images, many.images[:10])


def test_early_stop_counts_the_worst_of_clean_start_and_every_step(
    attacker: Attacker, network: Any, images: np.ndarray, labels: np.ndarray
) -> None:
    """Against all iterates one by one, each from a run of its own length."""
    arguments: dict[str, Any] = {"step_size": 0.02, "random_start": True}
    stopped = attacker.pgd(images, labels, 0.06, steps=4, early_stop=True, **arguments)
    survives = np.argmax(network(images), 1) == labels
    start = (2 * np.random.default_rng((0, 0)).random(images.shape, np.float32) - 1) * np.float32(0.06)
    survives &= np.argmax(network(np.clip(images + start, 0, 1)), 1) == labels
    for steps in (1, 2, 3, 4):
        survives &= attacker.pgd(images, labels, 0.06, steps=steps, early_stop=False, **arguments).correct
    np.testing.assert_array_equal(stopped.correct, survives)
    np.testing.assert_array_equal(attacker.predict(stopped.images) == labels, stopped.correct)


def test_early_stop_is_never_kinder_and_restarts_only_break_more(
    attacker: Attacker, images: np.ndarray, labels: np.ndarray
) -> None:
    arguments: dict[str, Any] = {"steps": 5, "step_size": 0.02, "random_start": True}
    for epsilon in (0.02, 0.06):
        last = attacker.pgd(images, labels, epsilon, early_stop=False, **arguments)
        worst = attacker.pgd(images, labels, epsilon, early_stop=True, **arguments)
        twice = attacker.pgd(images, labels, epsilon, early_stop=True, restarts=2, **arguments)
        assert not np.any(worst.correct & ~last.correct)
        assert not np.any(twice.correct & ~worst.correct)


def test_linear_model_against_its_closed_form() -> None:
    """The logit difference of two classes falls by epsilon |w|_1, wherever no pixel is clipped."""
    rng = np.random.default_rng(2)
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    images = (0.3 + 0.4 * rng.random((50, 4, 4, 1))).astype(np.float32)
    labels = rng.integers(0, 2, 50)
    kernel, bias = model.get_weights()
    difference = (kernel[:, 1] - kernel[:, 0]).astype(np.float64)
    margin = (images.reshape(50, 16) @ difference + bias[1] - bias[0]) * np.where(labels == 1, 1, -1)
    epsilon = 0.1
    optimum = margin - epsilon * np.abs(difference).sum()
    attacker = Attacker(model)
    pgd = attacker.pgd(images, labels, epsilon, steps=20, step_size=0.02, random_start=True, early_stop=False)
    for outcome in (attacker.fgsm(images, labels, epsilon), pgd):
        logits = model(outcome.images).numpy().astype(np.float64)
        reached = (logits[:, 1] - logits[:, 0]) * np.where(labels == 1, 1, -1)
        np.testing.assert_allclose(reached, optimum, atol=1e-5)
        np.testing.assert_array_equal(outcome.correct, optimum > 0)


def test_a_model_that_returns_probabilities_is_refused() -> None:
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    )
    with pytest.raises(ValueError, match="expected logits, received probabilities"):
        Attacker(model)


def test_a_model_that_answers_at_random_is_refused() -> None:
    class Noise(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x + tf.random.uniform([], seed=1)

    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3), Noise()])
    with pytest.raises(ValueError, match="received different ones"):
        Attacker(model)


def test_zero_gradients_are_counted() -> None:
    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    kernel = np.zeros((16, 2), np.float32)
    kernel[:, 0] = 1000  # a margin at which float32 saturates, for all images but the black one
    model.set_weights([kernel, np.zeros(2, np.float32)])
    images = np.ones((4, 4, 4, 1), np.float32)
    images[0] = 0
    assert Attacker(model).zero_gradient_fraction(images, np.zeros(4, np.int64)) == 0.75


def test_a_perturbation_outside_the_ball_is_an_error() -> None:
    clean = np.full((1, 2, 2, 1), 0.5, np.float32)
    assert_in_ball(clean + 0.1, clean, 0.1)
    with pytest.raises(ArithmeticError, match="expected at most epsilon"):
        assert_in_ball(clean + 0.11, clean, 0.1)
    with pytest.raises(ArithmeticError, match="outside"):
        assert_in_ball(clean + 0.6, clean, 0.7)
    with pytest.raises(ArithmeticError, match="expected at most"):
        assert_in_ball(clean * np.nan, clean, 0.1)


def test_every_graph_is_traced_once_whatever_the_steps_and_images(
    network: Any, images: np.ndarray, labels: np.ndarray
) -> None:
    attacker = Attacker(network, 32)
    for count, epsilon, steps in ((40, 0.1, 2), (100, 0.2, 5), (7, 0.3, 1)):
        attacker.fgsm(images[:count], labels[:count], epsilon)
        for early_stop in (True, False):
            attacker.pgd(
                images[:count], labels[:count], epsilon, steps=steps, step_size=0.01, random_start=True,
                early_stop=early_stop,
            )  # fmt: skip
        attacker.zero_gradient_fraction(images[:count], labels[:count])
    graphs = (attacker._fgsm, attacker._pgd, attacker._gradient, attacker._predict)
    assert [graph.experimental_get_tracing_count() for graph in graphs] == [1, 1, 1, 1]


def test_results_carry_what_was_done(attacker: Attacker, images: np.ndarray, labels: np.ndarray) -> None:
    attacks = Attacks(fgsm=FGSM(epsilon=(0.1,)), pgd=PGD(epsilon=(0.1,), steps=3, examples=40))
    plan = planned_attacks(attacks, len(images))
    assert [(a.name, a.examples, a.steps, a.accuracy) for a in plan] == [
        ("fgsm", 100, 1, None),
        ("pgd", 40, 3, None),
    ]
    clean = attacker.predict(images) == labels
    fgsm, pgd = (run_attack(attacker, planned, images, labels, clean, seed=0) for planned in plan)
    assert pgd.step_size == pytest.approx(0.00333)
    assert (fgsm.clean_accuracy, pgd.clean_accuracy) == (clean.mean(), clean[:40].mean())
    assert fgsm.accuracy == attacker.fgsm(images, labels, 0.1).correct.mean()
