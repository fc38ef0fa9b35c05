"""Loss and accuracy along an attack: closed forms on a linear network, and the attack's own end."""

from pathlib import Path
from typing import Any

import keras
import matplotlib.image
import numpy as np
import pytest

import tfsgd
from tests.own import refusal
from tests.test_attacks_more import grey, patterns


@pytest.fixture(scope="module")
def linear() -> tuple[Any, np.ndarray]:
    """Two classes, logits 0 and x·w + b, and w."""
    model = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(2)])
    w = np.random.default_rng(5).normal(size=64).astype(np.float32)
    model.layers[-1].set_weights([np.stack([0 * w, w], 1), np.array([0, -0.5 * w.sum()])])
    return model, w.astype(np.float64)


def expected(w: np.ndarray, moved: np.ndarray, per_unit: float) -> tuple[list[float], list[float]]:
    """Losses and accuracies of grey images whose margins fall by so much for each unit of the way."""
    images, labels = grey(50)
    margin = (images.reshape(50, 64).astype(np.float64) - 0.5) @ w * np.where(labels == 1, 1, -1)
    after = [margin - per_unit * way for way in moved]
    return [float(np.logaddexp(0, -m).mean()) for m in after], [float((m > 0).mean()) for m in after]


@pytest.mark.parametrize(("kind", "settings"), [("bim", {}), ("pgd", {"random_start": False}), ("pgd", {"random_start": False, "loss": "margin"})])  # fmt: skip
@pytest.mark.parametrize("norm", ["Linf", "L2"])
def test_on_a_linear_network_the_margin_falls_in_equal_steps_to_the_ball(
    linear: tuple[Any, np.ndarray], kind: str, settings: dict[str, Any], norm: str
) -> None:
    model, w = linear
    epsilon = {"Linf": 0.02, "L2": 0.1}[norm]
    how = {"early_stop": False, "steps": 6, "relative_step_size": 0.25, "norm": norm, **settings}
    found = tfsgd.attack_path(model, *grey(50), kind, epsilon=epsilon, **how)
    moved = epsilon * np.minimum(0.25 * np.arange(7), 1)
    steepness = np.abs(w).sum() if norm == "Linf" else np.sqrt(w @ w)
    losses, accuracies = expected(w, moved, steepness)
    np.testing.assert_array_equal(found.steps, np.arange(7))
    np.testing.assert_allclose(found.losses, losses, rtol=1e-4)
    np.testing.assert_allclose(found.accuracies, accuracies, atol=0.021)  # rounding at a boundary


def test_apgd_goes_to_the_corner_at_once_and_stays(linear: tuple[Any, np.ndarray]) -> None:
    """A first step of 2 epsilon ends in the corner of the ball, where the loss is largest."""
    model, w = linear
    images, labels = grey(50)
    held = (images.reshape(50, 64) - 0.5) @ w * np.where(labels == 1, 1, -1) > 0.011 * np.abs(w).sum()
    assert 5 < held.sum() < 45
    found = tfsgd.attack_path(model, images[held], labels[held], "apgd", epsilon=0.01, steps=5)
    margin = (images[held].reshape(-1, 64) - 0.5).astype(np.float64) @ w * np.where(labels[held] == 1, 1, -1)
    ends = [np.logaddexp(0, -margin).mean(), np.logaddexp(0, 0.01 * np.abs(w).sum() - margin).mean()]
    np.testing.assert_allclose(found.losses, [ends[0], *[ends[1]] * 5], rtol=1e-4)
    assert (found.accuracies == 1).all()


@pytest.fixture(scope="module")
def trained() -> Any:
    keras.utils.set_random_seed(0)
    layers = keras.layers
    model: Any = keras.Sequential(
        [keras.Input((8, 8, 1)), layers.Conv2D(4, 3, activation="relu"), layers.Flatten(), layers.Dense(4)]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss)
    model.fit(*patterns(600, 1), batch_size=50, epochs=5, verbose=0)
    return model


@pytest.mark.parametrize(
    ("kind", "more"),
    [
        ("pgd", {}),
        ("pgd", {"norm": "L2", "loss": "dlr"}),
        ("bim", {"target": "least_likely"}),
        ("apgd", {}),
        ("apgd", {"norm": "L2", "target": 2}),
    ],
)
def test_a_path_begins_clean_and_ends_where_the_attack_does(
    trained: Any, kind: str, more: dict[str, Any]
) -> None:
    images, labels = patterns(80, 2)
    epsilon = 0.4 if "norm" in more else 0.05
    how = {"epsilon": epsilon, "steps": 8, "seed": 3, **more} | (
        {} if kind == "apgd" else {"relative_step_size": 0.3}
    )
    found, end = (
        tfsgd.attack_path(trained, images, labels, kind, **how),
        tfsgd.attack(trained, images, labels, kind, **how),
    )
    assert len(found.losses) == len(found.accuracies) == 9
    for place, at in ((0, images), (-1, end.images)):
        logits = trained(at, training=False)
        assert found.losses[place] == pytest.approx(
            float(keras.losses.SparseCategoricalCrossentropy(from_logits=True)(labels, logits)), rel=1e-5
        )
        assert found.accuracies[place] == (np.asarray(logits).argmax(1) == labels).mean()
    assert found.accuracies[-1] == end.correct.mean()
    assert found.accuracies[-1] < found.accuracies[0]
    assert (np.diff(found.accuracies) <= 0).all()  # who is broken stays so


@pytest.mark.parametrize(("kind", "more"), [("pgd", {"relative_step_size": 1.0}), ("apgd", {})])
def test_an_attack_that_has_broken_all_stays_where_it_is(
    linear: tuple[Any, np.ndarray], kind: str, more: dict[str, Any]
) -> None:
    found = tfsgd.attack_path(linear[0], *grey(50), kind, epsilon=0.3, steps=5, **more)
    assert len(found.steps) == 6
    assert found.accuracies[-1] == 0
    assert found.losses[-1] == found.losses[-2]


@pytest.mark.parametrize(
    ("kind", "settings", "said"),
    [
        ("fgsm", {}, "fgsm: it has no path of steps; expected pgd, bim or apgd"),
        ("pgd", {"restarts": 2}, "restarts: a path is that of one run, received 2"),
        ("apgd", {"target": "all"}, "target: a path is that of one run, received all"),
    ],
)
def test_what_has_no_path_is_refused_in_a_line(
    linear: tuple[Any, np.ndarray], kind: str, settings: dict[str, Any], said: str
) -> None:
    assert said == refusal(lambda: tfsgd.attack_path(linear[0], *grey(5), kind, epsilon=0.1, **settings))


def test_a_picture_is_drawn(linear: tuple[Any, np.ndarray], tmp_path: Path) -> None:
    file = tmp_path / "path.png"
    tfsgd.picture(tfsgd.attack_path(linear[0], *grey(20), "bim", epsilon=0.05), file, "A linear network")
    pixels = matplotlib.image.imread(file)[..., :3]
    assert (np.ptp(pixels, axis=2) > 0.3).sum() > 100
