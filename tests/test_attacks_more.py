"""Noise, APGD, Square and the smallest epsilon: closed forms, their own promises, and what all attacks promise."""

import importlib
import json
import pkgutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.synthetic import experiment, realistic, record
from tfsgd.data.dataset import Split, Splits, to_unit
from tfsgd.measures import attacks
from tfsgd.measures.attack import AttackSpec, Outcome, assert_in_ball
from tfsgd.measures.attacks.apgd import APGD, checkpoints
from tfsgd.measures.attacks.minimal import Minimal, summary
from tfsgd.measures.attacks.noise import Noise
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.attacks.square import Square
from tfsgd.measures.input_gradient import InputGradient, Steepness, steepness
from tfsgd.measures.spec import Request
from tfsgd.measures.victim import Victim
from tfsgd.measures.zero_gradients import ZeroGradients
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.losses import LOSSES
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.networks.surrogate import Sources
from tfsgd.plan.requests import attacks as attacks_wanted
from tfsgd.plan.specs import attack as attack_of
from tfsgd.plan.trials import grid
from tfsgd.reporting.table.checks import failed as failing

SHAPE, CLASSES = (8, 8, 1), 4
QUICK = {
    "steps": 6,
    "queries": 20,
    "draws": 3,
    "restarts": 2,
}  # where a kind has the setting
KINDS = [module.name for module in pkgutil.iter_modules(attacks.__path__)]


def patterns(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of four faint patterns under noise, which a small network learns but not by heart."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, count)
    bases = np.random.default_rng(0).normal(0, 0.08, (CLASSES, *SHAPE))
    images = np.clip(0.5 + bases[labels] + rng.normal(0, 0.25, (count, *SHAPE)), 0, 1)
    return images.astype(np.float32), labels


@pytest.fixture(scope="module")
def network() -> Any:
    """288 parameters, trained in a second."""
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input(SHAPE),
            layers.Conv2D(4, 3, strides=2, activation="relu"),
            layers.Flatten(),
            layers.Dense(12, "relu"),
            layers.Dense(CLASSES),
        ]
    )
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(*patterns(600, 1), batch_size=50, epochs=8, verbose=0)
    return model


@pytest.fixture(scope="module")
def victim(network: Any) -> Victim:
    return CompiledVictim.of(network, chunk_size=16)


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return patterns(80, 2)[0]


@pytest.fixture(scope="module")
def labels() -> np.ndarray:
    return patterns(80, 2)[1]


@pytest.fixture(scope="module")
def line() -> Victim:
    """Two classes, logits 0 and x·w + b."""
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(2)])
    weights = np.random.default_rng(5).normal(size=64)
    model.set_weights([np.stack([0 * weights, weights], 1), np.array([0, -0.5 * weights.sum()])])
    return CompiledVictim.of(model, chunk_size=16)


