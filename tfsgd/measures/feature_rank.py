"""How many dimensions the features of the last layer fill."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.spec import Kind, Request, Spec

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject

SHARE = 0.99  # of the variance


class FeatureRank(Spec):
    """How many dimensions the features fill that the last dense layer sees, over unperturbed images.

    Its values are `value`, the effective rank: the exponential of the entropy of the singular values over their sum, of the
    features less their mean (Roy and Vetterli 2007, definition 1); and `components`, how many principal components have 99 %
    of their variance (Andriushchenko et al. 2023, arXiv:2305.16292, section 3). NaN where the network does not end with a
    dense layer. No rescaling of whole layers changes it.
    """

    kind: ClassVar[Kind] = "gradient"

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        features = subject.features(request.split, request.examples)
        return {"value": np.nan, "components": None} if features is None else rank_of(features)


def rank_of(features: NDArray[np.float64]) -> dict[str, Any]:
    """See `FeatureRank`; of features `(N, d)`."""
    centred = features - features.mean(0)
    if not np.isfinite(centred).all():
        return {"value": np.nan, "components": None}
    singular = np.sqrt(np.maximum(np.linalg.eigvalsh(centred.T @ centred)[::-1], 0))
    singular = singular[singular > 1e-7 * singular[0]]  # what is below is rounding
    if not singular.size:
        return {"value": 0.0, "components": 0}
    shares = singular / singular.sum()
    variance = np.cumsum(singular**2)
    found = float(np.exp(-(shares * np.log(shares)).sum()))
    return {"value": round(found, 9), "components": int(np.searchsorted(variance, SHARE * variance[-1])) + 1}
