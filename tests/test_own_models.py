"""Networks of one's own: what fits, and what is refused, in one line each."""

from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.own import Config, Write, arrays, refusal
from tfsgd.plan.user_model import UserModel

NETS = """
import itertools
import keras
from keras import layers
calls = itertools.count(1)
def functional(image_shape, classes, end=None, **settings):
    image = keras.Input(image_shape)
    x = layers.Dense(5, **settings)(layers.Flatten()(image))
    return keras.Model(image, layers.Dense(classes, activation=end)(x))
def sequential(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape), layers.Flatten(), layers.Dense(classes)])
def turned(image_shape, classes):
    return keras.Sequential(
        [keras.Input(image_shape), layers.RandomRotation(0.4), *sequential(image_shape, classes).layers]
    )
def none(image_shape, classes): ...
def unbuilt(image_shape, classes):
    return keras.Sequential([layers.Flatten(), layers.Dense(classes)])
class Net(keras.Model):
    def __init__(self, image_shape, classes):
        super().__init__()
    def call(self, x): return x
def softmax(image_shape, classes): return functional(image_shape, classes, end="softmax")
def softmax_layer(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape), *sequential(image_shape, classes).layers, layers.Softmax()])
def softmax_operation(image_shape, classes):
    inside = sequential(image_shape, classes)
    image = keras.Input(image_shape)
    return keras.Model(image, keras.ops.softmax(inside(image)))
def softmax_inside(image_shape, classes):
    inside = softmax(image_shape, classes)
    image = keras.Input(image_shape)
    return keras.Model(image, inside(image))
def narrow(image_shape, classes): return functional(image_shape, classes - 1)
def flat(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape), layers.Dense(classes)])
def other_input(image_shape, classes): return functional((9, 9, 1), classes)
def two_inputs(image_shape, classes):
    a, b = keras.Input(image_shape), keras.Input(image_shape)
    return keras.Model([a, b], layers.Dense(classes)(layers.Flatten()(layers.Add()([a, b]))))
def no_weights(image_shape, classes):
    image = keras.Input(image_shape)
    return keras.Model(image, layers.Flatten()(image)[:, :classes])
def frozen(image_shape, classes):
    model = sequential(image_shape, classes)
    model.trainable = False
    return model
def secret(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape), layers.Flatten(), layers.Lambda(lambda x: x), layers.Dense(classes)])
def decayed(image_shape, classes): return functional(image_shape, classes, kernel_regularizer="l2")
def noisy_loss(image_shape, classes): return functional(image_shape, classes, activity_regularizer="l1")
def of_bytes(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape, dtype="uint8"), layers.Rescaling(1 / 255), *sequential(image_shape, classes).layers])
def compiled(image_shape, classes):
    model = sequential(image_shape, classes)
    model.compile("adamw")
    return model
def growing(image_shape, classes):
    return keras.Sequential([keras.Input(image_shape), layers.Flatten(), layers.Dense(next(calls)), layers.Dense(classes)])
def raises(image_shape, classes): raise ValueError("no\\nluck")
def no_arguments(): ...
"""

UNFIT = [
    ("none", "expected to return a keras.Model, returned NoneType"),
    (
        "unbuilt",
        "expected a functional model or a Sequential one that begins with keras.Input, returned Sequential",
    ),
    ("Net", "expected a functional model or a Sequential one that begins with keras.Input, returned Net"),
    ("softmax", "expected logits, found a softmax in the last layer"),
    ("softmax_layer", "expected logits, found a softmax in the last layer"),
    ("softmax_operation", "expected logits, found a softmax in the last layer"),
    ("softmax_inside", "expected logits, found a softmax in the last layer"),
    ("narrow", "expected one output of 3 logits, shape (3,), found (2,)"),
    ("flat", "expected one output of 3 logits, shape (3,), found (8, 8, 3)"),
    ("other_input", "expected one input of image_shape (8, 8, 1), found (9, 9, 1)"),
    ("two_inputs", "expected one input of image_shape (8, 8, 1), found (8, 8, 1), (8, 8, 1)"),
    ("no_weights", "expected weights to train, found none"),
    ("frozen", "expected weights to train, found none"),
    ("secret", "a Lambda layer cannot be stored"),
    ("decayed", "found 1 losses of its layers (a regularizer, add_loss)"),
    ("noisy_loss", "found 1 losses of its layers (a regularizer, add_loss)"),
    ("of_bytes", "expected an input of float32 images in [0, 1], its input is uint8"),
    ("compiled", "it is compiled with AdamW, and would be trained without: by SGD"),
    ("growing", "built again, it has another structure"),
    ("raises", "it raised ValueError: no luck (FILE, line "),
    ("no_arguments", "it raised TypeError: no_arguments() takes 0 positional arguments but 2 were given"),
    ("sequentiel", "has no 'sequentiel'; did you mean 'sequential'?"),
]


@pytest.mark.parametrize(("function", "message"), UNFIT, ids=[name for name, _ in UNFIT])
def test_a_function_that_gives_no_network_is_named_with_its_file(
    function: str, message: str, module: Write, tmp_path: Path
) -> None:
    name = module(NETS)
    told = refusal(lambda: UserModel(f"{name}:{function}", tmp_path).check((8, 8, 1), 3))
    assert told.startswith(f"model: {name}:{function}")
    file = str(tmp_path / f"{name}.py")
    assert file in told
    assert message.replace("FILE", file) in told


def test_a_mistyped_function_is_refused_before_anything_is_written(
    module: Write, own_config: Config, run_sweep: Any, tmp_path: Path
) -> None:
    nets = module(NETS)
    np.savez(tmp_path / "letters.npz", **arrays())
    config = own_config(dataset="letters.npz", model=f"{nets}:funktional")
    for options in (["--dry-run"], []):
        code, out, err = run_sweep(config, *options)
        assert (code, out) == (2, "")
        assert err.endswith(f"{nets}.py has no 'funktional'; did you mean 'functional'?\n")
    assert not (tmp_path / "logs").exists()


@pytest.mark.parametrize("function", ["functional", "sequential", "turned"])
def test_a_network_that_fits_passes(function: str, module: Write, tmp_path: Path) -> None:
    own = UserModel(f"{module(NETS)}:{function}", tmp_path)
    own.check((8, 8, 1), 3)
    network = own.build((8, 8, 1), 3)
    assert isinstance(network, keras.Model)
    assert network.output_shape == (None, 3)
    assert own.title == function


def test_an_unfit_network_ends_the_command_in_one_line(
    module: Write, own_config: Config, run_sweep: Any, tmp_path: Path
) -> None:
    nets = module(NETS)
    np.savez(tmp_path / "letters.npz", **arrays())
    config = own_config(dataset="letters.npz", model=f"{nets}:softmax")
    for workers in (1, 2):
        code, _, err = run_sweep(config, "--workers", workers)
        assert code == 2
        assert f"error: model: {nets}:softmax ({tmp_path / nets}.py): expected logits" in err
        assert "Traceback" not in err
        assert not list((tmp_path / "logs").rglob("failure.json"))
