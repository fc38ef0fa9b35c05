"""Corruptions against what their formulas say, and `identity` against clean accuracy."""

from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import Config
from tests.own import refusal
from tfsgd.data.dataset import Split, Splits
from tfsgd.measures.corruption_accuracy import Corruptions
from tfsgd.measures.corruptions import FAMILIES, HIGH, LOW, corrupted, warped
from tfsgd.measures.spec import Request
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.reading import load_experiment
from tfsgd.reporting.table.columns import asked_columns

IMAGES = np.random.default_rng(0).random((6, 12, 10, 2), np.float32)
GREY = np.full((50, 28, 28, 1), 0.5, np.float32)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_corruption_is_an_image_and_a_function_of_its_seed(family: str) -> None:
    found = corrupted(IMAGES, family, 3, 7)
    assert (found.shape, found.dtype) == (IMAGES.shape, np.float32)
    assert 0 <= found.min() <= found.max() <= 1
    np.testing.assert_array_equal(found, corrupted(IMAGES, family, 3, 7))
    np.testing.assert_array_equal(found[:2], corrupted(IMAGES[:2], family, 3, 7))
    is_identity = family == "identity"
    assert np.array_equal(found, IMAGES) == is_identity
    sizes = [np.abs(corrupted(IMAGES, family, s, 7) - IMAGES).mean() for s in (1, 3, 5)]
    assert is_identity or sizes[0] < sizes[1] < sizes[2]


def test_the_noises_have_the_variance_that_they_should() -> None:
    for family in ("gaussian_noise", "low_frequency_noise", "middle_frequency_noise", "high_frequency_noise"):
        assert np.std(corrupted(GREY, family, 1, 0) - GREY) == pytest.approx(0.05, rel=0.03), family
    assert np.var(corrupted(GREY, "shot_noise", 2, 0)) == pytest.approx(0.5 * 0.4**2 / 10, rel=0.03)
    assert np.std(corrupted(GREY, "speckle_noise", 1, 0)) == pytest.approx(0.05, rel=0.03)
    impulses = corrupted(GREY, "impulse_noise", 5, 0)
    for end in (0, 1):
        assert (impulses == end).mean() == pytest.approx(0.125, abs=0.01)
    assert set(np.unique(impulses)) == {0, 0.5, 1}


@pytest.mark.parametrize(
    ("family", "low", "high"),
    [
        ("low_frequency_noise", 0, LOW),
        ("middle_frequency_noise", LOW, HIGH),
        ("high_frequency_noise", HIGH, 1),
    ],
)
def test_noise_of_a_band_has_no_other_frequency(family: str, low: float, high: float) -> None:
    spectrum = (
        np.abs(np.fft.fft2(corrupted(GREY, family, 1, 3)[..., 0].astype(float) - 0.5)) ** 2
    )  # nothing was clipped
    radius = np.hypot(np.fft.fftfreq(28)[:, None], np.fft.fftfreq(28))
    inside = spectrum[:, (radius >= low) & (radius < high)].sum()
    assert inside / spectrum.sum() > 1 - 1e-9


def test_a_warp_moves_turns_and_keeps() -> None:
    images = IMAGES.astype(float)
    eye = np.tile(np.eye(2), (6, 1, 1))
    np.testing.assert_allclose(warped(images, eye), images, atol=1e-12)
    moved = warped(images, eye, np.array([2.0, -1.0]))
    np.testing.assert_allclose(moved[:, :-2, 1:], images[:, 2:, :-1], atol=1e-12)
    np.testing.assert_allclose(moved[:, -1, 1:], images[:, -1, :-1], atol=1e-12)  # the edge goes on
    half = warped(images, eye, np.array([0.0, 0.5]))
    np.testing.assert_allclose(half[:, :, :-1], (images[:, :, :-1] + images[:, :, 1:]) / 2, atol=1e-12)
    square = images[:, :10]
    turned = warped(square, np.tile([[0.0, -1.0], [1.0, 0.0]], (6, 1, 1)))
    np.testing.assert_allclose(turned, np.rot90(square, -1, axes=(1, 2)), atol=1e-12)


def test_what_is_drawn_for_nothing_has_closed_forms() -> None:
    images = IMAGES.astype(float)
    np.testing.assert_allclose(corrupted(IMAGES, "brightness", 2, 0), np.minimum(images + 0.2, 1), atol=1e-6)
    mean = images.mean((1, 2), keepdims=True)
    np.testing.assert_allclose(corrupted(IMAGES, "contrast", 5, 0), mean + 0.15 * (images - mean), atol=1e-6)
    found = corrupted(IMAGES, "pixelate", 1, 0)  # squares of two
    np.testing.assert_allclose(
        found[:, 2:4, 4:6],
        np.broadcast_to(images[:, 2:4, 4:6].mean((1, 2), keepdims=True), (6, 2, 2, 2)),
        atol=1e-6,
    )
    blurred = corrupted(GREY, "gaussian_blur", 5, 0)
    np.testing.assert_allclose(blurred, GREY, atol=1e-6)


def test_identity_is_clean_accuracy_and_the_mean_is_that_of_all() -> None:
    keras.utils.set_random_seed(1)
    network: Any = keras.Sequential([keras.Input((8, 8, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    rng = np.random.default_rng(2)
    images = rng.integers(0, 256, (60, 8, 8, 1), np.uint8)
    labels = np.asarray(network(images / np.float32(255))).argmax(1)
    labels[::4] = (labels[::4] + 1) % 3
    split = Split(images, labels)
    subject = MeasuredNetwork(network, Splits(split, split, split, "0" * 64, "drawn"))
    spec = Corruptions(families=("identity", "gaussian_noise"), severities=(1, 5))
    found = Request("corruptions", "corruptions", spec, "test", 50).measure_on(subject)
    clean = (np.asarray(network(images[:50] / np.float32(255))).argmax(1) == labels[:50]).mean()
    assert found.values["clean_accuracy"] == clean
    [identity, noise] = found.values["accuracies"]
    assert identity == [clean, clean]
    assert found.values["accuracy"] == pytest.approx(np.mean([*identity, *noise]))
    assert found.values["families"] == ["identity", "gaussian_noise"]


def test_a_config_asks_for_corruptions_and_claims_may_be_about_them(config: Config) -> None:
    experiment = load_experiment(
        config(corruptions={"families": ["rotate"], "severities": 2, "examples": 20})
    )
    assert experiment.corruptions
    assert experiment.corruptions.severities == (2,)
    assert "corruption_rotate" in asked_columns(experiment)
    assert load_experiment(config()).corruptions is None


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("corruptions.families=[rotat]", "corruptions.families: expected some of identity, gaussian_noise"),
        (
            "corruptions.severities=[6]",
            "corruptions.severities: expected less than or equal to 5, received 6",
        ),
        (
            "corruptions.examples=10000",
            "corruptions.examples: expected at most the 50 images of the test split",
        ),
        ("corruptions.familys=[rotate]", "corruptions.familys: unknown key"),
    ],
)
def test_a_corruption_that_cannot_be_is_refused_in_a_line(config: Config, setting: str, said: str) -> None:
    assert said in refusal(lambda: load_experiment(config(), (setting,)))
