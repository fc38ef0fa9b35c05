"""Perturbations of another network: closed forms of linear networks, refusals, and the matrix of a sweep."""

import functools
import hashlib
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.own import refusal
from tfsgd.measures.attacks.transfer import Transfer
from tfsgd.measures.victim import Victim
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.surrogate import Sources

SHAPE = (4, 5, 1)
RNG = np.random.default_rng(0)
ONE = RNG.normal(size=20)
DIRECTIONS = {"one": ONE, "other": ONE + RNG.normal(size=20)}
IMAGES = RNG.uniform(0.3, 0.7, (60, *SHAPE)).astype(np.float32)
LABELS = RNG.integers(0, 2, 60)


def line(direction: np.ndarray, shape: tuple[int, ...] = SHAPE, classes: int = 2) -> Any:
    """Logits 0 and w·(x - 1/2); a class beyond has none."""
    model = keras.Sequential([keras.Input(shape), keras.layers.Flatten(), keras.layers.Dense(classes)])
    kernel, bias = np.zeros((int(np.prod(shape)), classes)), np.zeros(classes)
    kernel[: len(direction), 1], bias[1] = direction, -direction.sum() / 2
    model.set_weights([kernel, bias])
    return model


@pytest.fixture
def networks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    for name, direction in DIRECTIONS.items():
        line(direction).save(f"{name}.keras")
    return tmp_path


def victim(name: str) -> Victim:
    found = CompiledVictim.of(line(DIRECTIONS[name]))
    found.beside = Sources()
    return found


def run(on: str, source: str, epsilon: float = 0.05) -> Any:
    spec = Transfer(epsilon=(epsilon,), source=source, relative_step_size=0.1)
    return spec.run(victim(on), IMAGES, LABELS, epsilon, 1)


def right(name: str, images: np.ndarray) -> np.ndarray:
    logit = (images.reshape(60, 20) - 0.5) @ DIRECTIONS[name]
    return (logit > 0) == (LABELS == 1)


@pytest.mark.parametrize(("on", "source"), [("one", "other"), ("other", "one"), ("one", "one")])
def test_of_linear_networks_every_pixel_moves_by_epsilon_against_the_sources_weights(
    on: str, source: str, networks: Path
) -> None:
    """No pixel is clipped, and 40 steps of epsilon / 10 cross the ball from wherever they start."""
    sign = np.where(LABELS == 1, -1, 1)[:, None] * np.sign(DIRECTIONS[source])
    moved = IMAGES + 0.05 * sign.reshape(60, *SHAPE)
    clean, broken = right(on, IMAGES), ~right(on, moved)
    assert 0 < (clean & broken).sum() < clean.sum()
    found = run(on, f"{source}.keras")
    np.testing.assert_allclose(found.images[clean], moved[clean], atol=1e-6)
    np.testing.assert_array_equal(found.images[~clean], IMAGES[~clean])
    np.testing.assert_array_equal(found.correct, clean & ~broken)
    assert found.values["source_accuracy"] == right(source, moved).mean()
    sha256 = hashlib.sha256((networks / f"{source}.keras").read_bytes()).hexdigest()
    assert found.values["source_sha256"] == sha256


def test_a_source_is_loaded_and_attacked_once_for_all_victims(
    networks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    climbed = []
    real = CompiledVictim.climb

    def counted(*arguments: Any) -> Any:
        climbed.append(arguments)
        return real(*arguments)

    monkeypatch.setattr(CompiledVictim, "climb", counted)
    sources = Sources()
    spec = Transfer(epsilon=(0.05, 0.06), source="other.keras")
    for on in ("one", "other"):
        on_this = victim(on)
        on_this.beside = sources
        for epsilon in (0.05, 0.06, 0.05):
            spec.run(on_this, IMAGES, LABELS, epsilon, 1)
    assert len(climbed) == 2
    spec.run(on_this, IMAGES[1:], LABELS[1:], 0.05, 1)
    spec.run(on_this, IMAGES, LABELS, 0.05, 2)
    assert len(climbed) == 4


def test_sources_that_cannot_be_used_are_refused_in_one_line(networks: Path) -> None:
    line(DIRECTIONS["one"], (5, 4, 1)).save("turned.keras")
    line(np.full(20, np.nan)).save("diverged.keras")
    (networks / "text.keras").write_text("no network")
    for source, message in {
        "gone.keras": "source: gone.keras: no such file or folder",
        "turned.keras": "source: turned.keras: it takes images of shape (5, 4, 1), these have (4, 5, 1)",
        "diverged.keras": "source: diverged.keras: its outputs are not finite: its training diverged",
        "text.keras": "source: text.keras: expected a .keras file",
    }.items():
        assert message in refusal(functools.partial(run, "one", source))
    alone = CompiledVictim.of(line(DIRECTIONS["one"]))
    spec = Transfer(epsilon=(0.1,), source="one.keras")
    assert "no other network is known here" in refusal(lambda: spec.run(alone, IMAGES, LABELS, 0.1, 0))
    three = CompiledVictim.of(line(DIRECTIONS["one"], classes=3))
    three.beside = Sources()
    wide = LABELS.copy()
    wide[0] = 2
    assert "it has 2 outputs, there are labels up to 2" in refusal(
        lambda: spec.run(three, IMAGES, wide, 0.1, 0)
    )
