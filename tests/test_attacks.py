"""The attacks against CleverHans itself, closed forms, and their own promises."""

from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent

from tfsgd.data.dataset import Splits, to_unit
from tfsgd.errors import RequestError
from tfsgd.measures.attack import Outcome, assert_in_ball
from tfsgd.measures.attacks.bim import BIM
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.victim import Victim
from tfsgd.measures.zero_gradients import direction
from tfsgd.models.paper import build_model
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.losses import LOSSES, UPHILL
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.requests import attacks as requests


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
def victim(network: Any) -> Victim:
    return CompiledVictim.of(network, chunk_size=32)


def fgsm(victim: Victim, images: np.ndarray, labels: np.ndarray, epsilon: float, **settings: Any) -> Outcome:
    return FGSM(epsilon=(epsilon,), **settings).run(victim, images, labels, epsilon, 0)


def pgd(
    victim: Victim, images: np.ndarray, labels: np.ndarray, epsilon: float, seed: int = 0, **settings: Any
) -> Outcome:
    return PGD(epsilon=(epsilon,), **settings).run(victim, images, labels, epsilon, seed)


CROSS_ENTROPIES = ("cross_entropy", "softmax_cross_entropy")


@pytest.mark.parametrize("loss", CROSS_ENTROPIES)
def test_fgsm_is_cleverhans_bit_for_bit(
    victim: Victim, network: Any, images: np.ndarray, labels: np.ndarray, loss: str
) -> None:
    """With the same loss; softmax's is its own."""
    ours = fgsm(victim, images, labels, 0.1, loss=loss)
    its_own = {} if loss == "softmax_cross_entropy" else {"loss_fn": UPHILL[loss]}
    theirs = fast_gradient_method(
        lambda x: network(x, training=False),
        tf.constant(images),
        0.1,
        np.inf,
        clip_min=0.0,
        clip_max=1.0,
        y=labels,
        **its_own,
    ).numpy()
    np.testing.assert_array_equal(ours.images, theirs)
    np.testing.assert_array_equal(ours.correct, np.argmax(network(theirs), 1) == labels)
    assert ours.correct.mean() < (victim.predict(images) == labels).mean()


@pytest.mark.parametrize("loss", CROSS_ENTROPIES)
def test_pgd_without_early_stop_is_cleverhans_bit_for_bit(
    victim: Victim, network: Any, images: np.ndarray, labels: np.ndarray, loss: str
) -> None:
    settings: dict[str, Any] = {"random_start": False, "early_stop": False, "loss": loss}
    ours = pgd(victim, images, labels, 0.1, steps=7, relative_step_size=0.3, **settings)
    its_own = {} if loss == "softmax_cross_entropy" else {"loss_fn": UPHILL[loss]}
    theirs = projected_gradient_descent(
        lambda x: network(x, training=False), tf.constant(images), 0.1, 0.03, 7, np.inf,
        clip_min=0.0, clip_max=1.0, y=labels, rand_init=False, **its_own,
    ).numpy()  # fmt: skip
    np.testing.assert_array_equal(ours.images, theirs)
    np.testing.assert_array_equal(ours.correct, np.argmax(network(theirs), 1) == labels)


def test_pgd_of_one_full_step_is_fgsm(victim: Victim, images: np.ndarray, labels: np.ndarray) -> None:
    full_step = pgd(
        victim, images, labels, 0.1, steps=1, relative_step_size=1.0, random_start=False, early_stop=False
    )
    one_step = fgsm(victim, images, labels, 0.1)
    np.testing.assert_allclose(full_step.images, one_step.images, atol=1e-6)
    np.testing.assert_array_equal(full_step.correct, one_step.correct)


@pytest.mark.parametrize("early_stop", [True, False])
def test_epsilon_zero_is_the_identity(
    victim: Victim, images: np.ndarray, labels: np.ndarray, early_stop: bool
) -> None:
    clean = victim.predict(images) == labels
    for outcome in (
        fgsm(victim, images, labels, 0.0),
        pgd(victim, images, labels, 0.0, steps=3, random_start=True, early_stop=early_stop),
    ):
        np.testing.assert_array_equal(outcome.images, images)
        np.testing.assert_array_equal(outcome.correct, clean)


