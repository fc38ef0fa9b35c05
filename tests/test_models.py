"""Table 1 of the paper."""

import functools
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfsgd.models.paper import MODELS, build_model
from tfsgd.models.structure import PAPER_STRUCTURES, structure_sha256


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


def test_titles_are_for_people_and_names_for_keras() -> None:
    assert [MODELS[name].title for name in MODELS] == ["StdCNN", "M1", "C1", "ResNet18"]
    assert [build_model(name).name for name in MODELS] == list(MODELS)


# Structures


@pytest.mark.parametrize("name", list(MODELS))
def test_the_structures_of_table_1_are_pinned(name: str, tmp_path: Path) -> None:
    model = build_model(name)
    assert structure_sha256(model) == PAPER_STRUCTURES[name]
    assert structure_sha256(build_model(name)) == PAPER_STRUCTURES[name]
    model.save(tmp_path / "model.keras")
    assert structure_sha256(keras.models.load_model(tmp_path / "model.keras")) == PAPER_STRUCTURES[name]
    assert structure_sha256(build_model(name, classes=11)) != PAPER_STRUCTURES[name]


def net(
    first: dict[str, Any] | None = None,
    norm: dict[str, Any] | None = None,
    crossed: bool = False,
    size: int = 8,
) -> Any:
    """Two convolutions side by side, subtracted, with some settings changed."""
    layers = keras.layers
    image = keras.Input((size, size, 1))
    x = layers.Conv2D(4, 3, **({"padding": "same"} | (first or {})))(image)
    y = layers.Conv2D(4, 3, padding="same", strides=(first or {}).get("strides", 1))(image)
    x = layers.BatchNormalization(**(norm or {}))(x)
    z = layers.Subtract()([y, x] if crossed else [x, y])
    return keras.Model(image, layers.Dense(3)(layers.Flatten()(z)))


CHANGES: list[dict[str, Any]] = [
    {"first": {"activation": "relu"}},
    {"first": {"activation": "tanh"}},
    {"first": {"strides": 2}},
    {"first": {"use_bias": False}},
    {"first": {"kernel_initializer": "he_normal"}},
    {"first": {"kernel_initializer": keras.initializers.HeNormal(seed=3)}},
    {"first": {"kernel_regularizer": "l2"}},
    {"first": {"trainable": False}},
    {"norm": {"momentum": 0.9}},
    {"norm": {"epsilon": 1e-5}},
    {"norm": {"center": False}},
    {"crossed": True},
    {"size": 9},
]


def test_whatever_changes_the_function_or_its_training_changes_the_structure() -> None:
    hashes = [structure_sha256(net(**changes)) for changes in [{}, *CHANGES]]
    assert len(set(hashes)) == len(hashes)
    assert hashes == [structure_sha256(net(**changes)) for changes in [{}, *CHANGES]]


def test_names_and_defaults_that_are_said_change_nothing() -> None:
    said = {
        "name": "another",
        "activation": "linear",
        "strides": (1, 1),
        "use_bias": True,
        "dilation_rate": 1,
    }
    norm = {"momentum": 0.99, "name": "third", "gamma_initializer": keras.initializers.Ones()}
    assert structure_sha256(net(said, norm)) == structure_sha256(net())


def with_later(get_config: Any) -> Any:
    return lambda self: get_config(self) | {"later": 1.5}


def without_later(init: Any) -> Any:
    """Takes the argument, and hands on the others."""

    @functools.wraps(init)
    def taking(self: Any, *arguments: Any, later: float = 1.5, **named: Any) -> None:
        init(self, *arguments, **named)

    return taking


def test_a_later_optional_argument_of_keras_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = structure_sha256(net({"kernel_initializer": "he_normal"}))
    for kind in (keras.layers.Conv2D, keras.layers.Dense, keras.initializers.HeNormal):
        monkeypatch.setattr(kind, "get_config", with_later(kind.get_config))
    monkeypatch.setattr(
        keras.initializers.HeNormal, "__init__", without_later(keras.initializers.HeNormal.__init__)
    )
    assert "later" in keras.layers.Dense(3).get_config()
    assert structure_sha256(net({"kernel_initializer": "he_normal"})) == before


def test_a_model_inside_a_model_counts_with_its_layers(tmp_path: Path) -> None:
    def outer(activation: str) -> Any:
        inside = keras.Sequential([keras.Input((8,)), keras.layers.Dense(4, activation=activation)])
        image = keras.Input((8,))
        return keras.Model(image, keras.layers.Dense(3)(inside(image) * 2.0))

    assert structure_sha256(outer("relu")) == structure_sha256(outer("relu"))
    assert structure_sha256(outer("relu")) != structure_sha256(outer("tanh"))
    outer("relu").save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert structure_sha256(loaded) == structure_sha256(outer("relu"))


def test_hashing_a_structure_leaves_the_random_state_alone() -> None:
    model = build_model("stdcnn")
    keras.utils.set_random_seed(7)
    expected = [w.tobytes() for w in build_model("stdcnn").get_weights()]
    keras.utils.set_random_seed(7)
    structure_sha256(model)
    assert [w.tobytes() for w in build_model("stdcnn").get_weights()] == expected
