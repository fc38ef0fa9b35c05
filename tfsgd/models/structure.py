"""What a network is, apart from its weights: a hash of its structure, and what no study can use."""

import hashlib
import inspect
import json
import random
import tempfile
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from tfsgd.errors import RequestError
from tfsgd.models.softmax import refuse_probabilities
from tfsgd.source_hash import code_sha256

# `structure_sha256` of the networks of Table 1, with 10 classes.
PAPER_STRUCTURES: dict[str, str] = {
    "stdcnn": "6a13330375013baafe1bebe9f0c2af1b576a8b96589ffe97c1939d64cc6eee0f",
    "m1": "1df64fa097f3cd1075a910508821fba23d01a19ffc06f87731a7cd82b197713b",
    "c1": "8c27accf550050d273a8fba9bd2ef373cedfb8bb16341ab72f9367e6cc654220",
    "resnet18": "6064b4d429d70fc5d2b94c845308abd36d532b3f0b7a3f880261300b6619cc88",
}


def structure_sha256(model: Any) -> str:
    """SHA-256 of a network's layers in order: class, settings, weight shapes, and what feeds each.

    Names do not count, nor settings at their default: a later Keras with a new optional argument
    gives the same hash. Of a layer, an initializer or a function of one's own its code counts, see
    `tfsgd.source_hash.code_sha256`. Python's random state, from which Keras draws default seeds, stays as it was.

    Args:
        model: a functional or `Sequential` `keras.Model`.
    """
    state = random.getstate()
    try:
        text = json.dumps(_model(model), sort_keys=True, default=str)
    finally:
        random.setstate(state)
    return hashlib.sha256(text.encode()).hexdigest()


def _model(model: Any) -> list[Any]:
    config = model.get_config()
    names = _names(config["layers"], model)
    operations = {operation.name: operation for operation in getattr(model, "operations", model.layers)}
    number = {name: i for i, name in enumerate(names)}
    layers = [
        [*_layer(layer, operations.get(name)), _without_names(layer.get("inbound_nodes", []), number)]
        for name, layer in zip(names, config["layers"], strict=True)
    ]
    outputs = config.get("output_layers", [])
    if len(outputs) == 1:  # a list of one, as Keras 3.10 has it
        outputs = outputs[0]
    return [layers, _without_names(outputs, number)]


def _names(layers: list[dict[str, Any]], model: Any) -> list[str]:
    """The layers' names; where a layer's own `get_config` forgets it, that of the layer in its place."""
    built = [
        *[None] * (len(layers) - len(model.layers)),
        *model.layers,
    ]  # Sequential.layers has no InputLayer
    return [
        str(layer.get("name") or layer["config"].get("name") or getattr(place, "name", ""))
        for layer, place in zip(layers, built, strict=True)
    ]


def _layer(layer: dict[str, Any], operation: Any) -> list[Any]:
    """Class, settings and weight shapes of one layer; a model inside is a layer of layers."""
    config = layer["config"]
    if layer["class_name"] == "InputLayer":
        return ["InputLayer", [list(config["batch_shape"]), str(config["dtype"])], []]
    weights = [[list(weight.shape), str(weight.dtype)] for weight in getattr(operation, "weights", [])]
    if "layers" in config and getattr(operation, "layers", None):
        return [layer["class_name"], _model(operation), weights]
    return [layer["class_name"], _settings(type(operation), config), weights, *_code(type(operation))]


def _code(thing: Any) -> list[str]:
    """What tells code of one's own from what it was; nothing for all else."""
    code = code_sha256(thing)
    return [code] if code else []


def _settings(kind: type, config: dict[str, Any]) -> dict[str, Any]:
    """The settings of a layer, or of an initializer and the like, that are not at their default."""
    import keras

    names = {"name"} if issubclass(kind, keras.Operation) else set()
    default = _defaults(kind, config)
    return {
        key: _value(value)
        for key, value in config.items()
        if key not in names and not _is_usual(key, value, default)
    }


def _is_usual(key: str, value: Any, default: dict[str, Any]) -> bool:
    """Whether a setting is at its default. Of a dtype that is float32, whatever a global policy makes of it."""
    if key != "dtype" or key not in default:
        return bool(value == default.get(key))
    return (value["config"].get("name") if isinstance(value, dict) else value) == "float32"


