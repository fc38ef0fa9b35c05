"""Where float32's softmax gradient vanishes, or points elsewhere than the exact one."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.always import MISDIRECTED
from tfsgd.measures.attack import SOFTMAX, blocks
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.measures.victim import Images, Labels, Mask, Victim

LEAST_COSINE = 0.9  # below it two directions differ
LOOKED_AT = 1_000  # images, for a warning


@dataclass(frozen=True)
class Direction:
    """See `tfsgd.measures.always.ZeroGradients`."""

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


def float32_warning(victim: Victim, images: Images, labels: Labels, epsilons: Sequence[float]) -> str:
    """What FGSM by float32's softmax would have given, and why, in one line; empty where that is no other number; of the first images alone."""
    images, labels = images[:LOOKED_AT], labels[:LOOKED_AT]
    share = direction(victim, images, labels).misdirected
    if share <= MISDIRECTED:
        return ""
    left = {
        loss: [
            FGSM(epsilon=(e,), loss=loss).run(victim, images, labels, e, 0).correct.mean() for e in epsilons
        ]
        for loss in ("cross_entropy", SOFTMAX)
    }
    told = "; ".join(
        f"{softmax:.1%} for {exact:.1%} at epsilon {e:g}"
        for e, exact, softmax in zip(epsilons, *left.values(), strict=True)
    )
    return (
        f"the network is so sure of its answers that float32's softmax gradient points elsewhere at {share:.1%} of the "
        f"{len(labels):,} images: FGSM by loss={SOFTMAX}, as in CleverHans, Foolbox and ART, leaves {told} by the exact "
        "gradient (docs/float32-and-fgsm.md)"
    )


def saturated(logits: NDArray[np.float32], labels: Labels) -> Mask:
    """Where the softmax of logits `(N, classes)` rounds to 1 at the label, and p - y to 0."""
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(odds[np.arange(len(labels)), labels] == odds.sum(1))


def _cosine(one: Images, other: Images) -> NDArray[np.float64]:
    """Of each image's two gradients, `(N,)`; NaN where one is zero."""
    a, b = (g.reshape(len(g), -1).astype(np.float64) for g in (one, other))
    with np.errstate(invalid="ignore"):
        return np.asarray((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)))
