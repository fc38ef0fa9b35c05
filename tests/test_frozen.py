"""Of frozen and quantized weights it is said that the Hessian does not see them."""

from typing import Any

import keras
import numpy as np
import pytest

import tfsgd
from tests.test_hessian import shrunk
from tfsgd.networks.frozen import left_out, of_left_out
from tfsgd.networks.input_hessian import InputProduct
from tfsgd.networks.operators import product_of
from tfsgd.networks.training_mode import TrainingMode
from tfsgd.plan.specs import curvature_measure

L = keras.layers
RNG = np.random.default_rng(1)
IMAGES, LABELS = RNG.random((6, 4, 4, 1), np.float32), RNG.integers(0, 3, 6)


def network() -> Any:
    keras.utils.set_random_seed(0)
    return keras.Sequential(
        [keras.Input((4, 4, 1)), L.Flatten(), L.Dense(5), L.BatchNormalization(), L.Dropout(0.5), L.Dense(3)]
    )


def asked(model: Any) -> tuple[Any, list[str]]:
    with pytest.warns(UserWarning, match="weights") as warned:
        found = tfsgd.top_eigenvalue(model, IMAGES, LABELS, max_iterations=2)
    assert {one.filename for one in warned} == {__file__}
    return found, [str(one.message) for one in warned]


def test_statistics_and_states_are_no_weights() -> None:
    for model in (network(), TrainingMode(network()), shrunk("c1")):
        assert (left_out(model), of_left_out(model)) == (0, "")
    found = tfsgd.top_eigenvalue(network(), IMAGES, LABELS, max_iterations=2)
    assert not found.more.keys() & {"parameters", "of"}


def test_a_frozen_layer_is_left_out_and_said() -> None:
    model = network()
    model.layers[1].trainable = model.layers[2].trainable = False  # 16 x 5 + 5, and scale and shift
    found, said = asked(model)
    assert (found.more["parameters"], found.more["of"]) == (18, 18 + 85 + 10)
    line = "top_eigenvalue: the Hessian is that of 18 of 113 weights: the others are frozen or quantized. "
    assert any(one.startswith(line) for one in said)
    assert left_out(TrainingMode(model)) == 95
    spec = curvature_measure("input_eigenvalue", {"max_products": 2}, None)
    of_pixels = spec.of(product_of(spec, model, IMAGES, LABELS))
    assert isinstance(product_of(spec, model, IMAGES, LABELS), InputProduct)
    assert "of" not in of_pixels.more


def test_a_quantized_layer_is_left_out_and_said() -> None:
    model = network()
    model.layers[-1].quantize("int8")
    assert left_out(model) == 15  # its bias is still trained
    found, said = asked(model)
    assert (found.more["parameters"], found.more["of"]) == (85 + 10 + 3, 85 + 10 + 18)
    assert any("98 of 113 weights" in one for one in said)
