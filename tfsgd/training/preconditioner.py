"""The Hessian as an optimizer with a step of its own for each weight sees it: P^(-1/2) H P^(-1/2)."""

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.curvature_spec import Vector


def preconditioner(optimizer: Any) -> NDArray[np.float64] | None:
    """P, `(parameters,)`: the step is learning_rate x (mean of gradients) / P; `None`: the optimizer has no such.

    Cohen et al. 2022 (arXiv:2207.14484), Section 2, of Adam with its bias correction: (sqrt(v) + epsilon) / sqrt(1 - beta_2^t);
    Keras's RMSprop and Adagrad have sqrt(v + epsilon).
    """
    if isinstance(optimizer, keras.optimizers.Adam) and not optimizer.amsgrad:  # AdamW is one
        correction = 1 - float(optimizer.beta_2) ** float(optimizer.iterations.numpy())
        return (np.sqrt(_flat(optimizer._velocities)) + optimizer.epsilon) / np.sqrt(correction)
    if isinstance(optimizer, keras.optimizers.RMSprop) and not optimizer.centered:
        return np.asarray(np.sqrt(_flat(optimizer._velocities) + optimizer.epsilon))
    if isinstance(optimizer, keras.optimizers.Adagrad):
        return np.asarray(np.sqrt(_flat(optimizer._accumulators) + optimizer.epsilon))
    return None


class Preconditioned:
    """v -> P^(-1/2) H P^(-1/2) v.

    Args:
        product: v -> Hv.
        diagonal: P, `(parameters,)`, above 0.
        kept: as of `Product`.
    """

    def __init__(self, product: Any, diagonal: NDArray[np.float64], kept: list[Vector] | None = None) -> None:
        self._product, self._scale, self.kept = product, 1 / np.sqrt(diagonal), kept
        self.dimension: int = product.dimension

    @property
    def evidence(self) -> Mapping[str, float]:
        """That of H."""
        found: Mapping[str, float] = self._product.evidence
        return found

    def __call__(self, vector: Vector) -> Vector:
        """One product, `(parameters,)`."""
        return np.asarray(self._scale * self._product(self._scale * vector))


def _flat(slots: Any) -> NDArray[np.float64]:
    return np.concatenate([np.ravel(slot.numpy()) for slot in slots]).astype(np.float64)
