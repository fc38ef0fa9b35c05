"""L2 beside L-infinity: closed forms on linear networks, with and without the box, and what other libraries find."""

import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from cleverhans.tf2.attacks.fast_gradient_method import fast_gradient_method
from cleverhans.tf2.attacks.projected_gradient_descent import projected_gradient_descent
from numpy.typing import NDArray
from scipy.optimize import brentq, linprog

from tfsgd import AttackSpec, Outcome
from tfsgd.errors import RequestError
from tfsgd.measures.attack import assert_in_ball, run_checked
from tfsgd.measures.norms import Ball, length, random_perturbation, slope, steepest
from tfsgd.measures.victim import Victim
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.losses import cross_entropy
from tfsgd.plan.specs import attack

SHAPE = (6, 6, 1)
NORMS = ["Linf", "L2"]


def linear(classes: int = 2, scale: float = 1.0, seed: int = 0) -> keras.Model:
    """A network that is a matrix, without a bias."""
    model = keras.Sequential(
        [keras.Input(SHAPE), keras.layers.Flatten(), keras.layers.Dense(classes, use_bias=False)]
    )
    weights = np.random.default_rng(seed).normal(0, scale, (36, classes))
    model.layers[-1].set_weights([weights.astype(np.float32)])
    return model


def grey(count: int, seed: int = 1) -> NDArray[np.float32]:
    """Images in the middle of [0, 1], which a small perturbation does not lead out."""
    return np.random.default_rng(seed).uniform(0.4, 0.6, (count, *SHAPE)).astype(np.float32)


def labels_of(model: keras.Model, images: NDArray[np.float32]) -> NDArray[np.int64]:
    return np.asarray(model(images)).argmax(1)


def distances(model: keras.Model, images: NDArray[np.float32], norm: str) -> NDArray[np.float64]:
    """Margin over the dual norm of the difference of weights, the least over the other classes."""
    weights = model.layers[-1].get_weights()[0].astype(np.float64)
    logits = images.reshape(len(images), -1).astype(np.float64) @ weights
    found = []
    for row in logits:
        top = row.argmax()
        others = [c for c in range(len(row)) if c != top]
        apart = [np.abs(weights[:, top] - weights[:, c]) for c in others]
        dual = [d.sum() if norm == "Linf" else np.sqrt((d**2).sum()) for d in apart]
        found.append(min((row[top] - row[c]) / d for c, d in zip(others, dual, strict=True)))
    return np.array(found)


def in_the_box(model: keras.Model, image: NDArray[np.float32], norm: str) -> float:
    """The same of two classes within [0, 1]: a linear program, or for L2 the Lagrangian's root."""
    weights = model.layers[-1].get_weights()[0].astype(np.float64)
    x = image.reshape(-1).astype(np.float64)
    w = weights[:, 0] - weights[:, 1]
    w = w if x @ w > 0 else -w
    if norm == "Linf":
        n = len(x)
        bounds = [*zip(-x, 1 - x, strict=True), (0, None)]
        sides = np.block([[np.eye(n), -np.ones((n, 1))], [-np.eye(n), -np.ones((n, 1))]])
        across = np.append(w, 0.0)
        done = linprog(
            np.append(np.zeros(n), 1),
            np.vstack([sides, across]),
            np.append(np.zeros(2 * n), -x @ w),
            bounds=bounds,
        )
        return float(done.fun) if done.success else np.inf

    def moved(t: float) -> NDArray[np.float64]:
        return np.asarray(np.clip(x - t * w, 0, 1))

    if moved(1e6) @ w > 0:
        return np.inf
    root = brentq(lambda t: moved(t) @ w, 0, 1e6, xtol=1e-14)
    return float(np.linalg.norm(moved(root) - x))


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("classes", [2, 5])
def test_the_smallest_epsilon_of_a_linear_network_is_its_margin_over_the_dual_norm(
    norm: str, classes: int
) -> None:
    model, images = linear(classes), grey(40)
    labels, expected = labels_of(model, images), distances(model, images, norm)
    weights = model.layers[-1].get_weights()[0]
    steep = 1.0 if norm == "Linf" else np.abs(weights).max() / np.linalg.norm(weights[:, 0])
    near = expected * steep < 0.3  # so near that the box is out of reach
    assert near.sum() > 20
    victim = CompiledVictim.of(model)
    spec = attack("minimal", {"epsilon": [1.0 if norm == "Linf" else 6.0], "norm": norm}, None)
    outcome = run_checked(spec, victim, images, labels, spec.epsilon[0], 0)
    found = length(outcome.images - images, norm)
    assert (found[near] >= expected[near] * (1 - 1e-4)).all()  # nothing nearer is misclassified
    assert np.median(found[near] / expected[near]) < 1.003


