"""A network's seeds: the numbers that Keras would draw, whoever else draws from Python's `random` meanwhile."""

import contextlib
import json
import random
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.test_train import experiment, weights
from tfsgd.data.dataset import Splits
from tfsgd.models.paper import build_model
from tfsgd.plan.regimes import SGDSettings
from tfsgd.training.seeds import seeded
from tfsgd.training.train import train


@contextlib.contextmanager
def somebody_draws() -> Iterator[Callable[[], bool]]:
    """A thread that draws from the global `random` all the time, as an event loop's does now and then."""
    stop, drawn = threading.Event(), [0]

    def draw() -> None:
        while not stop.is_set():
            random.random()
            drawn[0] += 1

    thread = threading.Thread(target=draw, daemon=True)
    thread.start()
    try:
        yield lambda: drawn[0] > 100
    finally:
        stop.set()
        thread.join()


def with_noise() -> Any:
    """Initializers and random layers of several kinds, one of them without a seed of its own."""

    class Noise(keras.layers.Layer):
        def call(self, x: Any, training: bool = False) -> Any:
            return x + keras.random.normal((8,)) if training else x

    return keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(8, kernel_initializer="he_normal", bias_initializer="random_uniform"),
            keras.layers.GaussianNoise(0.1),
            Noise(),
            keras.layers.Dense(4, kernel_initializer="orthogonal"),
        ]
    )


def start(model: Any) -> list[bytes]:
    """Weights and the states of the seed generators, and what the random layers make of ones."""
    said = [np.asarray(model(np.ones((2, *model.input_shape[1:]), "float32"), training=True)).tobytes()]
    return [np.asarray(w).tobytes() for w in model.weights] + said


@pytest.mark.parametrize("build", [lambda: build_model("stdcnn"), lambda: build_model("c1"), with_noise])
def test_the_seeds_are_those_that_keras_draws_where_nobody_else_does(build: Callable[[], Any]) -> None:
    for seed in (0, 7):
        keras.backend.clear_session()
        keras.utils.set_random_seed(seed)
        expected = start(build())
        keras.backend.clear_session()
        with somebody_draws() as drawn, seeded(seed):
            found = start(build())
            while not drawn():
                pass
            again = build_model("stdcnn").get_weights()
        assert found == expected
        with seeded(seed):
            start(build())
            assert all(map(np.array_equal, again, build_model("stdcnn").get_weights()))


def test_outside_keras_draws_as_it_did() -> None:
    keras.utils.set_random_seed(5)
    expected = build_model("m1").get_weights()
    with pytest.raises(ZeroDivisionError), seeded(3):
        _ = 1 / 0
    keras.utils.set_random_seed(5)
    assert all(map(np.array_equal, build_model("m1").get_weights(), expected))


def test_a_training_has_the_same_bits_while_somebody_draws(splits: Splits, tmp_path: Path) -> None:
    settings = SGDSettings(64, 0.9, 0.01)
    alone = weights(settings, splits, tmp_path / "alone")
    with somebody_draws():
        np.testing.assert_array_equal(weights(settings, splits, tmp_path / "beside"), alone)


def test_a_committed_record_is_still_what_is_found(splits: Splits, tmp_path: Path) -> None:
    """The loss of the first epoch with all images, in the order of sums of whatever processor this is."""
    path = Path("docs/results/fmnist_stdcnn-seeds/trials/lr/b1024-m0.9-s0/record.json")
    recorded = json.loads(path.read_text())["history"]["loss"][0]
    changes = {"epochs": 1, "batch_sizes": [1024], "train_examples": None}
    trained = train(SGDSettings(1024, 0.9, 0.01), 0, experiment(**changes), splits, tmp_path)
    assert trained.history["loss"][0] == pytest.approx(recorded, rel=1e-4)
