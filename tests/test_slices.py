"""Slices of the loss against weights that are set by hand."""

from pathlib import Path
from typing import Any

import keras
import matplotlib.image
import numpy as np
import pytest

import tfsgd
from tests.own import refusal
from tests.test_hessian import with_weights
from tfsgd.measures.landscape_slice import Slice, filter_normalized

RNG = np.random.default_rng(0)
IMAGES, LABELS = RNG.random((40, 6, 6, 1), np.float32), np.arange(40) % 3


def network(seed: int, norm: bool = False, hidden: int = 4) -> Any:
    keras.utils.set_random_seed(seed)
    layers = keras.layers
    made = keras.Sequential(
        [keras.Input((6, 6, 1)), layers.Conv2D(3, 3, activation="relu"), *([layers.BatchNormalization()] if norm else []),
         layers.Flatten(), layers.Dropout(0.5), layers.Dense(hidden, "relu"), layers.Dense(3)], name=f"of_seed_{seed}"
    )  # fmt: skip
    if norm:
        made.layers[1].set_weights([RNG.random(3) + 0.5, RNG.random(3), RNG.random(3), RNG.random(3) + 0.5])
    return made


def of(model: Any) -> tuple[float, float]:
    loss = keras.losses.sparse_categorical_crossentropy(
        LABELS, model(IMAGES, training=False), from_logits=True
    )
    return float(np.mean(loss)), float((np.asarray(model(IMAGES)).argmax(1) == LABELS).mean())


def weights(model: Any) -> np.ndarray:
    return np.concatenate([v.numpy().ravel() for v in model.trainable_variables])


@pytest.fixture(scope="module")
def pair() -> tuple[Any, Any]:
    return network(1), network(2)


def test_a_line_is_the_network_of_mixed_weights_and_its_ends_are_the_networks(pair: tuple[Any, Any]) -> None:
    one, other = pair
    before = [weights(model) for model in pair]
    found = tfsgd.barrier(one, other, IMAGES, LABELS, points=5)
    for model, old in zip(pair, before, strict=True):
        np.testing.assert_array_equal(weights(model), old)
    np.testing.assert_allclose(found.coordinates, [0, 0.25, 0.5, 0.75, 1])
    mixed = network(3)
    for i, share in enumerate(found.coordinates):
        with_weights(mixed, (1 - share) * before[0] + share * before[1])
        assert (found.losses[i], found.accuracies[i]) == (pytest.approx(of(mixed)[0], rel=1e-5), of(mixed)[1])


def test_with_batchnorm_the_ends_keep_their_statistics_and_the_middle_takes_its_own() -> None:
    one, other = network(1, norm=True), network(2, norm=True)
    found = tfsgd.barrier(one, other, IMAGES, LABELS, points=3)
    assert found.losses[0] == pytest.approx(of(one)[0], rel=1e-5)
    assert found.losses[2] == pytest.approx(of(other)[0], rel=1e-5)
    mixed = network(3, norm=True)
    with_weights(mixed, (weights(one) + weights(other)) / 2)
    images = mixed.layers[0](IMAGES)
    gamma, beta, _, _ = mixed.layers[1].get_weights()
    mixed.layers[1].set_weights([gamma, beta, np.mean(images, (0, 1, 2)), np.var(images, (0, 1, 2))])
    assert found.losses[1] == pytest.approx(of(mixed)[0], rel=1e-4)


def test_the_barrier_is_what_rises_above_the_chord() -> None:
    def barrier(*losses: float) -> float:
        return Slice(np.linspace(0, 1, len(losses)), np.array(losses), np.zeros(len(losses))).barrier

    assert barrier(1.0, 4.0, 3.0) == 2.0
    assert barrier(1.0, 1.5, 3.0) == 0.0


def test_directions_have_filters_of_the_weights_lengths() -> None:
    kernels = [RNG.normal(size=(3, 3, 2, 4)), RNG.normal(size=4), RNG.normal(size=(5, 6))]
    found = filter_normalized(kernels, np.random.default_rng(1))
    for kernel, direction in zip(kernels, found, strict=True):
        if kernel.ndim == 1:
            assert not direction.any()
        else:
            flat = (one.reshape(-1, kernel.shape[-1]) for one in (kernel, direction))
            lengths = [np.linalg.norm(one, axis=0) for one in flat]
            np.testing.assert_allclose(*lengths)


def test_a_plane_has_the_network_in_its_middle_and_its_lines(pair: tuple[Any, Any]) -> None:
    plane = tfsgd.landscape(pair[0], IMAGES, LABELS, directions=2, extent=0.5, points=3, seed=4)
    line = tfsgd.landscape(pair[0], IMAGES, LABELS, extent=0.5, points=3, seed=4)
    assert plane.losses.shape == (3, 3)
    assert plane.losses[1, 1] == line.losses[1] == pytest.approx(of(pair[0])[0], rel=1e-5)
    np.testing.assert_allclose(plane.losses[:, 1], line.losses, rtol=1e-5)  # the first direction is in rows
    kernels = [v.numpy().astype(float) for v in pair[0].trainable_variables]
    drawn = filter_normalized(kernels, np.random.default_rng(4))
    moved = network(3)
    with_weights(moved, np.concatenate([(w + 0.5 * d).ravel() for w, d in zip(kernels, drawn, strict=True)]))
    assert line.losses[2] == pytest.approx(of(moved)[0], rel=1e-5)


def test_what_does_not_fit_is_refused_in_a_line(pair: tuple[Any, Any]) -> None:
    said = refusal(lambda: tfsgd.barrier(pair[0], network(5, hidden=7), IMAGES, LABELS))
    assert said.startswith("other: expected weights of the shapes of of_seed_1's, received 6 variables of")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"points": 1}, "points: expected a whole number from 2, received 1"),
        ({"directions": 3}, "directions: expected 1 or 2, received 3"),
        ({"extent": 0.0}, "extent: expected a number above 0, received 0.0"),
    ],
)
def test_a_number_that_cannot_be_is_refused_in_a_line(
    pair: tuple[Any, Any], settings: dict[str, Any], said: str
) -> None:
    assert refusal(lambda: tfsgd.landscape(pair[0], IMAGES, LABELS, **settings)) == said


@pytest.mark.parametrize("directions", [1, 2])
def test_a_picture_is_drawn(pair: tuple[Any, Any], directions: int, tmp_path: Path) -> None:
    file = tmp_path / "slice.png"
    found = tfsgd.landscape(pair[0], IMAGES, LABELS, directions=directions, points=3)
    tfsgd.picture(found, file, "A small network")
    pixels = matplotlib.image.imread(file)[..., :3]
    assert min(pixels.shape[:2]) > 300
    assert (np.ptp(pixels, axis=2) > 0.3).sum() > 100  # something in colours
    said = refusal(lambda: tfsgd.picture(found, tmp_path / "slice.pdf"))
    assert said.startswith("file: expected a .png in a folder that is there, received")