def _defaults(kind: Any, config: dict[str, Any]) -> dict[str, Any]:
    """The settings of an object of this class that was given nothing but what it must be given."""
    import keras

    if issubclass(kind, keras.DTypePolicy):  # whose default is the global policy
        return {}
    parameters = inspect.signature(kind.__init__).parameters.values()
    needed = {p.name for p in parameters if p.default is p.empty and p.kind is p.POSITIONAL_OR_KEYWORD}
    given = {key: value for key, value in config.items() if key in needed}
    try:
        default: dict[str, Any] = kind.from_config(given).get_config()
    except Exception:  # a class of the user's that cannot be made that way: all of its settings count
        return {}
    return {key: value for key, value in default.items() if key not in needed}


def _value(value: Any) -> Any:
    """A setting; of a serialized object its class and its settings, whatever module it lives in."""
    import keras

    if isinstance(value, list | tuple):
        return [_value(item) for item in value]
    if not isinstance(value, dict):
        return value
    if not {"class_name", "config"} <= set(value):
        return {key: _value(item) for key, item in value.items()}
    made = keras.saving.deserialize_keras_object(value)
    if not isinstance(value["config"], dict):  # a function
        name = str(value["config"]).rpartition(">")[2]  # a registered one has its package before it
        return [value["class_name"], name, *_code(made)]
    return [value["class_name"], _settings(type(made), value["config"]), *_code(type(made))]


def _without_names(value: Any, number: dict[str, int]) -> Any:
    """What feeds a layer: layers by their number, constants as they are."""
    if isinstance(value, dict):
        if value.get("class_name") == "__keras_tensor__":
            return _without_names(value["config"]["keras_history"], number)
        return {key: _without_names(item, number) for key, item in value.items() if item is not None}
    if isinstance(value, list | tuple):
        first = number.get(value[0]) if value and isinstance(value[0], str) else None
        rest = value if first is None else value[1:]
        return [*([] if first is None else [first]), *(_without_names(item, number) for item in rest)]
    return value


# What a file gives back


def make_known(module: ModuleType) -> None:
    """Tells Keras the classes and functions of a module of one's own, by whose names it finds what it loads.

    A function that is called as one of Keras's is not told: Keras would take it for its own.
    """
    import keras

    known = keras.saving.get_custom_objects()
    for name, thing in vars(module).items():
        if isinstance(thing, type | FunctionType) and code_sha256(thing) and not _is_keras(name):
            known[name] = thing


def _is_keras(name: str) -> bool:
    import keras

    return hasattr(keras.ops, name) or hasattr(keras.activations, name)


def refuse_unstorable(model: Any, what: str) -> None:
    """Refuses a network whose file would not give it back: it could never be measured again.

    Args:
        model: as it was built.
        what: the function and its file, to begin the refusal with.

    Raises:
        RequestError: a layer cannot be made from its `get_config`, or computes something else then.
    """
    import keras

    advice = "its get_config must give every argument of its __init__"
    for layer in _all_layers(model):
        try:
            keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        except Exception as error:  # whatever Keras, or a class of the user's, raises
            said = str(error).strip().splitlines()[-1:] or [type(error).__name__]
            raise RequestError(
                f"{what}: layer '{layer.name}' cannot be loaded from a file again: {said[0][:200]}; {advice}"
            ) from None
    images = np.random.default_rng(0).random((2, *model.inputs[0].shape[1:]), np.float32)
    before = model(images, training=False)
    with tempfile.TemporaryDirectory() as folder:
        model.save(Path(folder) / "network.keras")
        try:
            after = keras.saving.load_model(Path(folder) / "network.keras", compile=False)(
                images, training=False
            )
        except Exception:  # of weights that do not fit, or of the user's
            after = None
    if after is None or not np.allclose(after, before, atol=1e-5, equal_nan=True):
        raise RequestError(
            f"{what}: loaded from a file it would compute something else: the get_config of a layer must give every "
            "argument of its __init__, and no function may have the name of one of Keras's"
        )


# What no study can use