@pytest.mark.parametrize("norm", NORMS)
def test_the_smallest_epsilon_at_the_edge_of_the_box(norm: str) -> None:
    """Half of the pixels stand at 0 or 1, as images have it, and cannot move both ways."""
    images = grey(12)
    images[:, ::2] = np.round(images[:, ::2])
    model = linear(seed=3)
    expected = np.array([in_the_box(model, image, norm) for image in images])
    victim, labels = CompiledVictim.of(model), labels_of(model, images)
    spec = attack("minimal", {"epsilon": [1.0 if norm == "Linf" else 6.0], "norm": norm}, None)
    found = length(run_checked(spec, victim, images, labels, spec.epsilon[0], 0).images - images, norm)
    possible = np.isfinite(expected) & (expected < 1.0)
    assert possible.sum() > 6
    assert (found[possible] >= expected[possible] * (1 - 1e-4)).all()
    assert np.median(found[possible] / expected[possible]) < 1.01


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["fgsm", "pgd", "bim", "apgd"])
def test_every_attack_breaks_a_linear_network_just_beyond_its_margin(kind: str, norm: str) -> None:
    model, images = linear(), grey(30)
    labels, expected = labels_of(model, images), distances(model, images, norm)
    victim = CompiledVictim.of(model)
    epsilon = float(np.median(expected))
    longer = {"relative_step_size": 0.25} if kind in ("pgd", "bim") else {}
    spec = attack(kind, {"epsilon": [epsilon], "norm": norm, **longer}, None)
    correct = run_checked(spec, victim, images, labels, epsilon, 0).correct
    np.testing.assert_array_equal(correct[expected > epsilon * 1.001], True)
    np.testing.assert_array_equal(correct[expected < epsilon * 0.98], False)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e3])
def test_the_l2_step_has_length_epsilon_however_small_the_gradient(scale: float) -> None:
    """CleverHans divides by no norm below 1e-6."""
    model, images = linear(3, scale), grey(5)
    moved = CompiledVictim.of(model).step(images, np.array([0, 1, 2, 0, 1]), 0.2, norm="L2")
    np.testing.assert_allclose(length(moved - images, "L2"), 0.2, rtol=1e-4)


def test_the_l2_attacks_are_cleverhans_s_but_for_rounding() -> None:
    """Gradients are divided by their largest entry first, since its step divides by no norm below 1e-6."""
    model, images = linear(4), grey(16)
    labels = labels_of(model, images)
    victim = CompiledVictim.of(model)
    how: dict[str, Any] = {"norm": 2, "loss_fn": cross_entropy, "y": labels, "clip_min": 0, "clip_max": 1}

    def logits(x: tf.Tensor) -> tf.Tensor:
        return model(x, training=False)

    theirs = fast_gradient_method(logits, images, 0.3, **how)
    np.testing.assert_allclose(victim.step(images, labels, 0.3, norm="L2"), theirs, atol=1e-6)
    settings = {"random_start": False, "early_stop": False, "steps": 10, "relative_step_size": 0.25}
    spec = attack("pgd", {"epsilon": [0.3], "norm": "L2", **settings}, None)
    ours = run_checked(spec, victim, images, labels, 0.3, 0).images
    theirs = projected_gradient_descent(
        logits, images, 0.3, 0.075, 10, rand_init=False, sanity_checks=False, **how
    )
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["noise", "square", "robust"])
def test_attacks_without_a_closed_form_stay_in_the_ball_and_break_what_is_near(kind: str, norm: str) -> None:
    model, images = linear(), grey(30)
    labels, expected = labels_of(model, images), distances(model, images, norm)
    epsilon = float(np.median(expected))
    spec = attack(kind, {"epsilon": [epsilon], "norm": norm}, None)
    outcome = run_checked(spec, CompiledVictim.of(model), images, labels, epsilon, 0)
    assert outcome.correct[expected > epsilon * 1.001].all()
    broken_at_least = {"noise": 0.0, "square": 0.2, "robust": 1.0}[kind]
    assert 1 - outcome.correct[expected < epsilon * 0.98].mean() >= broken_at_least


