"""Networks that an attack or a Hessian cannot take as they are, and what is no number: measured truly, or refused in one line."""

import copy
import re
import warnings
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

import tfsgd
from tests.foreign import fitted, letters, network
from tests.own import refusal
from tfsgd.data.user_data import own_data
from tfsgd.errors import RequestError
from tfsgd.measures.failed_checks import of_guessing
from tfsgd.models.structure import refuse_unfit
from tfsgd.networks.losses import LOSSES
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.specs import ATTACKS, MEASURES, attack, curvature_measure

pytestmark = pytest.mark.filterwarnings("ignore:model .* no better than guessing")
SHAPE = (4, 4, 1)
BY_GRADIENTS = ["fgsm", "pgd", "bim", "apgd", "minimal"]
DENSE = keras.layers.Dense


def of_the_mean(kernel: list[float], bias: list[float], dtype: str = "float32") -> Any:
    """z_i = kernel_i mean(x) + bias_i."""
    image = keras.Input(SHAPE)
    layer = DENSE(len(bias), dtype=dtype)
    mean = keras.layers.GlobalAveragePooling2D(dtype=dtype)(image)
    network = keras.Model(image, layer(mean))
    layer.set_weights([np.array([kernel]), np.array(bias)])
    return network


def greys(*levels: float) -> np.ndarray:
    return np.stack([np.full(SHAPE, level, np.float32) for level in levels])


@pytest.mark.parametrize("dtype", ["float32", "mixed_bfloat16", "mixed_float16"])
def test_the_smallest_epsilon_is_found_beyond_a_tie(dtype: str) -> None:
    """Logits 3 m and 3 - 3 m of the mean m tie at 0.5, where argmax still says 0. The truth is by trying."""
    network = of_the_mean([3.0, -3.0], [0.0, 3.0], dtype)
    down = np.linspace(0, 0.3, 30_001).astype(np.float32)
    for level in (0.5, 0.625, 0.7):
        tried = greys(level) - down.reshape(-1, 1, 1, 1)
        truth = down[np.argmax(np.argmax(network(tried), 1) == 1)]
        found = tfsgd.attack(network, greys(level), np.array([0]), "minimal", epsilon=0.3)
        assert found.values["censored"] == 0
        assert not found.correct.any()
        assert np.argmax(network(found.images), 1) == [1]
        assert found.values["median"] <= truth * 1.01 + 1e-4
        assert found.values["median"] == np.abs(found.images - greys(level)).max()


@pytest.mark.parametrize(("kind", "settings"), [("pgd", {"relative_step_size": 0.25}), ("apgd", {})])
def test_just_above_the_smallest_epsilon_an_attack_breaks(kind: str, settings: dict[str, Any]) -> None:
    network = of_the_mean([3.0, -3.0], [0.0, 3.0])
    for level in (0.5, 0.625):
        found = tfsgd.attack(network, greys(level), np.array([0]), kind, epsilon=level - 0.49, **settings)
        assert not found.correct.any()


@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_dlr_of_equal_logits_has_the_margins_gradient_in_a_graph_too(dtype: str) -> None:
    labels = tf.constant([1], tf.int64)
    logits = tf.fill([1, 3], tf.constant(2.0, dtype))
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = tf.function(LOSSES["dlr"])(labels, logits)
    assert loss.numpy() == [0]
    np.testing.assert_array_equal(tape.gradient(loss, logits), [[0.5, -1.0, 0.5]])


def test_a_network_that_gives_all_classes_the_same_is_attacked_with_dlr() -> None:
    constant = of_the_mean([0.0, 0.0, 0.0], [2.0, 2.0, 2.0])
    found = tfsgd.attack(constant, greys(0.1, 0.2, 0.3), np.arange(3), "pgd", epsilon=0.2, loss="dlr")
    assert found.correct.tolist() == [True, False, False]
    assert np.isfinite(found.images).all()


