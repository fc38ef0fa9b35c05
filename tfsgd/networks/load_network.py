"""Networks from anywhere, as files: a `.keras` file or a SavedModel -> something that can be measured."""

import hashlib
import re
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfsgd.errors import RequestError
from tfsgd.models.structure import input_shape, refuse_integers, refuse_probabilities


class SavedNetwork:
    """A SavedModel that looks like a Keras model in inference mode, see `tfsgd.networks.measured_network.MeasuredNetwork`.

    Attributes:
        input_shape: `(None, height, width, channels)`.
        name: for messages.
        trainable_variables: empty where the SavedModel does not tell them: then it can be attacked, but its
            Hessian cannot be taken.
    """

    def __init__(self, path: Path) -> None:
        loaded = tf.saved_model.load(str(path))
        self.name = str(path)
        self._serve, spec, used = _endpoint(loaded, path)
        self.input_shape = tuple(spec.shape)
        self.trainable_variables = list(getattr(loaded, "trainable_variables", None) or used)
        self._keep = loaded  # its variables live as long as it does

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        return self._serve(tf.cast(images, tf.float32))  # which it takes, whatever its weights are


def load_network(path: Path) -> Any:
    """Loads a network from a `.keras` file or the folder of a SavedModel.

    Returns:
        What `MeasuredNetwork` takes.

    Raises:
        RequestError: there is no such file, or it is no network; one line.
    """
    if not path.exists():
        raise RequestError(
            f"{path}: no such file or folder; expected LOGS/NAME, a .keras file or a SavedModel"
        )
    for part in (path, *path.rglob("*")):  # a FIFO would wait for a writer
        if not part.is_file() and not part.is_dir():
            raise RequestError(f"{part}: expected a file, found what is not a regular file")
    is_saved_model = path.is_dir() and (path / "saved_model.pb").is_file()
    if path.is_dir() and not is_saved_model:
        raise RequestError(
            f"{path}: expected LOGS/NAME, a trial's folder or a SavedModel, found another folder"
        )
    try:
        network = SavedNetwork(path) if is_saved_model else _from_file(path)
    except RequestError:
        raise
    except Exception as error:  # whatever Keras and TensorFlow raise at a file that is not theirs
        raise RequestError(f"{path}: cannot be loaded as a network: {_said(error)}") from None
    shape = network.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[0] is not None or None in shape[1:]:
        raise RequestError(
            f"{path}: expected a network of one input of shape (None, height, width, channels), found {shape}"
        )
    return network


def _from_file(path: Path) -> Any:
    with path.open("rb") as file:
        if path.suffix == ".keras" and not zipfile.is_zipfile(file):
            raise RequestError(
                f"{path}: expected a .keras file, found one of another kind, or one that is cut short; save or copy it anew"
            )
    network = keras.saving.load_model(path, compile=False)
    for tensor in getattr(network, "inputs", None) or ():
        refuse_integers(tensor.dtype, str(path))
    refuse_probabilities(network, str(path))
    if getattr(network, "input_shape", None) is None:  # a subclassed one
        network.input_shape = _built_on(network, path)
    return network


def _built_on(network: Any, path: Path) -> tuple[int | None, ...]:
    shape = input_shape(network)
    if shape is None:
        raise RequestError(
            f"{path}: {type(network).__name__} does not tell its input shape; call it on images once before it is saved"
        )
    return shape


def _said(error: Exception) -> str:
    unknown = re.search(r"Could not locate (class|function) '[^']*'", str(error))
    if unknown:
        return (
            f"{unknown[0]}, which is one's own; give --config with `model: MODULE:FUNCTION`, whose module has it, or "
            "in Python import it before"
        )
    if "safe_mode=False" in str(error):
        return (
            "it has a Lambda layer, whose code is not run unseen; if you trust it, load it in Python by "
            "keras.saving.load_model(path, safe_mode=False), and export it as a SavedModel or give it to tfsgd.attack"
        )
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200]


def _endpoint(loaded: Any, path: Path) -> tuple[Callable[[tf.Tensor], tf.Tensor], tf.TensorSpec, Any]:
    """`serve` as tfsgd and Keras export it, or else the signature `serving_default`.

    Returns:
        The function, what it takes, and the trainable variables that it uses.
    """
    signature = loaded.signatures.get("serving_default") or loaded.signatures.get("serve")
    if signature is None:
        raise RequestError(
            f"{path}: expected an endpoint 'serve' or 'serving_default', found {sorted(loaded.signatures) or 'none'}"
        )
    inputs, outputs = signature.structured_input_signature[1], signature.structured_outputs
    if len(inputs) != 1 or len(outputs) != 1:
        raise RequestError(
            f"{path}: expected one input and one output, found {sorted(inputs)} and {sorted(outputs)}"
        )
    [(name, spec)], [output] = inputs.items(), outputs
    refuse_integers(spec.dtype.name, str(path))
    if spec.dtype != tf.float32:
        raise RequestError(f"{path}: expected float32 images, its input is {spec.dtype.name}")
    if callable(getattr(loaded, "serve", None)):
        return loaded.serve, spec, signature.trainable_variables
    return lambda images: signature(**{name: images})[output], spec, signature.trainable_variables


def network_sha256(path: Path) -> str:
    """Of a file, or of all files of a folder, with their names, in order."""
    files = [path] if path.is_file() else sorted(file for file in path.rglob("*") if file.is_file())
    digest = hashlib.sha256()
    for file in files:
        digest.update(str(file.relative_to(path)).encode() if file != path else b"")
        digest.update(file.read_bytes())
    return digest.hexdigest()