def refuse_unfit(model: Any, image_shape: tuple[int, int, int], classes: int, what: str) -> None:
    """Refuses what is no network from such images to logits, trained by the cross-entropy alone.

    Args:
        model: whatever a user's function has returned.
        image_shape: `(height, width, channels)`.
        classes: number of logits.
        what: the function and its file, to begin the refusal with.

    Raises:
        RequestError: in one line.
    """
    import keras

    if not isinstance(model, keras.Model):
        raise RequestError(f"{what}: expected to return a keras.Model, returned {type(model).__name__}")
    if type(model).__module__.partition(".")[0] != "keras" or not getattr(model, "inputs", None):
        raise RequestError(
            f"{what}: expected a functional model or a Sequential one that begins with keras.Input, "
            f"returned {type(model).__name__}"
        )
    if len(model.inputs) != 1 or tuple(model.inputs[0].shape[1:]) != image_shape:
        found = ", ".join(str(tuple(tensor.shape[1:])) for tensor in model.inputs)
        raise RequestError(f"{what}: expected one input of image_shape {image_shape}, found {found}")
    shapes = [tuple(tensor.shape[1:]) for tensor in model.outputs]
    if shapes != [(classes,)]:
        found = ", ".join(map(str, shapes))
        raise RequestError(
            f"{what}: expected one output of {classes} logits, shape ({classes},), found {found}"
        )
    refuse_integers(model.inputs[0].dtype, what)
    refuse_probabilities(model, what)
    refuse_compiled(model, what)
    if not model.trainable_variables:
        raise RequestError(f"{what}: expected weights to train, found none")
    precisions = sorted({str(variable.dtype) for variable in model.trainable_variables})
    if len(precisions) > 1:
        raise RequestError(
            f"{what}: expected weights of one precision, found {', '.join(precisions)}; the Hessian is one matrix"
        )
    if any(isinstance(layer, keras.layers.Lambda) for layer in _all_layers(model)):
        raise RequestError(
            f"{what}: a Lambda layer cannot be stored and loaded safely; write keras.ops or a Layer class"
        )


def refuse_integers(dtype: str, what: str) -> None:
    """Refuses a network whose input is of integers: it expects bytes, and no gradient reaches them.

    Args:
        dtype: of its input.
        what: the network, to begin the refusal with.

    Raises:
        RequestError: in one line.
    """
    import keras

    if not keras.backend.is_float_dtype(dtype):
        raise RequestError(
            f"{what}: expected an input of float32 images in [0, 1], its input is {dtype}, which no gradient reaches; "
            "rebuild it with keras.Input(image_shape) of no dtype, and without the layer that divides by 255"
        )


def input_shape(model: Any) -> tuple[Any, ...] | None:
    """`(None, height, width, channels)`; of a subclassed network that on which it was built; `None`: it tells none."""
    shape = getattr(model, "input_shape", None)
    if shape is None and getattr(model, "built", False):
        built = (model.get_build_config() or {}).get("input_shape")
        shape = (None, *built[1:]) if isinstance(built, list | tuple) and built else None
    return shape if isinstance(shape, tuple) else None


def refuse_compiled(model: Any, what: str) -> None:
    """Refuses a network that is compiled for another training than what it gets.

    Raises:
        RequestError: its optimizer is not Keras's SGD as it is by default, or its loss not the cross-entropy of logits.
    """
    import keras

    if not getattr(model, "compiled", False):
        return
    optimizer, loss = model.optimizer, getattr(model, "loss", None)
    found = _other(optimizer, keras.optimizers.SGD(), ("name",)) if optimizer else ""
    if not found and loss is not None:
        plain = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        found = _other(loss, plain, ("name", "reduction"))
    if found:
        raise RequestError(
            f"{what}: it is compiled with {found}, and would be trained without: by SGD, learning rate and momentum those "
            "of the config's grid, on the cross-entropy of its logits; return it uncompiled"
        )


def _other(found: Any, plain: Any, but: tuple[str, ...]) -> str:
    """What of a Keras object is another than of the plain one; empty where nothing is."""
    name = getattr(found, "__name__", found if isinstance(found, str) else type(found).__name__)
    if type(found) is not type(plain):
        return str(name)
    default = plain.get_config()
    others = {
        key: value
        for key, value in found.get_config().items()
        if key not in but and value != default.get(key)
    }
    return f"{name}({', '.join(f'{key}={value!r:.40}' for key, value in others.items())})" if others else ""


def refuse_losses(model: Any, what: str) -> None:
    """Refuses losses besides the cross-entropy, which are not part of what is measured.

    Raises:
        RequestError: a layer has a regularizer or adds a loss.
    """
    import keras

    model(keras.ops.zeros((2, *model.inputs[0].shape[1:])), training=True)
    if model.losses:
        raise RequestError(
            f"{what}: found {len(model.losses)} losses of its layers (a regularizer, add_loss); training and λ1 "
            "are of the cross-entropy alone, leave them out"
        )


def _all_layers(model: Any) -> list[Any]:
    inside = getattr(model, "layers", [])
    return [found for layer in inside for found in (layer, *_all_layers(layer))]