def rooted() -> Any:
    """z = W sqrt(x): its slope is infinite at black pixels."""
    image = keras.Input(SHAPE)
    keras.utils.set_random_seed(0)
    return keras.Model(image, DENSE(3)(keras.layers.Flatten()(keras.ops.sqrt(image))), name="rooted")


def rounded() -> Any:
    """z = W int(255 x), to which no gradient goes."""
    image = keras.Input(SHAPE)
    keras.utils.set_random_seed(0)
    whole = keras.ops.cast(keras.ops.cast(255 * image, "int32"), "float32")
    return keras.Model(image, DENSE(3)(keras.layers.Flatten()(whole)), name="rounded")


@pytest.mark.parametrize("network", [rooted, rounded])
@pytest.mark.parametrize("kind", BY_GRADIENTS)
def test_a_gradient_that_is_not_finite_is_the_networks_own(network: Any, kind: str) -> None:
    images = np.random.default_rng(0).uniform(0.3, 0.7, (12, *SHAPE)).astype(np.float32)
    images[4:7, 0] = 0
    model = network()
    labels = np.argmax(model(images), 1)
    settings = {"random_start": False} if kind == "pgd" else {}
    told = refusal(lambda: tfsgd.attack(model, images, labels, kind, epsilon=0.01, **settings))
    assert told.startswith(f"model {model.name}: the gradient of the loss is not finite at ")
    if network is rounded:
        assert "at 12 of 12 images" in told
    elif kind not in ("apgd",):  # which starts at random points
        assert "at 3 of 12 images" in told
    tfsgd.attack(model, images, labels, "square", epsilon=0.01, queries=5)
    tfsgd.attack(model, images, labels, "noise", epsilon=0.01, draws=2)


@pytest.mark.parametrize("kind", [*BY_GRADIENTS, "square", "noise"])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused_wherever_they_are(kind: str, bad: float) -> None:
    """Behind the images that are looked at first too."""
    image = keras.Input(SHAPE)
    mean = keras.layers.GlobalAveragePooling2D()(image)
    high = keras.ops.where(mean > 0.9, bad, 0.0)
    network = keras.Model(image, DENSE(3)(mean) + high, name="holey")
    images = greys(*[0.5] * 10, 0.95, 0.5)
    told = refusal(lambda: tfsgd.attack(network, images, np.zeros(12, int), kind, epsilon=0.01))
    assert told.startswith("model holey: its outputs are not finite at 1 of 12 images")


@pytest.mark.parametrize("kind", ["fgsm", "pgd", "apgd", "noise"])
def test_outputs_that_an_attack_drives_beyond_all_numbers_are_refused(kind: str) -> None:
    image = keras.Input(SHAPE)
    mean = keras.layers.GlobalAveragePooling2D()(image)
    network = keras.Model(image, DENSE(2)(mean) + keras.ops.where(mean != 0.5, np.nan, 0.0), name="holey")
    labels = np.argmax(network(greys(0.5, 0.5)), 1)
    told = refusal(lambda: tfsgd.attack(network, greys(0.5, 0.5), labels, kind, epsilon=0.1))
    assert told.startswith("model holey: its outputs are not finite at 2 of 2 images")


# What a network takes


def of_bytes(dtype: str = "uint8") -> Any:
    layers = keras.layers
    return keras.Sequential(
        [keras.Input(SHAPE, dtype=dtype), layers.Rescaling(1 / 255), layers.Flatten(), DENSE(3)], name="of_bytes"
    )  # fmt: skip


IMAGES = np.random.default_rng(0).random((20, *SHAPE), np.float32)
LABELS = np.arange(20) % 3


