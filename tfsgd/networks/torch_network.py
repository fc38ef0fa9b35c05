"""A PyTorch network from a file of its weights, as something that can be measured."""

import copy
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call

from tfsgd.data.dataset import Split, to_unit
from tfsgd.errors import RequestError
from tfsgd.measures.curvature_spec import CurvatureSpec
from tfsgd.measures.victim import Images, Labels, Victim
from tfsgd.networks.accuracy import Evaluator
from tfsgd.networks.load_network import AS_THEY_ARE, Pixels
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.networks.torch_hessian import TorchHessianProduct
from tfsgd.networks.torch_losses import DESCENDED
from tfsgd.networks.torch_victim import TorchVictim
from tfsgd.text import cut, one_line


class TorchVariable:
    """A parameter or a buffer of a module, as Keras has a variable.

    Attributes:
        name: in the module's state dict.
        path: with a slash before the part of a layer.
        shape: its shape.
    """

    def __init__(self, name: str, tensor: Tensor) -> None:
        self.name, self.path, self.shape = name, name.replace(".", "/"), tuple(tensor.shape)
        self._tensor = tensor

    def numpy(self) -> NDArray[Any]:
        """A copy of its value."""
        found = self._tensor.detach()
        value: NDArray[Any] = (found.float() if found.is_floating_point() else found).numpy().copy()
        return value

    def __array__(self, dtype: Any = None, copy: Any = None) -> NDArray[Any]:
        return self.numpy() if dtype is None else self.numpy().astype(dtype)

    def assign(self, value: NDArray[Any]) -> None:
        """Gives it another value."""
        with torch.no_grad():
            self._tensor.copy_(torch.tensor(np.asarray(value)))


class TorchNetwork:
    """A module in evaluation mode, as `tfsgd.networks.measured_network.MeasuredNetwork` has a network.

    Args:
        module: float images `(N, channels, height, width)` to logits `(N, classes)`.
        image_shape: `(height, width, channels)`.
        name: for messages.

    Attributes:
        image_shape: as given.
        input_shape: `(None, height, width, channels)`.
        gain: by which pixels in [0, 1] are multiplied, one for each channel; `None`: by nothing.
        offset: what is added then.
        dtype: of its weights, and of the images that it takes.
    """

    def __init__(self, module: nn.Module, image_shape: tuple[int, ...], name: str) -> None:
        self.name, self.image_shape, self.input_shape = name, image_shape, (None, *image_shape)
        self.gain: Sequence[float] | None = None
        self.offset: Sequence[float] = ()
        self._module = module.eval()
        self._trained = {n: p for n, p in module.named_parameters() if p.requires_grad}
        floats = [p.dtype for p in module.parameters() if p.is_floating_point()]
        self.dtype = floats[0] if floats else torch.float32

    @property
    def trainable(self) -> list[Tensor]:
        """The parameters that are trained."""
        return list(self._trained.values())

    @property
    def trainable_variables(self) -> list[TorchVariable]:
        """The same, as Keras has them."""
        return [TorchVariable(name, tensor) for name, tensor in self._trained.items()]

    @property
    def variables(self) -> list[TorchVariable]:
        """All parameters and buffers."""
        tensors = (*self._module.named_parameters(), *self._module.named_buffers())
        return [TorchVariable(name, tensor) for name, tensor in tensors]

    def logits(self, images: Tensor, at: Sequence[Tensor] | None = None) -> Tensor:
        """Of images `(N, height, width, channels)` in [0, 1]; `at`: with these values of `trainable`."""
        pixels = images
        if self.gain is not None:
            gain, offset = (images.new_tensor(one) for one in (self.gain, self.offset))
            pixels = images * gain + offset
        inputs = pixels.permute(0, 3, 1, 2)
        if at is None:
            return self._module(inputs)
        return functional_call(self._module, dict(zip(self._trained, at, strict=True)), (inputs,))

    def in_double(self) -> "TorchNetwork":
        """A copy of it in float64."""
        twin = TorchNetwork(copy.deepcopy(self._module).double(), self.image_shape, self.name)
        twin.gain, twin.offset = self.gain, self.offset
        return twin


class TorchMeasured(MeasuredNetwork):
    """A PyTorch network and the images that it is measured on; arguments as of `MeasuredNetwork`."""

    network: TorchNetwork

    @cached_property
    def victim(self) -> Victim:
        """For attacks."""
        network = self.network
        victim = TorchVictim(network.logits, network.image_shape, network.dtype, network.name)
        victim.beside = self._sources
        return victim

    @cached_property
    def evaluate(self) -> Evaluator:
        """For natural accuracy."""
        return _TorchEvaluator(self.victim)

    def features(self, split: str, examples: int) -> NDArray[np.float64] | None:
        """As `MeasuredNetwork.features`; not known of a module."""
        return None

    def check(self, spec: CurvatureSpec) -> None:
        """As `MeasuredNetwork.check`."""
        if spec.operator != "hessian" or getattr(spec, "needs_head", False):
            raise RequestError(
                "it needs TensorFlow; of a PyTorch network measures of the Hessian's products are taken"
            )
        if spec.mode != "inference":
            raise RequestError(
                "mode: training: it needs TensorFlow; expected mode: inference of a PyTorch network"
            )

    def _product(self, spec: CurvatureSpec, images: Images, labels: Labels) -> Any:
        return TorchHessianProduct(self.network, images, labels, DESCENDED[spec.loss])


class _TorchEvaluator(Evaluator):
    """As `Evaluator`, by what attacks see."""

    def __init__(self, victim: Victim) -> None:
        self._victim = victim

    def logits(self, split: Split) -> NDArray[np.float64]:
        return self._victim.logits(to_unit(split.images)).astype(np.float64)


def load_torch(
    path: Path, build: Callable[[], Any], image_shape: tuple[int, int, int], pixels: Pixels = AS_THEY_ARE
) -> TorchNetwork:
    """Loads a module's weights; no code is run but what builds it.

    Args:
        path: of a state dict, as `torch.save(net.state_dict(), path)` writes it.
        build: gives the module.
        image_shape: `(height, width, channels)`.
        pixels: what it expects.

    Raises:
        RequestError: there is no such file, or it is not of this module; one line.
    """
    module = build()
    if not isinstance(module, nn.Module):
        raise RequestError(
            f"--code: expected a function that returns a torch.nn.Module, received {type(module).__name__}"
        )
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # of a pickle that would run code, or of no such file
        raise RequestError(
            f"{path}: expected a state dict, as torch.save(net.state_dict(), path) writes it; a whole module in a file is "
            f"code, which is not run: {cut(one_line(error), 120)}"
        ) from None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        found = (
            f"a dict of {', '.join(map(str, list(state)[:5]))}"
            if isinstance(state, dict)
            else type(state).__name__
        )
        raise RequestError(
            f"{path}: expected a state dict alone, found {cut(found, 100)}; save that part of it"
        )
    try:
        module.load_state_dict(state)
    except RuntimeError as error:
        said = " ".join(str(error).split())
        raise RequestError(
            f"{path}: its weights are not those of the module that --code gives: {cut(said, 200)}"
        ) from None
    network = TorchNetwork(module, image_shape, str(path))
    pixels.refuse_unfit(image_shape[2], str(path))
    if pixels != AS_THEY_ARE:
        pixels.before(network)
    return network
