"""How sure a network is of its answers on unperturbed images."""

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

BINS = 15  # of the calibration error


class Confidence(Spec):
    """How sure the network is of its answers on unperturbed images, right or wrong.

    Its values are `confidence`, the mean of the largest softmax output; `margin`, the mean of the true class's
    logit minus the largest other one; and `calibration_error`, the expected calibration error over 15 bins of
    equal width: the mean, weighted by images, of |accuracy - confidence| in each bin (Guo et al. 2017, equation 3).
    """

    kind: ClassVar[Kind] = "confidence"

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        labels = subject.labels(request.split, request.examples)
        return asdict(certainty(subject.logits(request.split, request.examples), labels))


@dataclass(frozen=True)
class Certainty:
    """How sure a network is of its answers, see `Confidence`."""

    confidence: float  # in [1/classes, 1]
    margin: float  # of logits
    calibration_error: float  # in [0, 1]


def certainty(logits: NDArray[np.float64], labels: NDArray[np.int64]) -> Certainty:
    """Mean confidence, mean logit margin and calibration error from logits `(N, classes)`; NaN where not finite."""
    if not np.isfinite(logits).all():
        return Certainty(np.nan, np.nan, np.nan)
    everyone = np.arange(len(labels))
    confidence = np.exp(logits.max(1) - logsumexp(logits, axis=1))
    right = logits.argmax(1) == labels
    others = logits.copy()
    others[everyone, labels] = -np.inf
    margin = logits[everyone, labels] - others.max(1)
    # Bins (i/15, (i+1)/15]; |sum of (right - confidence)| of a bin is its images times |accuracy - confidence|.
    bins = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    gaps = np.bincount(bins, weights=right - confidence, minlength=BINS)
    return Certainty(float(confidence.mean()), float(margin.mean()), float(np.abs(gaps).sum() / len(labels)))
