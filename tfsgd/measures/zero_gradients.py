"""Where float32's softmax gradient vanishes, or points elsewhere than the exact one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.attack import SOFTMAX, blocks
from tfsgd.measures.attacks.fgsm import FGSM
from tfsgd.measures.spec import Kind, Request, Spec
from tfsgd.measures.victim import Images, Labels, Mask, Victim

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject

MISDIRECTED = 0.02  # share of the images above which FGSM by float32's softmax says how sure a network is
LEAST_COSINE = 0.9  # below it two directions differ
LOOKED_AT = 1_000  # images, for a warning


class ZeroGradients(Spec):
    """What the loss's input gradient is good for, in float32, image by image.

    Its values, as shares of the images: `fraction`, whose gradient is exactly zero, so that no attack can move them;
    `saturated`, of which the network is so sure that the true class's term of the gradient that TensorFlow's softmax
    has is exactly zero; and `misdirected`, where that gradient points elsewhere: its cosine with the exact one is below
    0.9. An attack by `loss: softmax_cross_entropy` measures those images' confidence, not their robustness.

    Cost: two gradients, two steps of PGD on all images.
    """

    kind: ClassVar[Kind] = "gradient"
    revision: ClassVar[int] = 2  # the first counted zeros of the softmax's gradient

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        return asdict(direction(subject.victim, *subject.images(request.split, request.examples)))


@dataclass(frozen=True)
class Direction:
    """See `ZeroGradients`."""

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
