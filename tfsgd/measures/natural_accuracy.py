"""Loss and accuracy on unperturbed images."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from tfsgd.measures.spec import Kind, Request, Spec

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject


class NaturalAccuracy(Spec):
    """Loss and accuracy on unperturbed images, in inference mode."""

    kind: ClassVar[Kind] = "accuracy"

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        labels = subject.labels(request.split, request.examples)
        return asdict(figures(subject.logits(request.split, request.examples), labels))


@dataclass(frozen=True)
class SplitAccuracy:
    """How a network does on one split."""

    loss: float  # mean cross-entropy in nats
    accuracy: float  # fraction in [0, 1]
    predicted_classes: int  # how many different ones it predicts


def figures(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> SplitAccuracy:
    """Mean cross-entropy and accuracy from logits of shape `(N, classes)`; NaN where they are not finite."""
    if not np.isfinite(logits).all():
        return SplitAccuracy(np.nan, np.nan, 0)
    predicted = logits.argmax(1)
    losses = logsumexp(logits, axis=1) - logits[np.arange(len(labels)), labels]
    return SplitAccuracy(float(losses.mean()), float((predicted == labels).mean()), len(np.unique(predicted)))