def test_noise_fills_the_l2_ball_evenly() -> None:
    drawn = random_perturbation((4000, 2, 2, 1), 0.5, (0, 0), "L2")
    share = length(drawn, "L2") / 0.5
    assert share.max() <= 1 + 1e-6
    assert np.quantile(share, 0.5) == pytest.approx(0.5 ** (1 / 4), abs=0.01)
    np.testing.assert_array_equal(drawn[:10], random_perturbation((10, 2, 2, 1), 0.5, (0, 0), "L2"))


@pytest.mark.parametrize("norm", NORMS)
def test_what_the_first_member_breaks_is_not_robust_and_members_account_for_all(norm: str) -> None:
    model, images = linear(5, seed=4), grey(40)
    labels = labels_of(model, images)
    victim = CompiledVictim.of(model)
    epsilon = float(np.median(distances(model, images, norm)))
    spec = attack("robust", {"epsilon": [epsilon], "norm": norm}, None)
    outcome = run_checked(spec, victim, images, labels, epsilon, 0)
    first = spec.members(epsilon)["apgd"]  # type: ignore[attr-defined]
    alone = run_checked(first, victim, images, labels, epsilon, 0).correct
    assert not outcome.correct[~alone].any()
    broken = [v for k, v in outcome.values.items() if k.startswith("broken_by_")]
    assert len(broken) == 5
    assert sum(broken) == pytest.approx(1 - outcome.correct.mean())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("kind", ["robust", "apgd", "minimal", "square"])
def test_where_all_images_are_misclassified_nothing_is_left_to_attack(kind: str, norm: str) -> None:
    model, images = linear(3), grey(5)
    wrong = (labels_of(model, images) + 1) % 3
    more = {"target": "all", "loss": "dlr"} if kind == "apgd" else {}
    spec = attack(kind, {"epsilon": [0.3], "norm": norm, **more}, None)
    outcome = run_checked(spec, CompiledVictim.of(model), images, wrong, 0.3, 0)
    assert not outcome.correct.any()
    np.testing.assert_array_equal(outcome.images, images)
    assert set(outcome.values.values()) <= {0.0}


@pytest.mark.parametrize("target", ["least_likely", "all", 2])
@pytest.mark.parametrize("kind", ["pgd", "apgd"])
def test_a_targeted_attack_goes_to_its_class(kind: str, target: Any) -> None:
    model, images = linear(4, seed=5), grey(20)
    labels, victim = labels_of(model, images), CompiledVictim.of(model)
    spec = attack(kind, {"epsilon": [0.4], "target": target}, None)
    reached = run_checked(spec, victim, images, labels, 0.4, 0)
    assert not reached.correct.any()
    logits = np.asarray(model(images))
    to = logits.argmin(1) if target == "least_likely" else np.full(20, 2)
    if target == 2:
        assert (victim.predict(reached.images)[labels != 2] == 2).mean() > 0.6
    if target == "least_likely":  # stops at the first other class on its way
        assert (victim.predict(reached.images) == to).mean() > 0.3


class Outside(AttackSpec):
    """It stays in the L2 ball and leaves that of L-infinity."""

    def run(self, victim: Victim, images: Any, labels: Any, epsilon: float, seed: int) -> Outcome:
        moved = images.copy()
        moved[:, 0, 0, 0] -= np.float32(epsilon * 0.9)
        return Outcome(moved, victim.predict(moved) == labels)


class OfL2(Outside):
    """The same, as what it is."""

    norm: Any = "L2"

    def run(self, victim: Victim, images: Any, labels: Any, epsilon: float, seed: int) -> Outcome:
        moved = images + np.float32(epsilon / 6.5)  # 36 pixels: a length of 0.92 epsilon
        return Outcome(moved, victim.predict(moved) == labels)


def test_an_attack_is_held_to_its_own_norm() -> None:
    model, images = linear(), grey(6)
    labels, victim = labels_of(model, images), CompiledVictim.of(model)
    run_checked(OfL2(epsilon=(0.3,)), victim, images, labels, 0.3, 0)
    further = images + np.float32(0.2)
    with pytest.raises(ArithmeticError, match=r"L2 length 1\.2, expected at most epsilon = 0\.3"):
        assert_in_ball(further, images, 0.3, "L2")
    with pytest.raises(ValueError, match="norm: expected L2 for this attack, received 'Linf'"):
        OfL2(epsilon=(0.3,), norm="Linf")
    with pytest.raises(ValueError, match="norm: expected Linf for this attack, received 'L2'"):
        Outside(epsilon=(0.3,), norm="L2")


