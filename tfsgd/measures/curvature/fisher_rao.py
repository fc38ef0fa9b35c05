"""The Fisher-Rao norm: how far the loss moves as all weights grow together."""

from typing import cast

import numpy as np

from tfsgd.measures.curvature_spec import Curvature, Matvec
from tfsgd.measures.logit_losses import probabilities, slopes, unit
from tfsgd.measures.sharpness_spec import Array, LossInWeights, SharpnessSpec, mean_and_error


class FisherRao(SharpnessSpec):
    """sqrt(w'Fw), F the mean over images of the loss's gradient times itself: in nats.

    Liang et al. 2019 (arXiv:1711.01530, definition 2), with the images' own labels. It is the root mean square of what
    the images' losses change when all weights grow by the same share, to first order, and no rescaling of layers moves it.
    `of_model` is the same over labels that the network itself would draw (F is then the Fisher information, and the
    Gauss-Newton part of the Hessian). Its error is the standard error over images.

    Cost: about three gradients, which count as a product.
    """

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`, with a loss that knows its weights, see `LossInWeights`; nothing is drawn."""
        source = cast(LossInWeights, matvec)
        logits, moved = source.logits(source.weights)
        squares = _moved(logits, moved, source.labels, self.normalized) ** 2
        value, error = mean_and_error(squares)
        norm = float(np.sqrt(value))
        odds = probabilities(unit(logits) if self.normalized else logits)
        drawn = np.zeros(len(logits))
        for label in range(logits.shape[1]):
            labels = np.full(len(logits), label)
            drawn += odds[:, label] * _moved(logits, moved, labels, self.normalized) ** 2
        off_by = error / (2 * norm) if norm > 0 else 0.0
        known = bool(np.isfinite([norm, off_by]).all())
        return Curvature(norm, off_by, 1, known, {"of_model": float(np.sqrt(drawn.mean()))})


def _moved(logits: Array, moved: Array, labels: np.ndarray, normalized: bool) -> Array:
    """What each image's loss changes, `(N,)`."""
    return np.asarray((slopes(logits, labels, normalized) * moved).sum(1))
