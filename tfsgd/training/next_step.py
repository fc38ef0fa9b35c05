"""The step that an optimizer would take."""

from typing import Any

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from tfsgd.measures.curvature_spec import Vector


class NextStep:
    """What the optimizer of a network adds to its weights for a gradient; weights and optimizer are left as they are.

    Args:
        model: compiled, under its strategy.
    """

    def __init__(self, model: Any) -> None:
        self._model, self._weights = model, model.trainable_variables
        self._changing = [*self._weights, *model.optimizer.variables]
        self._apply = tf.function(self._step)

    def __call__(self, gradient: Vector) -> NDArray[np.float64]:
        """The step of all trained weights, both `(parameters,)`: the weights after it less those before."""
        shapes = [tuple(weight.shape) for weight in self._weights]
        ends = np.cumsum([int(np.prod(shape)) for shape in shapes])[:-1]
        pieces = [
            tf.constant(piece.reshape(shape), weight.dtype)
            for piece, shape, weight in zip(np.split(gradient, ends), shapes, self._weights, strict=True)
        ]
        before = [variable.numpy().copy() for variable in self._changing]
        self._apply(pieces)
        after = [weight.numpy().copy() for weight in self._weights]
        for variable, value in zip(self._changing, before, strict=True):
            variable.assign(value)
        moved = [np.ravel(now.astype(np.float64) - then) for now, then in zip(after, before, strict=False)]
        return np.concatenate(moved)

    def _step(self, gradients: list[tf.Tensor]) -> None:
        strategy = self._model.distribute_strategy

        def of_replica() -> None:
            own = [g / strategy.num_replicas_in_sync for g in gradients]  # the optimizer adds them up
            self._model.optimizer.apply(own, self._weights)

        strategy.run(of_replica)
