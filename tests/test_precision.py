"""Training in bfloat16, measured in float32."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tests.conftest import Config
from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits, to_unit
from tfsgd.environment import refuse_other_keras
from tfsgd.errors import RequestError
from tfsgd.networks.accuracy import Evaluator
from tfsgd.networks.operators import product_of
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.regimes import Regime, SGDSettings
from tfsgd.training import precision
from tfsgd.training.precision import build_in
from tfsgd.training.train import train

HALF = SGDSettings(64, 0.9, 0.05, precision="bfloat16")


def test_weights_and_logits_are_float32_and_layers_are_not() -> None:
    keras.utils.set_random_seed(0)
    network = build_in(experiment(), "bfloat16")
    kinds = {layer.compute_dtype for layer in network.layers[1:-1]}
    assert kinds == {"bfloat16"}
    assert {weight.dtype for weight in network.weights} == {"float32"}
    assert network.layers[-1].compute_dtype == network.output.dtype == "float32"


@pytest.mark.parametrize("model", ["stdcnn", "resnet18"])
def test_it_begins_where_float32_begins(model: str) -> None:
    """The same seed gives the same weights, and logits that differ by bfloat16's 8 bits."""
    asked = experiment(model=model) if model == "stdcnn" else experiment(model=model, dataset="cifar10")
    networks = []
    for kind in ("float32", "bfloat16"):
        keras.utils.set_random_seed(0)
        networks.append(build_in(asked, kind))
    single, half = networks
    for ours, theirs in zip(single.get_weights(), half.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    images = np.random.default_rng(0).random((8, *single.input_shape[1:]), np.float32)
    exact, rounded = single(images).numpy(), half(images).numpy()
    assert 0 < np.abs(exact - rounded).max() < 0.05 * np.abs(exact).max()


def test_what_is_measured_is_the_float32_network(splits: Splits, tmp_path: Path) -> None:
    asked, images = experiment(epochs=2), small(splits)
    found = train(HALF, 3, asked, images, tmp_path)
    assert {layer.compute_dtype for layer in found.network.layers} == {"float32"}
    assert found.history["val_loss"][-1] == Evaluator(found.network)(images.validation).loss
    split = getattr(images, asked.hessian.split).first(asked.hessian.examples)
    product = product_of(asked.hessian, found.network, to_unit(split.images), split.labels, 64)
    assert found.hessian is not None
    assert found.hessian.value == pytest.approx(asked.hessian.of(product).value, rel=1e-6)
    plain = train(replace(HALF, precision="float32"), 3, asked, images, tmp_path / "plain")
    far = [
        np.abs(a - b).max()
        for a, b in zip(found.network.get_weights(), plain.network.get_weights(), strict=True)
    ]
    assert 0 < max(far) < 0.1
    assert found.history["loss"][-1] == pytest.approx(plain.history["loss"][-1], rel=0.05)


def test_it_is_an_axis_of_the_grid() -> None:
    both = Regime.model_validate(
        {"learning_rate": 0.05, "momentum": [0.9], "precision": ["float32", "bfloat16"]}
    )
    assert [*both.settings(64)] == [replace(HALF, precision="float32"), HALF]


def test_another_precision_is_refused(config: Config) -> None:
    rule: dict[str, Any] = {"R": {"learning_rate": 0.05, "momentum": [0.9], "precision": "float16"}}
    with pytest.raises(
        RequestError, match=r"regimes\.R\.precision.*expected 'float32' or 'bfloat16', received 'float16'"
    ):
        load_experiment(config(regimes=rule))


def test_a_hidden_precision_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "strict")
    refuse_other_keras()
    monkeypatch.setenv("ONEDNN_DEFAULT_FPMATH_MODE", "BF16")
    with pytest.raises(RequestError, match="ONEDNN_DEFAULT_FPMATH_MODE=BF16: no record would say"):
        refuse_other_keras()


def test_a_processor_without_such_a_unit_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert not tf.config.list_physical_devices("GPU")
    for flags, is_slow in (("fma avx2", True), ("avx2 avx512_bf16", False), ("amx_bf16", False)):
        (tmp_path / "cpuinfo").write_text(f"flags : {flags}\n")
        monkeypatch.setattr(precision, "CPUINFO", tmp_path / "cpuinfo")
        assert precision.is_slow_here() == is_slow