@pytest.mark.parametrize(
    ("kind", "block", "line"),
    [
        (
            "pgd",
            {"epsilon": [2.0]},
            "epsilon: expected less than or equal to 1, received 2; norm: L2 takes more",
        ),
        ("pgd", {"epsilon": [0.1], "norm": "L1"}, "norm: expected 'Linf' or 'L2', received 'L1'"),
        ("pgd", {"epsilon": [20_000.0], "norm": "L2"}, "epsilon: expected less than or equal to 10000"),
        *(
            (
                "apgd",
                {"epsilon": [0.1], "target": no},
                f"target: expected 'least_likely', 'all' or a class from 0 on, received {no!r}",
            )
            for no in ("likeliest", -1, 1.5, True)
        ),
        ("robust", {"epsilon": []}, "epsilon: expected at least one entry"),
        ("robust", {"epsilon": [0.1], "version": "full"}, "version: expected 'light' or 'standard'"),
    ],
)
def test_what_does_not_go_together_is_refused(kind: str, block: dict[str, Any], line: str) -> None:
    with pytest.raises(ValueError, match=re.escape(line)):
        attack(kind, block, None)


def test_a_class_that_is_not_there_is_refused() -> None:
    model, images = linear(3), grey(4)
    spec = attack("pgd", {"epsilon": [0.1], "target": 3}, None)
    assert spec.unfit(3) == "target: expected a class from 0 to 2, received 3"
    assert spec.unfit(4) == ""
    with pytest.raises(RequestError, match="target: expected a class from 0 to 2, received 3"):
        run_checked(spec, CompiledVictim.of(model), images, labels_of(model, images), 0.1, 0)


def test_balls_and_slopes() -> None:
    images = grey(3)
    far = np.clip(images + np.array([0.3, -0.5, 0.01], np.float32).reshape(3, 1, 1, 1), 0, 1)
    for norm in NORMS:
        inside = Ball(norm, np.array([0.1, 0.2, 0.3])).into(images, far)
        assert (length(inside - images, norm) <= np.array([0.1, 0.2, 0.3]) + 1e-6).all()
        gradient = np.random.default_rng(0).normal(size=(3, *SHAPE)).astype(np.float32)
        step = steepest(gradient, norm)
        np.testing.assert_allclose(length(step, norm), 1, rtol=1e-6)
        np.testing.assert_allclose((step * gradient).sum((1, 2, 3)), slope(gradient, norm), rtol=1e-5)
    assert not steepest(np.zeros((1, *SHAPE), np.float32), "L2").any()


@pytest.mark.parametrize("norm", NORMS)
def test_towards_every_class_minimal_finds_each_classs_boundary_and_keeps_the_nearest(norm: str) -> None:
    model, images = linear(4, seed=5), grey(20)
    labels, victim = labels_of(model, images), CompiledVictim.of(model)
    towards = {}
    for target in ("all", *range(4)):
        spec = attack("minimal", {"epsilon": [1.0], "norm": norm, "target": target}, None)
        found = run_checked(spec, victim, images, labels, 1.0, 0).distance
        assert found is not None
        towards[target] = found
    np.testing.assert_allclose(towards["all"], distances(model, images, norm), rtol=2e-3)
    np.testing.assert_allclose(towards["all"], np.min([towards[t] for t in range(4)], 0), rtol=2e-3)
    assert (
        attack("minimal", {"epsilon": [1.0]}, None).settings().keys().isdisjoint({"target", "most_targets"})
    )


def test_what_is_found_beyond_epsilon_breaks_nothing() -> None:
    model, images = linear(5, seed=4), grey(40)
    labels, victim = labels_of(model, images), CompiledVictim.of(model)
    epsilon = 0.5 * float(distances(model, images, "Linf").min())
    spec = attack("robust", {"epsilon": [epsilon]}, None)
    outcome = run_checked(spec, victim, images, labels, epsilon, 0)
    assert outcome.correct.all()
    assert outcome.values["broken_by_minimal_unbounded"] == 0
