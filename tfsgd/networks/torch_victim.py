"""A PyTorch network under attack."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from tfsgd.measures.attack import Ascent
from tfsgd.measures.norms import Ball, steepest
from tfsgd.measures.victim import Images, Labels, Mask
from tfsgd.networks.compiled_victim import CHUNK_SIZE, check_logits, nobody
from tfsgd.networks.finite import FINITE, ODD_GRADIENT, ODD_LOGITS, refuse, refuse_infinite
from tfsgd.networks.torch_losses import LOSSES, TARGETED, UPHILL

Pass = tuple[Labels, NDArray[np.float32], Images]  # predicted classes, losses, the way up them


class TorchVictim:
    """A `tfsgd.measures.victim.Victim` of logits that PyTorch computes; what it does between two passes is NumPy's.

    Args:
        logits: images, a tensor `(N, height, width, channels)` in [0, 1], to logits `(N, classes)`, in evaluation mode.
        image_shape: `(height, width, channels)`.
        dtype: of the images that it takes.
        name: for messages.

    Attributes:
        beside: the name of another network -> a `tfsgd.networks.surrogate.Source`.

    Raises:
        RequestError: the outputs are probabilities, or differ between two calls.
    """

    def __init__(
        self,
        logits: Callable[[torch.Tensor], torch.Tensor],
        image_shape: tuple[int, ...],
        dtype: torch.dtype,
        name: str,
    ) -> None:
        self._ask, self._dtype, self._name = logits, dtype, name
        self.beside: Callable[[str], Any] = nobody
        check_logits(self.logits, np.random.default_rng(0).random((8, *image_shape), np.float32), name)

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Logits, shape `(N, classes)`."""
        with torch.no_grad():
            return np.concatenate([_array(self._ask(self._tensor(images[c]))) for c in _chunks(images)])

    def finite_logits(self, images: Images) -> NDArray[np.float32]:
        """The same; refuses those that are not finite, as all questions below do, and gradients that are not."""
        logits = self.logits(images)
        refuse_infinite(self._name, logits)
        return logits

    def predict(self, images: Images) -> Labels:
        """Predicted classes, shape `(N,)`."""
        return self.finite_logits(images).argmax(1)

    def gradient(self, images: Images, labels: Labels, loss: str = "cross_entropy") -> Images:
        """The way up each image's loss, shaped as the images: see `value_and_gradient`."""
        return self.value_and_gradient(images, labels, loss)[2]

    def value_and_gradient(
        self, images: Images, labels: Labels, loss: str = "cross_entropy", targets: Labels | None = None
    ) -> Pass:
        """Predictions, losses and the way up them; see `Victim`."""
        how = Ascent(0, 0, 1, False, loss, targets=targets)
        found = [self._pass(images[c], labels[c], how, c) for c in _chunks(images)]
        predicted, losses, gradient = (np.concatenate(parts) for parts in zip(*found, strict=True))
        refuse(self._name, _faults(predicted, gradient))
        return predicted, losses, gradient

    def step(
        self,
        images: Images,
        labels: Labels,
        step_size: float,
        loss: str = "cross_entropy",
        norm: str = "Linf",
    ) -> Images:
        """The images after one step of length `step_size` up the loss, clipped to [0, 1]."""
        uphill = steepest(self.gradient(images, labels, loss), norm)
        return np.clip(images + np.float32(step_size) * uphill, 0, 1)

    def ascend(self, images: Images, labels: Labels, start: Images, how: Ascent) -> tuple[Images, Mask]:
        """Many steps up the loss, each followed by a projection into the ball; see `Victim`."""
        reached, correct, _ = self.climb(images, labels, start, how)
        return reached, correct

    def climb(
        self, images: Images, labels: Labels, start: Images, how: Ascent
    ) -> tuple[Images, Mask, NDArray[np.float32]]:
        """As `ascend`; and how much the last step raised each image's loss, NaN where it ended before, `(N,)`."""
        reached = np.empty_like(images)
        correct, rise = np.zeros(len(images), bool), np.full(len(images), np.nan, np.float32)
        for c in _chunks(images):
            self._climb(images, labels, start, how, np.arange(len(images))[c], (reached, correct, rise))
        return reached, correct, rise

    def _climb(
        self,
        images: Images,
        labels: Labels,
        start: Images,
        how: Ascent,
        left: NDArray[np.int64],
        found: tuple[Images, Mask, NDArray[np.float32]],
    ) -> None:
        """Of the images of these indices; what becomes of each is written to `found` where it ends."""
        reached, correct, rise = found
        epsilon, size = (np.broadcast_to(np.float32(x), len(images)) for x in (how.epsilon, how.step_size))
        current = Ball(how.norm, epsilon[left]).into(images[left], images[left] + start[left])
        before = np.full(len(left), np.nan, np.float32)
        for done in range(how.steps + 1):
            predicted, losses, gradient = self._pass(current, labels[left], how, left)
            right = predicted == labels[left]
            ends = np.full(len(left), done == how.steps) | (how.early_stop & ~right)
            reached[left[ends]], correct[left[ends]] = current[ends], right[ends]
            if done == how.steps:
                rise[left] = losses - before
            faults = _faults(
                predicted, np.where(ends.reshape(-1, 1, 1, 1), 0, gradient)
            )  # who ends needs none
            refuse(self._name, faults)
            left, before = left[~ends], losses[~ends]
            if not len(left):
                return
            step = size[left].reshape(-1, 1, 1, 1) * steepest(gradient[~ends], how.norm)
            moved = np.clip(current[~ends] + step, 0, 1)
            current = Ball(how.norm, epsilon[left]).into(images[left], moved)

    def _pass(self, images: Images, labels: Labels, how: Ascent, at: Any) -> Pass:
        """Of a chunk of images; `at` is where their targets are."""
        pixels, truth = self._tensor(images).requires_grad_(), torch.tensor(labels)
        with torch.enable_grad():
            logits = _single(self._ask(pixels))
            divided = logits / how.temperature
            if how.targets is None:
                height = UPHILL[how.loss](truth, divided)
            else:
                height = TARGETED[how.loss](truth, divided, torch.tensor(how.targets[at]))
            uphill = (
                torch.autograd.grad(height.sum(), pixels, allow_unused=True)[0]
                if height.requires_grad
                else None
            )
        if uphill is None:  # it does not reach the pixels
            uphill = torch.full_like(pixels, torch.nan)
        value = height if how.targets is not None else LOSSES[how.loss](truth, divided.detach())
        outputs = _array(logits)
        predicted = np.where(np.isfinite(outputs).all(1), outputs.argmax(1), -1)
        return predicted, _array(value), _array(uphill)

    def _tensor(self, images: Images) -> torch.Tensor:
        return torch.tensor(
            np.ascontiguousarray(images), dtype=self._dtype
        )  # a copy: images may be read-only


def _single(logits: torch.Tensor) -> torch.Tensor:
    """In single precision at least."""
    return logits.float() if torch.finfo(logits.dtype).bits < 32 else logits


def _array(tensor: torch.Tensor) -> NDArray[np.float32]:
    found: NDArray[np.float32] = tensor.detach().float().numpy()
    return found


def _faults(predicted: Labels, gradient: Images) -> NDArray[np.int64]:
    finite = np.isfinite(gradient).all(tuple(range(1, gradient.ndim)))
    return np.where(predicted < 0, ODD_LOGITS, np.where(finite, FINITE, ODD_GRADIENT))


def _chunks(images: Images) -> Iterator[slice]:
    return (slice(i, i + CHUNK_SIZE) for i in range(0, len(images), CHUNK_SIZE))
