"""The temperature that calibrates a network."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import brentq

from tfsgd.measures.logit_losses import slopes
from tfsgd.measures.spec import Kind, Request, Spec
from tfsgd.measures.victim import Labels

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject

LEAST, MOST = 1e-3, 1e3  # temperatures that are looked at


class Temperature(Spec):
    """T*, by which the logits are divided so that the mean cross-entropy over held-out images is least (Guo et al. 2017,
    section 4.2).

    Above 1 the network is surer than it is right. NaN where no T* from 1e-3 to 1e3 is best, as where all images are right.
    """

    kind: ClassVar[Kind] = "gradient"

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        labels = subject.labels(request.split, request.examples)
        return {"value": calibrating(subject.logits(request.split, request.examples), labels)}


def calibrating(logits: NDArray[np.float64], labels: Labels) -> float:
    """T* of logits `(N, classes)`; see `Temperature`. The loss is convex in 1/T, so there is one at most."""
    if not np.isfinite(logits).all():
        return np.nan

    def slope(log_inverse: float) -> float:
        scaled = np.exp(log_inverse) * logits
        return float((slopes(scaled, labels) * logits).sum(1).mean())

    ends = -np.log(MOST), -np.log(LEAST)
    if not slope(ends[0]) < 0 < slope(ends[1]):
        return np.nan
    return float(np.exp(-brentq(slope, *ends, xtol=1e-10)))
