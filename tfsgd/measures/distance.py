"""How far the training has moved the weights."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from tfsgd.measures.spec import Kind, Request, Spec

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject


class Distance(Spec):
    """How far the trained variables are from where the training began, which the trial's seed gives again.

    Its values are `value`, the Euclidean norm of the difference of all of them, and `layer_distances`, that of each variable, in
    the network's order (Nagarajan and Kolter 2019, arXiv:1902.07742, take the norm). NaN where the beginning is not known:
    of a network that comes without its training, that began with another one's checkpoint, or whose own code is not to be had.
    """

    kind: ClassVar[Kind] = "weights"

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        first = subject.initial_weights()
        if first is None:
            return {"value": np.nan, "layer_distances": []}
        moved = [
            float(np.linalg.norm(np.asarray(now, np.float64) - before))
            for now, before in zip(subject.weights(), first, strict=True)
        ]
        # To nine digits, as `tfsgd.measures.weights` has them.
        return {
            "value": round(float(np.linalg.norm(moved)), 9),
            "layer_distances": np.round(moved, 9).tolist(),
        }
