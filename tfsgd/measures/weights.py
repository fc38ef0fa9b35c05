"""How large the weights are: what a rescaling of layers or of logits changes, though no prediction."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.spec import Kind, Request, Spec

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject


class Weights(Spec):
    """How large the trained variables are.

    Its values are `value`, the Euclidean norm of all of them; `layer_norms`, that of each variable, in the network's order; and
    `log_spectral_norms`, the sum over those with two axes or more of the natural logarithm of the top singular value
    of the matrix that they are with all axes but the last one flattened (Yoshida and Miyato 2017, section 3.2, take a
    convolution's kernel so). `None` where a matrix is zero.
    """

    kind: ClassVar[Kind] = "weights"

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        return sizes_of(subject.weights())


def sizes_of(weights: Sequence[NDArray[np.floating[Any]]]) -> dict[str, Any]:
    """See `Weights`; of arrays of any shape."""
    norms = [float(np.linalg.norm(w.astype(np.float64))) for w in weights]
    matrices = (w.reshape(-1, w.shape[-1]).astype(np.float64) for w in weights if w.ndim > 1)
    with np.errstate(divide="ignore"):
        logs = [float(np.log(np.linalg.norm(m, 2))) for m in matrices]
    found: dict[str, Any] = {
        "value": np.linalg.norm(norms),
        "layer_norms": norms,
        "log_spectral_norms": sum(logs),
    }
    # To nine digits: how many threads a linear algebra library has moves later ones.
    return {key: np.round(value, 9).tolist() for key, value in found.items()}
