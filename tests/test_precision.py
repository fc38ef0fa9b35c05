"""Networks that compute with 16 bits: trained by the same steps, attacked, and measured in training mode."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.measures.attack import run_checked
from tfsgd.measures.attacks.minimal import Minimal
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.attacks.square import Square
from tfsgd.models.paper import MODELS, Architecture
from tfsgd.models.structure import refuse_unfit
from tfsgd.networks.compiled_victim import CompiledVictim
from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.networks.input_hessian import InputProduct
from tfsgd.networks.load_network import load_network
from tfsgd.networks.training_mode import TrainingMode
from tfsgd.plan.regimes import SGDSettings
from tfsgd.training import model as train_module
from tfsgd.training.train import Trained, train
from tfsgd.trials.outcome import in_a_line

RNG = np.random.default_rng(0)


def network(dtype: str | None, last: str | None = None, norm: bool = False) -> Any:
    image = keras.Input((6, 6, 3), name="image")
    x = keras.layers.Conv2D(4, 3, activation="tanh", dtype=dtype)(image)
    if norm:
        x = keras.layers.Rescaling(300.0, offset=1000.0, dtype=dtype)(x)  # what 16 bits cannot centre
        x = keras.layers.BatchNormalization(dtype=dtype)(x)
    x = keras.layers.Flatten()(x)
    return keras.Model(image, keras.layers.Dense(3, dtype=last or dtype)(x))


@pytest.fixture
def float32_again() -> Iterator[None]:
    yield
    keras.config.set_dtype_policy("float32")


def plain(image: Any, layers: Any, classes: int) -> Any:
    x = layers.Conv2D(4, 5, strides=2, activation="tanh")(image)
    return layers.Dense(classes)(layers.Flatten()(x))


def test_under_a_policy_of_16_bits_a_batch_in_parts_takes_the_step_of_the_whole_one(
    splits: Splits, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, float32_again: None
) -> None:
    """And a rate that is halved finds the momentum that it rescales: no optimizer is wrapped in another."""
    keras.config.set_dtype_policy("mixed_float16")  # as a function of one's own, or its module, may
    monkeypatch.setitem(MODELS, "plain", Architecture(plain, (28, 28, 1)))
    settings = SGDSettings(64, 0.9, 0.1, halve_every_epochs=1)

    def trained(part_size: int, epochs: int) -> Trained:
        monkeypatch.setattr(train_module, "PART_SIZE", part_size)
        asked = experiment(model="plain", epochs=epochs)
        return train(settings, 0, asked, small(splits), tmp_path)

    def flat(found: Trained) -> np.ndarray:
        return np.concatenate([w.ravel() for w in found.network.get_weights()])

    assert trained(16, 1).network.layers[-1].dtype_policy.name == "mixed_float16"
    whole, parts, early = flat(trained(1_024, 3)), flat(trained(16, 3)), flat(trained(16, 1))
    way = np.linalg.norm(whole - early)
    assert way > 0.1
    assert np.linalg.norm(whole - parts) < 0.02 * way


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_logits_of_16_bits_are_attacked(dtype: str) -> None:
    model = network(dtype)
    images = RNG.random((20, 6, 6, 3), np.float32)
    victim = CompiledVictim.of(model)
    labels = victim.predict(images)
    for spec in (PGD(epsilon=(0.1,), steps=3), Square(epsilon=(0.1,), queries=3), Minimal(epsilon=(0.1,))):
        outcome = run_checked(spec, victim, images, labels, 0.1, seed=0)
        np.testing.assert_array_equal(outcome.correct, victim.predict(outcome.images) == labels)


@pytest.mark.parametrize("dtype", ["mixed_bfloat16", "mixed_float16"])
def test_probabilities_of_16_bits_are_refused(dtype: str) -> None:
    inside = network(dtype)
    model = keras.Model(inside.inputs, keras.layers.Softmax(dtype=dtype)(inside.output))
    with pytest.raises(RequestError, match="received probabilities"):
        CompiledVictim.of(model)


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_training_mode_has_moments_as_exact_as_keras_has_them(dtype: str) -> None:
    model = network(dtype, "float32", norm=True)
    images = RNG.random((16, 6, 6, 3), np.float32)
    expected = np.asarray(model(images, training=True))
    np.testing.assert_allclose(TrainingMode(model)(images), expected, rtol=0, atol=1e-3)


@pytest.mark.parametrize("dtype", ["float64", "bfloat16"])
def test_the_hessian_of_a_saved_model_is_that_of_its_network(dtype: str, tmp_path: Path) -> None:
    """It takes float32 images, whatever its weights are."""
    model = network(dtype)
    signature = [tf.TensorSpec((None, 6, 6, 3), tf.float32, name="image")]
    model.export(str(tmp_path / "net"), input_signature=signature, verbose=False)
    images, labels = RNG.random((20, 6, 6, 3), np.float32), RNG.integers(0, 3, 20)
    vector = RNG.standard_normal(model.count_params())
    saved = load_network(tmp_path / "net")
    expected = HessianVectorProduct(model, images, labels)(vector).astype(np.float64)
    found = HessianVectorProduct(saved, images, labels)(vector).astype(np.float64)
    np.testing.assert_allclose(found, expected, rtol=0, atol=0.02 * np.abs(expected).max())
    directions = RNG.standard_normal((20, 108))
    of_images = InputProduct(saved, images, labels)(directions, np.arange(20))
    expected = InputProduct(model, images, labels)(directions, np.arange(20))
    np.testing.assert_allclose(of_images, expected, rtol=0, atol=0.1 * np.abs(expected).max())


def test_an_error_in_a_graph_is_told_by_its_cause() -> None:
    @tf.function
    def mixes() -> tf.Tensor:
        return tf.ones(2) + tf.ones(2, tf.float64)

    with pytest.raises(TypeError) as raised:
        mixes()
    assert in_a_line(raised.value).startswith("TypeError: Input 'y' of 'AddV2' Op has type float64")


def test_weights_of_several_precisions_are_refused() -> None:
    with pytest.raises(RequestError, match=r"net: expected weights of one precision, found float32, float64"):
        refuse_unfit(network("float32", "float64"), (6, 6, 3), 3, "net")
    refuse_unfit(network("mixed_bfloat16", "float32"), (6, 6, 3), 3, "net")
