"""The network under attack, as an attack sees it, and the arrays that pass between them.

An attack (a file in `tfsgd.measures.attacks`) is written in terms of these few questions: predictions, one
step along the sign of the loss's gradient, many of them inside a ball, or the gradient itself.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from tfsgd.measures.attack import Ascent

Images = NDArray[np.float32]  # (N, height, width, channels) in [0, 1]
Labels = NDArray[np.int64]  # (N,)
Mask = NDArray[np.bool_]  # (N,)


class Victim(Protocol):
    """One network under attack. Every question refuses logits and gradients that are not finite.

    Attributes:
        beside: the name of another network -> that network, see `tfsgd.networks.surrogate.Source`.
    """

    beside: Callable[[str], Any]

    def logits(self, images: Images) -> NDArray[np.float32]:
        """Logits, shape `(N, classes)`, finite or not."""

    def finite_logits(self, images: Images) -> NDArray[np.float32]:
        """Logits, shape `(N, classes)`."""

    def predict(self, images: Images) -> Labels:
        """Predicted classes, shape `(N,)`."""

    def gradient(self, images: Images, labels: Labels, loss: str = "cross_entropy") -> Images:
        """The way up each image's loss, shaped as the images: see `value_and_gradient`."""

    def value_and_gradient(
        self, images: Images, labels: Labels, loss: str = "cross_entropy", targets: Labels | None = None
    ) -> tuple[Labels, NDArray[np.float32], Images]:
        """Predicted classes `(N,)`, each image's loss `(N,)`, and the way up it, in one pass.

        The way up is the loss's gradient with respect to the pixels; of the cross-entropy that of `log_odds`, which has
        its direction and never vanishes with confidence. Times `1 - exp(-loss)` it is the cross-entropy's own. With
        targets, classes `(N,)`, the loss is one that rises towards them, see `tfsgd.networks.losses.TARGETED`.
        """

    def step(
        self,
        images: Images,
        labels: Labels,
        step_size: float,
        loss: str = "cross_entropy",
        norm: str = "Linf",
    ) -> Images:
        """The images after one step of length `step_size` up the loss, clipped to [0, 1]."""

    def ascend(self, images: Images, labels: Labels, start: Images, how: Ascent) -> tuple[Images, Mask]:
        """Many steps up the loss, each followed by a projection into the ball.

        Args:
            images: clean images.
            labels: their true labels.
            start: perturbations to begin with.
            how: radius of the ball, one for all or each image's own, steps and loss.

        Returns:
            The image where each one ended, and which of them get their true label there.
        """

    def climb(
        self, images: Images, labels: Labels, start: Images, how: Ascent
    ) -> tuple[Images, Mask, NDArray[np.float32]]:
        """As `ascend`; and how much the last step raised each image's loss, NaN where it ended before, `(N,)`."""