def grey(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Images that no perturbation below 0.3 clips, and labels."""
    rng = np.random.default_rng(6)
    return rng.uniform(0.3, 0.7, (count, *SHAPE)).astype(np.float32), rng.integers(0, 2, count)


def margins(victim: Victim, images: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """True logit minus the largest other one."""
    logits = victim.logits(images).astype(np.float64)
    others = logits.copy()
    others[np.arange(len(labels)), labels] = -np.inf
    return logits[np.arange(len(labels)), labels] - others.max(1)


def standard_error(accuracy: float, count: int) -> float:
    return float(np.sqrt(max(accuracy * (1 - accuracy), 1 / count) / count))


def spec(kind: str, epsilon: float = 0.1, **settings: Any) -> AttackSpec:
    """A block of a config that says only what is quick."""
    [cls] = [
        c
        for c in vars(importlib.import_module(f"tfsgd.measures.attacks.{kind}")).values()
        if isinstance(c, type) and issubclass(c, AttackSpec) and c.__module__.endswith(f".{kind}")
    ]
    if "source" in cls.model_fields:
        settings = {"source": "other.keras", **settings}
    quick = {k: v for k, v in QUICK.items() if k in cls.model_fields and (kind, k) != ("bim", "restarts")}
    return attack_of(kind, {"epsilon": [epsilon], **quick, **settings}, None)


# What every attack promises


@pytest.mark.parametrize("kind", KINDS)
def test_every_attack_keeps_its_promises(
    kind: str,
    network: Any,
    images: np.ndarray,
    labels: np.ndarray,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In the ball, identity at 0, same seed same result, chunks of 7 or 16, misclassified where it says so."""
    victim, other = (CompiledVictim.of(network, chunk_size=size) for size in (16, 7))
    if kind == "transfer":
        network.save(tmp_path / "other.keras")
        monkeypatch.chdir(tmp_path)
        victim.beside, other.beside = Sources(), Sources()
    clean = victim.predict(images) == labels
    assert 0.7 < clean.mean() < 1
    asked = spec(kind)
    json.dumps([asked.settings(), asked.unusual(), asked.at(0.1)])
    found = asked.run(victim, images, labels, 0.1, 3)
    assert_in_ball(found.images, images, 0.1)
    json.dumps(found.values, allow_nan=False)
    np.testing.assert_array_equal(victim.predict(found.images) == labels, found.correct)
    assert not np.any(found.correct & ~clean) or kind == "fgsm"

    same_images(asked.run(victim, images, labels, 0.1, 3), found)
    # Of a square that moves no logit rounding decides whether it is kept.
    rounding = 0.01 if kind == "square" else 0.0
    same_images(asked.run(other, images, labels, 0.1, 3), found, rounding)
    few = asked.run(victim, images[:30], labels[:30], 0.1, 3)
    assert different(few.images, found.images[:30]) <= rounding

    nothing = asked.run(victim, images, labels, 0.0, 3)
    np.testing.assert_array_equal(nothing.images, images)
    np.testing.assert_array_equal(nothing.correct, clean)


def different(some: np.ndarray, others: np.ndarray) -> float:
    """The share of the pixels that are not the same."""
    return float((np.abs(some - others) > 1e-6).mean())


def same_images(one: Outcome, other: Outcome, rounding: float = 0.0) -> None:
    assert different(one.images, other.images) <= rounding
    np.testing.assert_array_equal(one.correct, other.correct)
    assert one.values.keys() == other.values.keys()
    for name, value in one.values.items():
        same = (
            pytest.approx(value, rel=1e-5) if isinstance(value, float) else value
        )  # a distance is float32's
        assert other.values[name] == same, name


@pytest.mark.parametrize("kind", KINDS)
def test_counts_beyond_reason_are_refused(kind: str) -> None:
    for key in ("steps", "queries", "draws", "restarts"):
        if key in type(spec(kind)).model_fields:
            for wrong in (0, 2**31, 1.5):
                with pytest.raises(ValueError, match=rf"^{key}: "):
                    spec(kind, **{key: wrong})


# Noise


def test_noise_breaks_more_with_more_draws_and_less_than_pgd(
    victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    left = [
        Noise(epsilon=(0.2,), draws=draws).run(victim, images, labels, 0.2, 0).correct for draws in (1, 5, 40)
    ]
    assert not np.any(left[1] & ~left[0])
    assert not np.any(left[2] & ~left[1])
    clean = victim.predict(images) == labels
    pgd = PGD(epsilon=(0.2,), steps=10, relative_step_size=0.25).run(victim, images, labels, 0.2, 0)
    assert clean.sum() > left[2].sum() > pgd.correct.sum()


def test_noise_is_uniform_in_the_ball(line: Victim) -> None:
    """What was drawn is seen in the images that broke: all over [-epsilon, epsilon], and nothing else."""
    images, labels = grey(200)
    found = Noise(epsilon=(0.2,), draws=50).run(line, images, labels, 0.2, 0)
    clean = line.predict(images) == labels
    moved = (found.images - images)[clean & ~found.correct]
    assert len(moved) > 20
    np.testing.assert_allclose([np.abs(moved).max(), moved.std()], [0.2, 0.2 / 3**0.5], rtol=0.05)
    np.testing.assert_array_equal(found.images[found.correct], images[found.correct])


# The difference of logits ratio


def test_dlr_is_its_formula_and_knows_neither_scale_nor_shift() -> None:
    logits = np.random.default_rng(3).normal(size=(20, 5))
    labels = np.arange(20) % 5
    for classes in (5, 4, 3):
        z, y = logits[:, :classes], labels % classes
        largest = np.sort(z, 1)[:, ::-1]
        expected = [
            (np.delete(row, label).max() - row[label]) / (top[0] - top[2])
            for row, label, top in zip(z, y, largest, strict=True)
        ]
        for same in (z, 1000 * z, 3 * z - 7):
            np.testing.assert_allclose(LOSSES["dlr"](tf.constant(y), tf.constant(same)), expected, rtol=1e-9)
    two = tf.constant(logits[:, :2])
    np.testing.assert_array_equal(
        LOSSES["dlr"](tf.constant(labels % 2), two), LOSSES["margin"](tf.constant(labels % 2), two)
    )


def test_dlr_of_equal_logits_is_zero_and_its_gradient_finite() -> None:
    logits = tf.Variable(tf.zeros((2, 4)))
    with tf.GradientTape() as tape:
        losses = LOSSES["dlr"](tf.constant([0, 3]), logits)
    np.testing.assert_array_equal(losses, 0)
    assert np.isfinite(tape.gradient(losses, logits)).all()


@pytest.fixture(scope="module")
def certain(network: Any) -> Victim:
    """Logits times 1,000: the same predictions, and a softmax that float32 takes for certain."""
    return CompiledVictim.of(
        keras.Sequential([keras.Input(SHAPE), network, keras.layers.Rescaling(1000.0)]), 16
    )


def test_dlr_and_the_exact_loss_break_a_network_whose_softmax_has_no_gradient(
    victim: Victim, certain: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    settings: dict[str, Any] = {"epsilon": (0.1,), "steps": 10, "relative_step_size": 0.25}
    left = {
        loss: PGD(**settings, loss=loss).run(certain, images, labels, 0.1, 0).correct.mean()
        for loss in ("softmax_cross_entropy", "cross_entropy", "dlr")
    }
    for loss, same in (
        ("cross_entropy", "margin"),
        ("dlr", "dlr"),
    ):  # of logits times 1,000 s is their margin
        honest = PGD(**settings, loss=same).run(victim, images, labels, 0.1, 0).correct.mean()
        assert abs(left[loss] - honest) <= standard_error(honest, len(labels))
    assert left["softmax_cross_entropy"] > 2 * left["dlr"]


# APGD


def apgd(victim: Victim, images: np.ndarray, labels: np.ndarray, epsilon: float, **settings: Any) -> Outcome:
    return APGD(epsilon=(epsilon,), **settings).run(victim, images, labels, epsilon, 0)


def test_checkpoints_are_those_of_the_paper() -> None:
    """Intervals of 22, 19, 16, 13, 10, 7, 6, 6 % of the steps."""
    assert sorted(checkpoints(100)) == [22, 41, 57, 70, 80, 87, 93, 99]
    assert sorted(checkpoints(10)) == [3, 5, 6, 7, 8, 9, 10]


@pytest.mark.parametrize("loss", ["cross_entropy", "dlr"])
def test_apgd_reaches_the_corner_of_a_linear_models_ball(line: Victim, loss: Any) -> None:
    """Broken are those whose margin is below epsilon |w|_1; the others end in the corner."""
    images, labels = grey(60)
    epsilon = 0.006
    corner = margins(line, images, labels) - epsilon * slope(line)
    found = apgd(line, images, labels, epsilon, steps=10, loss=loss)
    np.testing.assert_array_equal(found.correct, corner > 0)
    assert 5 < found.correct.sum() < 55
    left = found.correct
    np.testing.assert_allclose(margins(line, found.images, labels)[left], corner[left], atol=1e-4)


def slope(line: Victim) -> float:
    """|w|_1 of the two logits' difference."""
    gradient = line.gradient(np.full((1, *SHAPE), 0.5, np.float32), np.zeros(1, np.int64), "margin")
    return float(np.abs(gradient).sum())


@pytest.mark.parametrize("epsilon", [0.03, 0.06, 0.1])
def test_apgd_is_no_weaker_than_pgd_of_as_many_steps(
    victim: Victim, images: np.ndarray, labels: np.ndarray, epsilon: float
) -> None:
    pgd = PGD(epsilon=(epsilon,), steps=20, relative_step_size=0.1).run(victim, images, labels, epsilon, 0)
    for loss in ("cross_entropy", "dlr"):
        left = apgd(victim, images, labels, epsilon, steps=20, loss=loss).correct.mean()
        assert left <= pgd.correct.mean() + standard_error(pgd.correct.mean(), len(labels))
    assert 0.05 < pgd.correct.mean() < 0.8


def test_apgd_with_restarts_only_breaks_more(victim: Victim, images: np.ndarray, labels: np.ndarray) -> None:
    once, thrice = (
        apgd(victim, images, labels, 0.05, steps=2, restarts=restarts).correct for restarts in (1, 3)
    )
    assert not np.any(thrice & ~once)


def test_apgd_is_that_of_art(network: Any, victim: Victim, images: np.ndarray, labels: np.ndarray) -> None:
    """The same weights, images, loss and budget."""
    attack = pytest.importorskip("art.attacks.evasion").AutoProjectedGradientDescent
    classifier = pytest.importorskip("art.estimators.classification").TensorFlowV2Classifier(
        model=lambda x, training=False: network(x, training=False), nb_classes=CLASSES, input_shape=SHAPE,
        clip_values=(0, 1), loss_object=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )  # fmt: skip
    np.random.seed(0)
    theirs = attack(
        classifier, eps=0.05, eps_step=0.1, max_iter=10, nb_random_init=1, batch_size=80, verbose=False,
        loss_type="cross_entropy",
    ).generate(images, labels)  # fmt: skip
    left = (victim.predict(theirs) == labels).mean()
    ours = apgd(victim, images, labels, 0.05, steps=10).correct.mean()
    assert 0.1 < left < 0.8
    assert abs(ours - left) <= standard_error(left, len(labels))


# Square


class Counted:
    """A victim that answers with logits alone, and counts the images that it was asked about."""

    def __init__(self, victim: Victim) -> None:
        self._victim = victim
        self.asked = 0

    def predict(self, images: np.ndarray) -> np.ndarray:
        return self._victim.predict(images)

    def finite_logits(self, images: np.ndarray) -> np.ndarray:
        self.asked += len(images)
        return self._victim.logits(images)


def square(victim: Any, images: np.ndarray, labels: np.ndarray, epsilon: float, **settings: Any) -> Outcome:
    return Square(epsilon=(epsilon,), **settings).run(victim, images, labels, epsilon, 0)


def test_square_counts_its_queries_and_asks_for_logits_alone(
    victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    counted = Counted(victim)
    found = square(counted, images, labels, 0.1, queries=30)
    clean = victim.predict(images) == labels
    assert found.values["queries"] == pytest.approx(counted.asked / clean.sum())
    assert 1 < found.values["queries"] < 30
    assert 0 < found.correct.sum() < clean.sum()
    assert counted.asked >= 30 * found.correct.sum()


def test_square_perturbs_every_pixel_by_all_of_epsilon(
    victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    found = square(victim, images, labels, 0.04, queries=10)
    clean = victim.predict(images) == labels
    edges = np.stack([np.clip(images - np.float32(0.04), 0, 1), np.clip(images + np.float32(0.04), 0, 1)])
    assert np.all((found.images == edges).any(0)[clean])
    first = square(victim, images, labels, 0.04, queries=1).images[clean] > images[clean]
    inner = (images[clean] > 0) & (images[clean] < 1)
    assert all(len(set(up[:, column][seen[:, column]])) == 1 for up, seen in zip(first[..., 0], inner[..., 0], strict=True) for column in range(8))  # fmt: skip


def test_square_breaks_no_fewer_with_more_queries(
    victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    left = [square(victim, images, labels, 0.05, queries=n).correct.mean() for n in (1, 10, 50, 250)]
    assert left == sorted(left, reverse=True)
    assert left[0] > left[-1] + 0.2


def test_square_breaks_a_network_without_gradients_as_it_breaks_it_with_them(
    victim: Victim, certain: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    """Its squares are the same whatever the scale of the logits; PGD by softmax finds next to nothing."""
    masked = square(certain, images, labels, 0.1, queries=100)
    assert masked.correct.mean() == square(victim, images, labels, 0.1, queries=100).correct.mean()
    by_softmax = PGD(epsilon=(0.1,), random_start=False, loss="softmax_cross_entropy")
    pgd = by_softmax.run(certain, images, labels, 0.1, 0).correct.mean()
    assert masked.correct.mean() < pgd - 3 * standard_error(pgd, len(labels))


def test_squares_shrink_as_in_the_paper() -> None:
    """p is 0.8 for 10 of 10,000 queries, and 0.8 / 512 in the end; fewer queries follow the same way faster."""
    whole = Square(epsilon=(0.1,), queries=10_000)
    sides = [whole.side(query, 100, 100) for query in (0, 10, 11, 51, 201, 501, 1001, 2001, 4001, 6001, 9999)]
    assert sides == [round(100 * (0.8 / 2**k) ** 0.5) for k in (0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9)]
    tenth = Square(epsilon=(0.1,), queries=1_000)
    assert [tenth.side(q, 100, 100) for q in (1, 2, 999)] == [sides[0], sides[2], sides[-1]]
    assert (whole.side(9999, 8, 8), Square(epsilon=(0.1,), p_init=1.0).side(0, 8, 12)) == (1, 8)


# The smallest epsilon


def minimal(
    victim: Victim, images: np.ndarray, labels: np.ndarray, epsilon: float, **settings: Any
) -> Outcome:
    return Minimal(epsilon=(epsilon,), **settings).run(victim, images, labels, epsilon, 0)


def test_smallest_epsilon_of_a_linear_model_is_margin_over_norm(line: Victim) -> None:
    """Exactly margin / |w|_1, and 0 where the label is wrong."""
    images, labels = grey(60)
    exact = np.maximum(margins(line, images, labels), 0) / slope(line)
    quartiles = np.sort(exact)[[14, 29, 44]]
    assert 0 < quartiles[1] < quartiles[2] < 0.05
    found = minimal(line, images, labels, 0.05)
    names = ("lower_quartile", "median", "upper_quartile")
    for name, expected in zip(names, quartiles, strict=True):
        assert found.values[name] == pytest.approx(expected, rel=2e-3, abs=1e-6), name
        assert found.values[name] >= expected - 1e-6, name
    assert found.values["censored"] == 0
    assert not found.correct.any()

    bound = float(quartiles[1:].mean())
    censored = minimal(line, images, labels, bound)
    assert censored.values["upper_quartile"] is None
    assert censored.values["median"] == pytest.approx(quartiles[1], rel=2e-3)
    assert censored.values["censored"] == np.mean(exact > bound) == censored.correct.mean()


def test_smallest_epsilon_is_that_of_misclassified_points(
    victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    found = minimal(victim, images, labels, 0.05)
    np.testing.assert_array_equal(victim.predict(found.images) == labels, found.correct)
    distance = np.abs(found.images - images).max((1, 2, 3))
    assert found.values == summary(np.where(found.correct, np.inf, distance))
    assert_in_ball(found.images, images, 0.05)
    assert 0 < found.values["censored"] < 1


def test_a_strong_pgd_breaks_at_the_median_no_more_than_it_says(
    victim: Victim, images: np.ndarray, labels: np.ndarray
) -> None:
    """Within 2 % below the median, PGD with 5 restarts on the margin breaks less than half of the images."""
    settings: dict[str, Any] = {"steps": 50, "relative_step_size": 0.1, "restarts": 5, "loss": "margin"}
    median = minimal(victim, images, labels, 0.5).values["median"]
    for epsilon, least, most in ((median * 1.02, 0.0, 0.5), (median * 0.98, 0.5, 1.0)):
        left = PGD(epsilon=(epsilon,), **settings).run(victim, images, labels, epsilon, 0).correct.mean()
        assert least <= left <= most


def test_smallest_epsilon_where_there_is_no_gradient_or_no_room(
    images: np.ndarray, labels: np.ndarray
) -> None:
    """A network of one answer: what it has right is never broken, and stays in the ball."""
    constant = CompiledVictim(
        lambda x: 0 * tf.reduce_sum(x, (1, 2, 3))[:, None] + [[9.0, *[0.0] * (CLASSES - 1)]], images.shape[1:]
    )
    found = minimal(constant, images, labels, 0.5)
    np.testing.assert_array_equal(found.correct, labels == 0)
    assert found.values["censored"] == (labels == 0).mean()
    np.testing.assert_array_equal(found.images, images)
    assert minimal(constant, images, labels, 0.0).values["censored"] == (labels == 0).mean()


def test_smallest_epsilon_takes_one_bound() -> None:
    with pytest.raises(ValueError, match=r"^epsilon: expected one value"):
        attack_of("minimal", {"epsilon": [0.1, 0.2]}, None)


def test_quartiles_of_censored_distances() -> None:
    inf = np.inf
    assert summary(np.array([inf, 0.2, 0.1, inf])) == {
        "lower_quartile": 0.1, "median": 0.2, "upper_quartile": None, "censored": 0.5,
    }  # fmt: skip
    assert summary(np.full(3, inf))["lower_quartile"] is None


# How steep a network is at its images


def test_steepness_of_a_linear_model_is_its_closed_form(line: Victim) -> None:
    """|grad loss|_1 = (1 - p_true) |w|_1, and a radius of margin / |w|_1, 0 where the label is wrong."""
    images, labels = grey(61)
    lead, norm = margins(line, images, labels), slope(line)
    found = steepness(line, images, labels)
    assert found.value == pytest.approx(np.mean(norm / (1 + np.exp(lead))), rel=1e-4)
    assert found.radius == pytest.approx(np.median(np.maximum(lead, 0)) / norm, rel=1e-4)
    right = lead > 0
    assert steepness(line, images[~right], labels[~right]).radius == 0.0
    assert steepness(line, images[right], labels[right]).radius == pytest.approx(
        np.sort(lead[right])[(right.sum() - 1) // 2] / norm, rel=1e-4
    )
    quartiles = np.quantile(np.maximum(lead, 0), [0.25, 0.75], method="inverted_cdf") / norm
    assert found.radius_quartiles == pytest.approx(tuple(quartiles), rel=1e-4)


def test_a_margin_without_a_slope_has_no_radius() -> None:
    model = keras.Sequential([keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(2)])
    model.set_weights([np.zeros((64, 2)), np.array([0.0, 2.0])])
    images, _ = grey(4)
    assert steepness(CompiledVictim.of(model), images, np.ones(4, np.int64)) == Steepness(0.0, None)


def test_input_gradient_is_measured_as_a_record_keeps_it(network: Any) -> None:
    pixels = np.round(255 * patterns(40, 2)[0]).astype(np.uint8)
    split = Split(pixels, patterns(40, 2)[1])
    request = Request("input_gradient", "input_gradient", InputGradient(), "test", 40, free=True)
    found = request.measure_on(MeasuredNetwork(network, Splits(split, split, split, "", "")))
    expected = steepness(CompiledVictim.of(network), to_unit(pixels), split.labels)
    assert (found.kind, found.values) == (
        "gradient",
        {
            "value": expected.value,
            "radius": expected.radius,
            "radius_quartiles": [*expected.radius_quartiles],
        },
    )
    assert expected.radius is not None
    assert 0 < expected.radius < 0.2


# Is it real? Networks with known answers


@pytest.mark.parametrize("loss", ["cross_entropy", "softmax_cross_entropy"])
@pytest.mark.parametrize("scale", [1.0, 1000.0])
def test_what_float32_destroys_is_caught_and_all_else_passes(network: Any, scale: float, loss: str) -> None:
    """Logits times 1,000 have the same predictions; PGD by softmax then finds what Square beats."""
    judged = keras.Sequential([keras.Input(SHAPE), network, keras.layers.Rescaling(scale)])
    images, labels = patterns(150, 3)
    split = Split(np.round(255 * images).astype(np.uint8), labels)
    blocks: dict[str, Any] = {
        "fgsm": {"loss": loss}, "pgd": {"relative_step_size": 0.1, "loss": loss}, "noise": {}, "square": {"queries": 150},
    }  # fmt: skip
    specs = {kind: attack_of(kind, {"epsilon": [0.05, 0.1, 0.5], **b}, None) for kind, b in blocks.items()}
    requests = [
        *attacks_wanted(specs, 150, 0),
        Request("zero_gradients", "zero_gradients", ZeroGradients(), "test", 150),
    ]
    subject = MeasuredNetwork(judged, Splits(split, split, split, "", ""))
    found = tuple(request.measure_on(subject) for request in requests)
    of = experiment(attacks={"fgsm": {"epsilon": [0.1]}})
    blank = record(grid(of)[0], of, lambda trial: {**realistic(trial), "status": "diverged"})
    trial = blank.model_copy(update={"measurements": found, "classes": CLASSES})
    failed = {check.name: check.attacks for check in failing(trial)}
    if scale > 1 and loss == "softmax_cross_entropy":
        assert {"pgd_vs_square", "large_epsilon", "float32"} <= failed.keys()
        assert [*failed["float32"]] == ["fgsm", "pgd"]
    else:
        assert not failed


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"steps": 40, "relative_step_size": 0.0333}, ""),
        (
            {"steps": 10},
            "10 steps of 0.0333 epsilon from a random start move no pixel by more than 0.333 epsilon",
        ),
        (
            {"steps": 10, "random_start": False},
            "from the image itself move no pixel by more than 0.333 epsilon",
        ),
        ({"steps": 10, "relative_step_size": 0.25}, ""),
    ],
)
def test_steps_that_end_near_where_they_begin_are_doubted(settings: dict[str, Any], said: str) -> None:
    doubt = PGD(epsilon=(0.1,), **settings).doubt()
    assert said in doubt
    assert bool(doubt) == bool(said)
