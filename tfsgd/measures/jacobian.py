"""How far the logits move with the pixels: the norm of the network's input-output Jacobian."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.attack import blocks
from tfsgd.measures.spec import Kind, Request, Spec
from tfsgd.measures.victim import Images, Labels, Victim

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject

MOST_IMAGES = 1_000  # on which it is taken


class Jacobian(Spec):
    """How far the logits move with the pixels, whatever the labels and however sure the network is.

    Its value is the mean over unperturbed images of |dz/dx|_F (logits per pixel unit), z the logits less their mean over
    the classes, which no prediction depends on (Novak et al. 2018, section 3.3, there of the softmax's outputs). It is
    exact: one gradient for each class.
    """

    kind: ClassVar[Kind] = "gradient"

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        images, labels = subject.images(request.split, request.examples)
        classes = subject.victim.logits(images[:1]).shape[1]
        return {"value": float(jacobian_norms(subject.victim, images, labels, classes).mean())}


def jacobian_norms(victim: Victim, images: Images, labels: Labels, classes: int) -> NDArray[np.float64]:
    """|dz/dx|_F of images `(N, height, width, channels)`, z centred over the classes, `(N,)`.

    From the gradients g_j of z_j - z_y it is the square root of sum_j |g_j|^2 - |sum_j g_j|^2 / classes.
    """
    found = np.empty(len(labels))
    for block in blocks(np.arange(len(labels))):
        total, squares = np.zeros((len(block), images[0].size)), np.zeros(len(block))
        for target in range(classes):
            towards = np.full(len(block), target, labels.dtype)
            gradient = victim.value_and_gradient(images[block], labels[block], "margin", towards)[2]
            flat = gradient.reshape(len(block), -1).astype(np.float64)
            total, squares = total + flat, squares + (flat**2).sum(1)
        found[block] = np.sqrt(np.maximum(squares - (total**2).sum(1) / classes, 0.0))
    return found
