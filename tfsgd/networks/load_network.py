"""Networks from anywhere, as files: a `.keras` file or a SavedModel -> something that can be measured."""

import hashlib
import re
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfsgd.errors import RequestError
from tfsgd.models.softmax import refuse_probabilities, without_softmax
from tfsgd.models.structure import input_shape, refuse_integers


@dataclass(frozen=True)
class Pixels:
    """What a network expects in place of pixels in [0, 1]: `(scale x - mean) / std`. Epsilon stays in x.

    Attributes:
        scale: 255 for a network that expects 0 to 255.
        mean: one number, or one for each channel; of the scaled pixels.
        std: likewise.
    """

    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)

    def refuse_unfit(self, channels: int, what: str) -> None:
        """Refuses numbers that are not one, or one for each channel."""
        if not self.scale > 0:
            raise RequestError(f"--scale {self.scale:g}: expected a number above 0, such as 255")
        for option, values in (("--mean", self.mean), ("--std", self.std)):
            if len(values) not in (1, channels):
                raise RequestError(
                    f"{option}: expected one number, or one for each of the {channels} channels of {what}, received {len(values)}"
                )
        if min(self.std) <= 0:
            raise RequestError(f"--std {min(self.std):g}: expected numbers above 0")

    def before(self, network: Any) -> Any:
        """The network on pixels in [0, 1]."""
        gain = [self.scale / std for std in self.std]
        offset = [-mean / std for mean, std in _pairs(self.mean, self.std)]
        if not isinstance(network, keras.Model):  # a SavedModel, or of PyTorch
            network.gain, network.offset = gain, offset
            return network
        image = keras.Input(network.input_shape[1:])
        scaled = keras.layers.Rescaling(gain, offset)(image)
        return keras.Model(image, network(scaled), name=network.name)


AS_THEY_ARE = Pixels()


def _pairs(mean: tuple[float, ...], std: tuple[float, ...]) -> list[tuple[float, float]]:
    size = max(len(mean), len(std))
    return list(zip(mean * (size // len(mean)), std * (size // len(std)), strict=True))


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
        self.gain: Any = None
        self.offset: Any = None

    def __call__(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        pixels = tf.cast(images, tf.float32)  # which it takes, whatever its weights are
        return self._serve(pixels if self.gain is None else pixels * self.gain + self.offset)


def load_network(path: Path, pixels: Pixels = AS_THEY_ARE, strip_softmax: bool = False) -> Any:
    """Loads a network from a `.keras` file or the folder of a SavedModel.

    Args:
        path: of the file or folder.
        pixels: what it expects.
        strip_softmax: take off the softmax that it ends in.

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
        network = SavedNetwork(path) if is_saved_model else _from_file(path, strip_softmax)
    except RequestError:
        raise
    except Exception as error:  # whatever Keras and TensorFlow raise at a file that is not theirs
        raise RequestError(f"{path}: cannot be loaded as a network: {_said(error)}") from None
    shape = network.input_shape
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[0] is not None or None in shape[1:]:
        raise RequestError(
            f"{path}: expected a network of one input of shape (None, height, width, channels), found {shape}"
        )
    pixels.refuse_unfit(shape[3], str(path))
    return network if pixels == AS_THEY_ARE else pixels.before(network)


def _from_file(path: Path, strip_softmax: bool) -> Any:
    with path.open("rb") as file:
        if path.suffix == ".keras" and not zipfile.is_zipfile(file):
            raise RequestError(
                f"{path}: expected a .keras file, found one of another kind, or one that is cut short; save or copy it anew"
            )
    network = keras.saving.load_model(path, compile=False)
    for tensor in getattr(network, "inputs", None) or ():
        refuse_integers(tensor.dtype, str(path))
    if strip_softmax:
        network = without_softmax(network, str(path))
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
            f"{unknown[0]}, which is one's own; give --code FILE.py, the file that has it, or of LOGS/NAME give --config "
            "CONFIG, whose model's module has it; in Python import it before"
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
