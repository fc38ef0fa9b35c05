"""Table 1 of the paper."""

import keras
import numpy as np
import pytest

from tfsgd.models import MODELS, build_model


@pytest.mark.parametrize(
    ("name", "parameters"),
    [("stdcnn", 23_010), ("m1", 4_016_050), ("c1", 1_756_682), ("resnet18", 11_173_962)],
)
def test_trainable_parameters(name: str, parameters: int) -> None:
    model = build_model(name)
    assert sum(int(np.prod(v.shape)) for v in model.trainable_variables) == parameters
    assert model.input_shape[1:] == MODELS[name].image_shape
    assert (
        model.input_names == ["image"] if hasattr(model, "input_names") else model.inputs[0].name == "image"
    )


@pytest.mark.parametrize("name", list(MODELS))
def test_outputs_are_logits(name: str) -> None:
    model = build_model(name)
    logits = model(
        np.random.default_rng(0).random((4, *model.input_shape[1:]), np.float32), training=False
    ).numpy()
    assert logits.shape == (4, 10)
    assert logits.min() < 0
    assert model.layers[-1].activation is keras.activations.linear


def test_batch_norm_keeps_up_with_few_steps_and_many_replicas() -> None:
    layers = [layer for name in ("c1", "resnet18") for layer in build_model(name).layers]
    norms = [layer for layer in layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert len(norms) == 2 + 20
    assert {(n.momentum, n.epsilon, n.synchronized) for n in norms} == {(0.9, 1e-5, True)}


def test_c1_and_stdcnn_have_the_orders_of_table_1() -> None:
    def kinds(name: str) -> list[str]:
        short = {
            "Conv2D": "Conv",
            "MaxPooling2D": "MP",
            "BatchNormalization": "BN",
            "Dense": "FC",
            "Dropout": "Drop",
        }
        return [
            short[type(layer).__name__] for layer in build_model(name).layers if type(layer).__name__ in short
        ]

    assert kinds("c1") == ["Conv", "MP", "BN", "Conv", "MP", "BN", "FC", "FC", "FC"]
    assert kinds("stdcnn") == ["Conv", "Conv", "MP", "Conv", "Conv", "MP", "FC", "Drop", "FC"]
    assert kinds("m1") == ["Conv", "Conv", "FC", "FC"]