@pytest.mark.parametrize("epsilon", [0.02, 0.3])
@pytest.mark.parametrize("early_stop", [True, False])
def test_perturbations_stay_in_the_ball_and_in_range(
    victim: Victim, images: np.ndarray, labels: np.ndarray, epsilon: float, early_stop: bool
) -> None:
    outcome = pgd(
        victim,
        images,
        labels,
        epsilon,
        steps=10,
        relative_step_size=0.25,
        random_start=True,
        early_stop=early_stop,
    )
    assert np.abs(outcome.images - images).max() <= epsilon + 1e-6
    assert outcome.images.min() >= 0
    assert outcome.images.max() <= 1


@pytest.mark.parametrize("early_stop", [True, False])
def test_chunk_size_changes_no_result(
    network: Any, images: np.ndarray, labels: np.ndarray, early_stop: bool
) -> None:
    outcomes = [
        pgd(
            CompiledVictim.of(network, chunk), images, labels, 0.05, 5,
            steps=10, relative_step_size=0.2, random_start=True, early_stop=early_stop,
        )
        for chunk in (16, 33, 100)
    ]  # fmt: skip
    for other in outcomes[1:]:
        np.testing.assert_array_equal(other.correct, outcomes[0].correct)
        np.testing.assert_array_equal(other.images, outcomes[0].images)


def test_random_starts_do_not_depend_on_how_many_images_follow(
    victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    arguments: dict[str, Any] = {
        "steps": 2,
        "relative_step_size": 0.2,
        "random_start": True,
        "early_stop": False,
    }
    few = pgd(victim, images[:10], labels[:10], 0.1, **arguments)
    many = pgd(victim, images, labels, 0.1, **arguments)
    np.testing.assert_array_equal(few.images, many.images[:10])


def test_early_stop_counts_the_worst_of_clean_start_and_every_step(
    victim: Victim, network: Any, images: np.ndarray, labels: np.ndarray
) -> None:
    """Against all iterates one by one, each from a run of its own length."""
    arguments: dict[str, Any] = {"relative_step_size": 1 / 3, "random_start": True}
    stopped = pgd(victim, images, labels, 0.06, steps=4, early_stop=True, **arguments)
    survives = np.argmax(network(images), 1) == labels
    start = (2 * np.random.default_rng((0, 0)).random(images.shape, np.float32) - 1) * np.float32(0.06)
    survives &= np.argmax(network(np.clip(images + start, 0, 1)), 1) == labels
    for steps in (1, 2, 3, 4):
        survives &= pgd(victim, images, labels, 0.06, steps=steps, early_stop=False, **arguments).correct
    np.testing.assert_array_equal(stopped.correct, survives)
    np.testing.assert_array_equal(victim.predict(stopped.images) == labels, stopped.correct)


def test_early_stop_is_never_kinder_and_restarts_only_break_more(
    victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    arguments: dict[str, Any] = {"steps": 5, "relative_step_size": 0.4, "random_start": True}
    for epsilon in (0.02, 0.06):
        last = pgd(victim, images, labels, epsilon, early_stop=False, **arguments)
        worst = pgd(victim, images, labels, epsilon, early_stop=True, **arguments)
        twice = pgd(victim, images, labels, epsilon, early_stop=True, restarts=2, **arguments)
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
    victim = CompiledVictim.of(model)
    many_steps = pgd(
        victim, images, labels, epsilon, steps=20, relative_step_size=0.2, random_start=True, early_stop=False
    )
    margins = pgd(
        victim, images, labels, epsilon, steps=20, relative_step_size=0.2, early_stop=False, loss="margin"
    )
    for outcome in (fgsm(victim, images, labels, epsilon), many_steps, margins):
        logits = model(outcome.images).numpy().astype(np.float64)
        reached = (logits[:, 1] - logits[:, 0]) * np.where(labels == 1, 1, -1)
        np.testing.assert_allclose(reached, optimum, atol=1e-5)
        np.testing.assert_array_equal(outcome.correct, optimum > 0)


def test_a_model_that_returns_probabilities_is_refused() -> None:
    model = keras.Sequential(
        [keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3, "softmax")]
    )
    with pytest.raises(RequestError, match="expected logits, received probabilities"):
        CompiledVictim.of(model)


def test_a_model_that_answers_at_random_is_refused() -> None:
    class Noise(keras.layers.Layer):
        def call(self, x: Any) -> Any:
            return x + tf.random.uniform([], seed=1)

    model = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3), Noise()])
    with pytest.raises(RequestError, match="received different ones"):
        CompiledVictim.of(model)