@pytest.mark.parametrize("dtype", ["uint8", "int32", "bool"])
def test_a_network_whose_input_is_of_integers_is_refused_with_what_to_do(dtype: str, tmp_path: Path) -> None:
    model = of_bytes(dtype)
    model.save(tmp_path / "bytes.keras")
    model.export(tmp_path / "saved", verbose=False)
    asked: list[Callable[[], Any]] = [
        lambda: tfsgd.attack(model, IMAGES, LABELS, epsilon=0.1),
        lambda: tfsgd.top_eigenvalue(model, IMAGES, LABELS),
        lambda: tfsgd.load_network(tmp_path / "bytes.keras"),
        lambda: tfsgd.load_network(tmp_path / "saved"),
        lambda: refuse_unfit(model, SHAPE, 3, "model: nets:of_bytes"),
    ]
    for ask in asked:
        told = refusal(ask)
        assert (
            f"expected an input of float32 images in [0, 1], its input is {dtype}, which no gradient" in told
        )
        assert "rebuild it with keras.Input(image_shape)" in told


@keras.saving.register_keras_serializable("odd_networks")
class Subclassed(keras.Model):
    """W x + b."""

    def __init__(self, **more: Any) -> None:
        super().__init__(**more)
        self.flat, self.out = keras.layers.Flatten(), DENSE(3)

    def call(self, inputs: Any, training: bool = False) -> Any:
        return self.out(self.flat(inputs))


