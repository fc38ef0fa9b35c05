"""Products with the Hessian of a PyTorch network's mean loss."""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from types import MappingProxyType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from tfsgd.errors import RequestError
from tfsgd.measures.curvature_spec import Vector
from tfsgd.measures.victim import Images, Labels
from tfsgd.networks.guard import IMAGES, IMPLIED, Arrays, beyond_limit, held, said
from tfsgd.networks.hessian import CHUNK_SIZE, layers_of
from tfsgd.networks.torch_losses import Loss, cross_entropy

Tensors = Sequence[Tensor]  # one for each trainable parameter, of its shape


class TorchHessianProduct:
    """v -> Hv, H the Hessian of the mean loss over fixed images; attributes as of `tfsgd.networks.hessian.Product`.

    Args:
        network: a `tfsgd.networks.torch_network.TorchNetwork`.
        images: `(N, height, width, channels)` in [0, 1].
        labels: `(N,)` integers.
        loss: `(labels, outputs)` -> the loss of each example, `(N,)`.
        chunk_size: images in one pass; it changes no result beyond rounding.
    """

    title = "the Hessian"

    def __init__(
        self,
        network: Any,
        images: Images,
        labels: Labels,
        loss: Loss = cross_entropy,
        chunk_size: int = CHUNK_SIZE,
    ) -> None:
        self.network = network
        self.variables = tuple(network.trainable_variables)
        self.layers = tuple(layers_of(self.variables))
        self._loss, self._chunk_size = loss, chunk_size
        self._point = network.trainable
        self._images = torch.tensor(np.ascontiguousarray(images), dtype=network.dtype)
        self._labels = torch.tensor(labels)
        self.dimension = sum(one.numel() for one in self._point)

    @property
    def weights(self) -> Vector:
        """The values of the trainable parameters, `(dimension,)`; a copy."""
        return _flat(self._point)

    @property
    def loss(self) -> float:
        """The mean loss over the images, whose second derivatives the product is of (nats)."""
        with torch.no_grad():
            sums = [float(self._sum(self._point, *chunk)) for chunk in self._chunks()]
        return sum(sums) / len(self._labels)

    @property
    def counts(self) -> NDArray[np.int64]:
        """Images of each chunk, `(chunks,)`."""
        return np.array([len(labels) for _, labels in self._chunks()])

    def __call__(self, vector: Vector) -> Vector:
        """Hv for one vector, both of shape `(dimension,)`."""
        return self.by_chunk(vector, [])[0]

    def by_chunk(self, vector: Vector, rows: Sequence[Vector]) -> tuple[Vector, NDArray[np.float64]]:
        """Hv, and uᵀH_c v of each row u, `(chunks, rows)`, H_c the mean over chunk c."""
        if np.shape(vector) != (self.dimension,):
            raise ValueError(f"a vector of shape ({self.dimension},) is needed, received {np.shape(vector)}")
        pieces = np.split(np.asarray(vector), np.cumsum([one.numel() for one in self._point])[:-1])
        directions = [
            torch.tensor(v.reshape(w.shape), dtype=w.dtype) for v, w in zip(pieces, self._point, strict=True)
        ]
        total, forms = np.zeros(self.dimension), []
        for images, labels in self._chunks():
            found = _flat(self._product(self._point, directions, images, labels)).astype(np.float64)
            total += found
            forms.append([float(row @ found) / len(labels) for row in rows])
        return total / len(self._labels), np.array(forms).reshape(len(forms), len(rows))

    @cached_property
    def evidence(self) -> Mapping[str, float]:
        """What is off in the product, see `tfsgd.networks.guard.guarded`.

        Raises:
            RequestError: as there.
        """
        try:
            found = held(self._in_double(), [one.detach().double().numpy() for one in self._point])[0]
        except RuntimeError:  # a layer that knows float32 alone
            return MappingProxyType({})
        if wrong := beyond_limit(found):
            raise RequestError(
                f"{self.network.name}: {self.title} would be wrong: {said(found, wrong)}; leave this measure out"
            )
        return MappingProxyType(
            {key: max(value, IMPLIED) if key == "difference" else value for key, value in found.items()}
        )

    def _in_double(self) -> "_InDouble":
        images, labels = self._images[:IMAGES].double().numpy(), self._labels[:IMAGES].numpy()
        return _InDouble(TorchHessianProduct(self.network.in_double(), images, labels, self._loss))

    def _chunks(self) -> Iterator[tuple[Tensor, Tensor]]:
        for i in range(0, len(self._labels), self._chunk_size):
            yield self._images[i : i + self._chunk_size], self._labels[i : i + self._chunk_size]

    def _sum(self, at: Tensors, images: Tensor, labels: Tensor) -> Tensor:
        logits = self.network.logits(images, at)
        return self._loss(labels, logits if torch.finfo(logits.dtype).bits >= 32 else logits.float()).sum()

    def _slope(self, at: Tensors, images: Tensor, labels: Tensor, again: bool = False) -> Tensors:
        """The gradient of the sum over a chunk; `again`: it is differentiated once more."""
        return _gradient(self._sum(at, images, labels), at, again)

    def _product(self, at: Tensors, directions: Tensors, images: Tensor, labels: Tensor) -> Tensors:
        """Pearlmutter 1994: Hv is the gradient of the gradient's product with v."""
        slope = self._slope(at, images, labels, again=True)
        along = torch.stack([(g * v).sum() for g, v in zip(slope, directions, strict=True)]).sum()
        return _gradient(along, at)

    def whole(self, at: Arrays, direction: Arrays | None = None) -> Arrays:
        """The gradient of the sum over all images at other weights, or the product with a direction there."""
        point = [torch.tensor(one).requires_grad_() for one in at]
        if direction is None:
            found = self._slope(point, self._images, self._labels)
        else:
            found = self._product(point, [torch.tensor(one) for one in direction], self._images, self._labels)
        return [one.detach().numpy() for one in found]


class _InDouble:
    """A product of few images in float64, see `tfsgd.networks.guard.InDouble`."""

    def __init__(self, product: TorchHessianProduct) -> None:
        self._product = product

    def product(self, at: Arrays, direction: Arrays) -> Arrays:
        return self._product.whole(at, direction)

    def difference(self, at: Arrays, direction: Arrays, step: float) -> Arrays:
        more, less = (
            self._product.whole([a + h * d for a, d in zip(at, direction, strict=True)])
            for h in (step, -step)
        )
        return [(a - b) / (2 * step) for a, b in zip(more, less, strict=True)]


def _gradient(of: Tensor, at: Tensors, again: bool = False) -> Tensors:
    """Zeros where there is no dependence."""
    if not of.requires_grad:
        return [torch.zeros_like(one) for one in at]
    return torch.autograd.grad(of, list(at), create_graph=again, allow_unused=True, materialize_grads=True)


def _flat(tensors: Tensors) -> Vector:
    found: Vector = torch.cat([one.detach().reshape(-1).float() for one in tensors]).numpy()
    return found
