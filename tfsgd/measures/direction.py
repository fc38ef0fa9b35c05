"""Where float32's softmax gradient vanishes, or points elsewhere than the exact one."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.attack import SOFTMAX, blocks
from tfsgd.measures.victim import Images, Labels, Mask, Victim

LEAST_COSINE = 0.9  # below it two directions differ


@dataclass(frozen=True)
class Direction:
    """See `tfsgd.measures.natural.ZeroGradients`."""

    fraction: float
    saturated: float
    misdirected: float


def direction(victim: Victim, images: Images, labels: Labels) -> Direction:
    """Shares of images `(N, height, width, channels)` with a zero, a saturated, a misdirected gradient."""
    found = []
    for block in blocks(np.arange(len(labels))):
        pair = images[block], labels[block]
        exact, softmax = (victim.gradient(*pair, loss) for loss in ("cross_entropy", SOFTMAX))
        zero = ~exact.any(axis=tuple(range(1, exact.ndim)))
        elsewhere = ~zero & ~(_cosine(exact, softmax) >= LEAST_COSINE)
        found.append([zero, saturated(victim.logits(pair[0]), pair[1]), elsewhere])
    return Direction(*(float(share) for share in np.concatenate(found, 1).mean(1)))


def saturated(logits: NDArray[np.float32], labels: Labels) -> Mask:
    """Where the softmax of logits `(N, classes)` rounds to 1 at the label, and p - y to 0."""
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(odds[np.arange(len(labels)), labels] == odds.sum(1))


def _cosine(a: Images, b: Images) -> NDArray[np.float64]:
    """Of each image's two gradients, `(N,)`; NaN where one is zero."""
    a, b = (g.reshape(len(g), -1).astype(np.float64) for g in (a, b))
    with np.errstate(invalid="ignore"):
        return (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