def test_outputs_that_are_no_table_of_logits_are_refused() -> None:
    with pytest.raises(
        RequestError, match=r"expected logits of shape \(images, classes\), received \(8, 4, 4"
    ):
        CompiledVictim.of(keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Dense(3)]))


def test_gradients_that_are_zero_saturated_or_misdirected_are_counted() -> None:
    """Two pixels, three classes: z = (m, 0, w x), so that the softmax's gradient is p_2 w in place of w q_2."""
    model = keras.Sequential([keras.Input((1, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    kernel = np.array(
        [[1000.0, 0, 0], [0, 0, 1]]
    )  # the label's logit by the first pixel, another's by the second
    model.set_weights([kernel, np.zeros(3)])
    images = np.array([[0, 0], [0.010, 0], [0.030, 0.5], [1, 1]], np.float32).reshape(4, 1, 2, 1)
    found = direction(CompiledVictim.of(model), images, np.zeros(4, np.int64))
    # Margins of 0, 10, 29.5 and 999: at the last two float32 has p_y = 1, and only the second pixel's term is left.
    assert (found.fraction, found.saturated, found.misdirected) == (0.0, 0.5, 0.5)
    flat = keras.Sequential([keras.Input((1, 2, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    flat.set_weights([np.zeros((2, 3)), np.array([50.0, 0, 0])])
    assert direction(CompiledVictim.of(flat), images, np.zeros(4, np.int64)).fraction == 1.0


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
    victim = CompiledVictim.of(network, 32)
    for count, epsilon, steps in ((40, 0.1, 2), (100, 0.2, 5), (7, 0.3, 1)):
        few, their_labels = images[:count], labels[:count]
        fgsm(victim, few, their_labels, epsilon)
        for early_stop in (True, False):
            for loss in LOSSES:
                pgd(victim, few, their_labels, epsilon, steps=steps, early_stop=early_stop, loss=loss)
        for loss in LOSSES:
            victim.gradient(few, their_labels, loss)
        victim.logits(few)
    assert set(victim._graphs) == {
        ("step", "cross_entropy", 1.0, "Linf", False),
        *(("ascend", loss, 1.0, "Linf", False) for loss in LOSSES),
        *(("gradient", loss, 1.0, False) for loss in LOSSES),
    }
    graphs = [victim._logits, victim._predict, *victim._graphs.values()]
    assert [graph.experimental_get_tracing_count() for graph in graphs] == [1] * (3 + 2 * len(LOSSES))


def test_results_carry_what_was_done(network: Any, victim: Victim, splits: Splits) -> None:
    used = Splits(splits.train.first(1), splits.validation.first(1), splits.test.first(100), "", "")
    specs = {
        "fgsm": FGSM(attack="fgsm", epsilon=(0.1,)),
        "short": PGD(attack="pgd", epsilon=(0.1,), steps=3, examples=40),
    }
    subject = MeasuredNetwork(network, used)
    one, other = (request.measure_on(subject) for request in requests(specs, 100, seed=0))
    assert [(m.kind, m.name, m.label, m.examples) for m in (one, other)] == [
        ("attack", "fgsm", "fgsm", 100),
        ("attack", "pgd", "short", 40),
    ]
    exact = {"norm": "Linf", "loss": "cross_entropy", "revision": 2}
    assert one.settings == {"epsilon": 0.1, "steps": 1, "step_size": 0.1, **exact}
    assert other.settings == {
        "epsilon": 0.1, "steps": 3, "relative_step_size": 0.0333, "step_size": pytest.approx(0.00333),
        "random_start": True, "restarts": 1, "early_stop": True, **exact,
    }  # fmt: skip
    images, labels = to_unit(used.test.images), used.test.labels
    clean = victim.predict(images) == labels
    assert (one.values["clean_accuracy"], other.values["clean_accuracy"]) == (clean.mean(), clean[:40].mean())
    assert one.accuracy == fgsm(victim, images, labels, 0.1).correct.mean()
    assert other.accuracy == pgd(victim, images[:40], labels[:40], 0.1, steps=3).correct.mean()
    assert one.seconds is not None
    assert one.seconds > 0


# The margin loss, and BIM


def test_margin_is_the_largest_other_logit_minus_the_true_one() -> None:
    logits = np.random.default_rng(3).normal(size=(20, 5))
    labels = np.arange(20) % 5
    expected = [max(np.delete(row, label)) - row[label] for row, label in zip(logits, labels, strict=True)]
    np.testing.assert_array_equal(LOSSES["margin"](tf.constant(labels), tf.constant(logits)), expected)


def test_a_network_whose_softmax_has_no_gradient_is_broken_by_the_exact_one_and_the_margin(
    network: Any, images: np.ndarray, labels: np.ndarray
) -> None:
    """Logits times 1,000: the same predictions, and a softmax that float32 takes for certain."""
    certain = CompiledVictim.of(keras.Model(network.input, keras.layers.Rescaling(1000.0)(network.output)))
    right = certain.predict(images) == labels
    assert right.mean() > 0.5
    found = direction(certain, images[right], labels[right])
    assert (found.fraction, found.saturated > 0.9, found.misdirected > 0.9) == (0.0, True, True)
    settings: dict[str, Any] = {"steps": 40, "relative_step_size": 0.1, "random_start": False}
    left = {
        loss: pgd(certain, images, labels, 0.1, loss=loss, **settings).correct.mean()
        for loss in (*CROSS_ENTROPIES, "margin")
    }
    assert left["softmax_cross_entropy"] > 0.9 * right.mean()
    assert left["cross_entropy"] < 0.2 * right.mean()
    assert left["margin"] < 0.2 * right.mean()


def test_a_temperature_is_a_network_whose_logits_are_divided_by_it(
    network: Any, victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    """By 8, so that nothing is rounded: bit for bit; and one that masks its gradients is found out."""
    settings: dict[str, Any] = {"steps": 5, "relative_step_size": 0.2, "early_stop": False}
    found = pgd(victim, images, labels, 0.05, temperature=8.0, **settings)
    cooler = CompiledVictim.of(keras.Model(network.input, keras.layers.Rescaling(1 / 8)(network.output)), 32)
    same = pgd(cooler, images, labels, 0.05, **settings)
    np.testing.assert_array_equal(found.images, same.images)
    assert found.values["last_rise"] == pytest.approx(same.values["last_rise"], rel=1e-5)
    assert (found.images != pgd(victim, images, labels, 0.05, **settings).images).any()

    certain = CompiledVictim.of(keras.Model(network.input, keras.layers.Rescaling(1000.0)(network.output)))
    assert (
        pgd(certain, images, labels, 0.1, steps=20, relative_step_size=0.1, temperature=100.0).correct.mean()
        < 0.2
    )


def test_a_temperature_of_1_is_told_nowhere() -> None:
    plain, same, other = (PGD(epsilon=(0.1,), temperature=t) for t in (1.0, 1.0, 2.0))
    assert "temperature" not in plain.settings()
    assert plain.unusual() == same.unusual() == {}
    assert other.unusual() == {"temperature": 2.0}


@pytest.mark.parametrize("early_stop", [True, False])
def test_last_rise_is_the_loss_after_all_steps_less_that_after_all_but_one(
    victim: Victim, images: np.ndarray, labels: np.ndarray, early_stop: bool
) -> None:
    def at(steps: int) -> Outcome:
        return pgd(victim, images, labels, 0.02, steps=steps, relative_step_size=0.1, early_stop=early_stop)

    def losses(moved: np.ndarray) -> np.ndarray:
        logits = victim.logits(moved).astype(np.float64)
        return np.log(np.exp(logits).sum(1)) - logits[np.arange(len(labels)), labels]

    before, after = at(4), at(5)
    holds = after.correct
    assert 0 < holds.sum() < len(labels)
    expected = (losses(after.images) - losses(before.images))[holds].mean()
    assert after.values["last_rise"] == pytest.approx(expected, rel=1e-3)
    nothing = pgd(victim, images[:5], (labels[:5] + 1) % 10, 0.3, early_stop=early_stop)
    assert (nothing.values["last_rise"] is None) == (not nothing.correct.any())


def test_bim_is_pgd_from_the_image_itself(victim: Victim, images: np.ndarray, labels: np.ndarray) -> None:
    found = BIM(epsilon=(0.1,), steps=4).run(victim, images, labels, 0.1, 0)
    same = pgd(victim, images, labels, 0.1, steps=4, random_start=False)
    np.testing.assert_array_equal(found.images, same.images)
    np.testing.assert_array_equal(found.correct, same.correct)
    for wrong in ({"random_start": True}, {"restarts": 2}):
        with pytest.raises(ValueError, match=next(iter(wrong))):
            BIM(epsilon=(0.1,), **wrong)
