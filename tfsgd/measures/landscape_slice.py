"""What is known of the loss along lines and planes in weights, without TensorFlow."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Slice:
    """Loss and accuracy along a line, or over a plane, in the space of weights.

    Attributes:
        coordinates: along each direction, `(points,)`.
        losses: mean cross-entropy in nats, `(points,)`, or `(points, points)` with the first direction in rows.
        accuracies: shares of the images, likewise.
    """

    coordinates: Array
    losses: Array
    accuracies: Array

    @property
    def barrier(self) -> float:
        """The most that the loss of a line rises above the straight line between its ends, in nats; 0 where it does not.

        Frankle et al. 2020 (arXiv:1912.05671, section 2), with the loss in place of the error, relative to the chord
        as Entezari et al. 2022 (arXiv:2110.06296, definition 2.1) have it.
        """
        ends = np.interp(self.coordinates, self.coordinates[[0, -1]], self.losses[[0, -1]])
        return float((self.losses - ends).max())


def filter_normalized(weights: list[Array], rng: np.random.Generator) -> list[Array]:
    """A normal direction, each filter of which has the length of the weights' own (Li et al. 2018, arXiv:1712.09913, section 4).

    A filter is what feeds one unit: of a kernel all that has the same last index. Biases, and scales and shifts of
    normalization, stay where they are.
    """
    found = []
    for w in weights:
        direction = rng.standard_normal(w.shape)
        if w.ndim < 2:
            found.append(np.zeros(w.shape))
            continue
        axes = tuple(range(w.ndim - 1))
        lengths = [np.sqrt(np.square(one).sum(axes, keepdims=True)) for one in (w, direction)]
        found.append(direction * lengths[0] / lengths[1])
    return found
