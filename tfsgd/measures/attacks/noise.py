"""Uniform noise: what a perturbation does that knows nothing of the network (Carlini et al. 2019, section 5.3)."""

from __future__ import annotations

from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from tfsgd.measures.attack import AttackSpec, Outcome
from tfsgd.measures.norms import Norm, random_perturbation
from tfsgd.measures.victim import Images, Labels, Victim


class Noise(AttackSpec):
    """x' = clip(x + u, 0, 1), u uniform in the ball: of L-infinity in [-epsilon, epsilon] for each pixel.

    A gradient attack that breaks fewer images is broken itself. Cost: a forward pass for each draw, 0.4
    steps of PGD.

    Attributes:
        draws: how many; an image is broken if the clean image or any draw is misclassified.
    """

    revision: ClassVar[int] = 1  # it asks for no cross-entropy

    norms: ClassVar[tuple[Norm, ...]] = ("Linf", "L2")

    draws: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 10

    def run(self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int) -> Outcome:
        """As `AttackSpec.run`. The noise of the first images does not depend on how many follow."""
        found, correct = images.copy(), victim.predict(images) == labels
        for draw in range(self.draws):
            left = np.flatnonzero(correct)
            if not left.size:
                break
            moved = np.clip(
                images[left] + random_perturbation(images.shape, epsilon, (seed, draw), self.norm)[left], 0, 1
            )
            broken = victim.predict(moved) != labels[left]
            found[left[broken]], correct[left[broken]] = moved[broken], False
        return Outcome(found, correct)