@pytest.mark.parametrize("on", ["images", "symbol"])
def test_a_subclassed_network_is_measured_as_the_same_functional_one(on: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model = Subclassed()
    model(IMAGES if on == "images" else keras.Input(SHAPE))
    model.save(tmp_path / "sub.keras")
    image = keras.Input(SHAPE)
    functional = keras.Model(image, DENSE(3)(keras.layers.Flatten()(image)))
    functional.set_weights(model.get_weights())
    loaded = tfsgd.load_network(tmp_path / "sub.keras")
    assert loaded.input_shape == (None, *SHAPE)
    for other in (model, loaded):
        moved, expected = (
            tfsgd.attack(each, IMAGES, LABELS, "fgsm", epsilon=0.1).images for each in (other, functional)
        )
        np.testing.assert_array_equal(moved, expected)
        found, truth = (tfsgd.top_eigenvalue(each, IMAGES, LABELS).value for each in (other, functional))
        assert found == pytest.approx(truth, rel=1e-5)


def test_a_subclassed_network_that_was_never_called_is_refused(tmp_path: Path) -> None:
    Subclassed().save(tmp_path / "sub.keras")
    told = refusal(lambda: tfsgd.load_network(tmp_path / "sub.keras"))
    assert told.endswith(
        "sub.keras: Subclassed does not tell its input shape; call it on images once before it is saved"
    )


def flat(shape: tuple[int, ...], *before: Any) -> Any:
    return keras.Sequential([keras.Input(shape), *before, keras.layers.Flatten(), DENSE(3)], name="flat")


@pytest.mark.parametrize("shape", [(3, 32, 32), (1, 28, 28), (4, 24, 16)])
def test_channels_first_is_refused(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).random((20, *shape), np.float32)
    for takes in (shape, (*shape[1:], shape[0])):
        asked: list[Callable[[], Any]] = [
            partial(tfsgd.attack, flat(takes), images, LABELS, epsilon=0.1),
            partial(tfsgd.top_eigenvalue, flat(takes), images, LABELS),
        ]
        for ask in asked:
            assert refusal(ask) == (
                f"images: received (20, {str(shape)[1:]}, channels first; expected (N, height, width, channels): "
                "np.moveaxis(images, 1, -1)"
            )
    arrays = {"train_images": (255 * images).astype(np.uint8), "train_labels": LABELS}
    told = refusal(lambda: own_data("x.npz", arrays, "x.npz"))
    assert told.startswith(
        f"x.npz: train_images: found shape (20, {str(shape)[1:]}, channels first; expected (N, h"
    )


@pytest.mark.parametrize(
    "shape", [(1, 128, 9), (4, 4, 8), (4, 4, 1), (3, 32, 3), (32, 32, 12), (8, 8, 8), (1, 1, 16)]
)
def test_few_rows_or_many_channels_are_no_channels_first(shape: tuple[int, int, int]) -> None:
    images = np.random.default_rng(0).random((20, *shape), np.float32)
    found = tfsgd.attack(flat(shape), images, LABELS, "fgsm", epsilon=0.1)
    assert found.images.shape == (20, *shape)
    dataset, _ = own_data(
        "x.npz", {"train_images": (255 * images).astype(np.uint8), "train_labels": LABELS}, "x.npz"
    )
    assert dataset.image_shape == shape


# What is asked


@pytest.mark.parametrize("epsilon", [True, False, np.True_, "0.1", None, [0.1, 0.2]])
def test_what_is_no_number_is_no_epsilon(epsilon: Any) -> None:
    told = refusal(lambda: tfsgd.attack(flat(SHAPE), IMAGES, LABELS, epsilon=epsilon))
    assert told == f"pgd: epsilon: expected a number in [0, 1], received {epsilon!r}"


@pytest.mark.parametrize("kind", [*ATTACKS, *MEASURES])
def test_no_setting_takes_true_for_a_number(kind: str) -> None:
    """Python's bool is an int; only settings that are switches take it."""
    make: Any = attack if kind in ATTACKS else curvature_measure
    plain = {"epsilon": [0.1], "source": "x.keras"} if kind == "transfer" else {"epsilon": [0.1]}
    plain = plain if kind in ATTACKS else {}
    spec = make(kind, plain, None)
    for name, field in type(spec).model_fields.items():
        for value in (True, [True]):
            if field.annotation is bool:
                continue
            with pytest.raises(ValueError, match=f"^{name}"):
                make(kind, plain | {name: value}, None)
    for setting in ("max_iterations", "tolerance", "seed"):
        with pytest.raises(RequestError, match=f"{setting}: expected"):
            tfsgd.top_eigenvalue(flat(SHAPE), IMAGES, LABELS, **{setting: True})
    assert "seed" in refusal(lambda: tfsgd.attack(flat(SHAPE), IMAGES, LABELS, epsilon=0.1, seed=True))


def places(value: Any, *path: Any) -> Iterator[tuple[Any, ...]]:
    """Where in nested lists and mappings there are numbers."""
    if isinstance(value, dict | list):
        for key, inside in value.items() if isinstance(value, dict) else enumerate(value):
            yield from places(inside, *path, key)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path


def test_no_key_of_a_config_takes_true_for_a_number(config: Any) -> None:
    more = {
        "budget": None, "quick": {"epochs": 1}, "train_examples": 100, "hessian": {"examples": 10, "every_epochs": 1},
        "attacks": {"pgd": {"epsilon": [0.1], "steps": 3}}, "snapshots": {"train_loss": [0.5], "examples": 10},
    }  # fmt: skip
    keys = yaml.safe_load(config(**more).read_text())
    found = list(places(keys))
    assert len(found) > 10
    for path in found:
        changed = copy.deepcopy(keys)
        inside = changed
        for key in path[:-1]:
            inside = inside[key]
        inside[path[-1]] = True
        written = config(**changed)
        assert "rue" in refusal(partial(load_experiment, written)), path


# Doubts


def test_a_network_that_is_no_better_than_guessing_is_warned_of_in_python_as_by_the_command() -> None:
    arrays = letters()
    images, labels = arrays["train_images"].astype(np.float32), arrays["train_labels"]
    of_255 = fitted(network(keras.layers.Rescaling(1 / 255)), images, labels)
    unit, y = arrays["test_images"] / np.float32(255), arrays["test_labels"]
    predicted = np.argmax(of_255(unit, training=False), 1)
    said = of_guessing(float((predicted == y).mean()), len(np.unique(predicted)), 3)
    assert "no better than guessing: nothing measured on it means anything" in said
    with pytest.warns(UserWarning, match=re.escape(said)) as warned:
        tfsgd.attack(of_255, unit, y, "fgsm", epsilon=0.01)
    assert [str(one.message) for one in warned] == [f"model {of_255.name}: {said}"]
    assert warned[0].filename == __file__
    with pytest.warns(UserWarning, match="no better than guessing") as warned:
        tfsgd.top_eigenvalue(of_255, unit, y, max_iterations=2)
    assert warned[0].filename == __file__


def test_a_good_network_and_too_few_images_to_tell_are_not_warned_of() -> None:
    arrays = letters()
    good = fitted(network(), arrays["train_images"] / np.float32(255), arrays["train_labels"])
    unit, y = arrays["test_images"] / np.float32(255), arrays["test_labels"]
    wrong = (np.argmax(good(unit, training=False), 1) + 1) % 3
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        tfsgd.attack(good, unit, y, "fgsm", epsilon=0.01)
        tfsgd.attack(good, unit[y == 1], y[y == 1], "fgsm", epsilon=0.01)
        tfsgd.attack(good, unit[:7], wrong[:7], "fgsm", epsilon=0.01)
        tfsgd.top_eigenvalue(good, unit, y, max_iterations=2)
    with pytest.warns(UserWarning, match="accuracy on clean images is 0.000"):
        tfsgd.attack(good, unit[:8], wrong[:8], "fgsm", epsilon=0.01)


def test_outputs_that_look_like_sigmoids_are_warned_of_in_python() -> None:
    image = keras.Input(SHAPE)
    hidden = keras.Model(image, keras.ops.minimum(keras.ops.abs(DENSE(2)(keras.layers.Flatten()(image))), 1))
    with pytest.warns(
        UserWarning, match=r"all outputs on these 5 images are in \[0, 1\]: if they are sigmoids"
    ):
        tfsgd.attack(hidden, IMAGES[:5], LABELS[:5] % 2, "fgsm", epsilon=0.01)


# Networks that come compiled

CE = keras.losses.SparseCategoricalCrossentropy
COMPILED: list[tuple[dict[str, Any], str]] = [
    ({"optimizer": "adamw"}, "AdamW"),
    ({"optimizer": "rmsprop", "loss": CE(from_logits=True)}, "RMSprop"),
    ({"optimizer": keras.optimizers.SGD(weight_decay=1e-4, nesterov=True)}, "SGD(weight_decay=0.0001, nesterov=True)"),
    ({"optimizer": keras.optimizers.SGD(clipnorm=1.0)}, "SGD(clipnorm=1.0)"),
    ({"optimizer": keras.optimizers.SGD(0.5, momentum=0.9)}, "SGD(learning_rate=0.5, momentum=0.9)"),
    ({"optimizer": "sgd", "loss": "mse"}, "mse"),
    ({"optimizer": "sgd", "loss": CE()}, "SparseCategoricalCrossentropy(from_logits=False)"),
    ({"optimizer": "sgd", "loss": keras.losses.Hinge()}, "Hinge"),
]  # fmt: skip


@pytest.mark.parametrize(("how", "named"), COMPILED, ids=[named for _, named in COMPILED])
def test_a_network_that_is_compiled_for_another_training_is_refused(how: dict[str, Any], named: str) -> None:
    model = flat(SHAPE)
    model.compile(**how)
    told = refusal(lambda: refuse_unfit(model, SHAPE, 3, "model: nets:mine"))
    assert told.startswith(
        f"model: nets:mine: it is compiled with {named}, and would be trained without: by SGD"
    )
    assert told.endswith("return it uncompiled")


@pytest.mark.parametrize("loss", [None, CE(from_logits=True)])
def test_a_network_that_is_compiled_for_plain_sgd_passes(loss: Any) -> None:
    model = flat(SHAPE)
    model.compile("sgd", loss, metrics=["accuracy"])
    refuse_unfit(model, SHAPE, 3, "model: nets:mine")
