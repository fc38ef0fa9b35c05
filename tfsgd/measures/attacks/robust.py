"""The worst case over several attacks, image by image (Croce and Hein 2020, arXiv:2003.01690, section 6)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from tfsgd.measures.attack import AttackSpec, Outcome
from tfsgd.measures.attacks.apgd import APGD
from tfsgd.measures.attacks.minimal import Minimal
from tfsgd.measures.attacks.square import Square
from tfsgd.measures.norms import LARGEST, Norm
from tfsgd.measures.victim import Images, Labels, Victim

# Of each version: APGD's steps, how many targets, APGD-T's steps, FMN's steps, Square's queries.
VERSIONS = {"light": (50, 5, 40, 40, 50), "standard": (100, 9, 100, 100, 5_000)}


class Robust(AttackSpec):
    """An image is robust where no member of an ensemble breaks it: APGD, APGD-T, FMN, Square, and FMN without a bound.

    APGD goes up the cross-entropy, by its exact gradient; APGD-T up the targeted difference of logits ratio; FMN is
    `minimal`; Square sees logits alone. Each attacks the images that those before it have left. The last is `minimal` again,
    whose walk may leave the ball, while what it ends with must be within: from farther away it comes back to nearer points.
    In `standard` it walks towards each class, and takes the place of AutoAttack's FAB-T. `standard` has the steps, targets and
    queries of AutoAttack's standard version; `light` is for sweeps.

    Its values: `broken_by_apgd`, `broken_by_apgd_targeted`, `broken_by_minimal`, `broken_by_square`, `broken_by_minimal_unbounded`,
    each the share of all images that this member was the first to break.

    Attributes:
        version: `light` or `standard`.
    """

    norms: ClassVar[tuple[Norm, ...]] = ("Linf", "L2")
    # In the first `light` had fewer steps and targets, in the second all stayed within the ball, and left up to 2 points more.
    revision: ClassVar[int] = 3

    version: Literal["light", "standard"] = "light"

    def members(self, epsilon: float) -> dict[str, AttackSpec]:
        """The attacks of the ensemble at an epsilon, by their names, in their order."""
        steps, targets, targeted_steps, minimal_steps, queries = VERSIONS[self.version]
        towards: dict[str, Any] = {"target": "all", "most_targets": targets}
        at: dict[str, Any] = {"epsilon": (epsilon,), "norm": self.norm}
        anywhere: dict[str, Any] = {"epsilon": (LARGEST[self.norm],), "norm": self.norm}
        return {
            "apgd": APGD(steps=steps, **at),
            "apgd_targeted": APGD(steps=targeted_steps, loss="dlr", **towards, **at),
            "minimal": Minimal(steps=minimal_steps, **at),
            "square": Square(queries=queries, **at),
            "minimal_unbounded": Minimal(
                steps=minimal_steps, **(towards if self.version == "standard" else {}), **anywhere
            ),
        }

    def run(self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int) -> Outcome:
        """As `AttackSpec.run`."""
        found, correct = images.copy(), victim.predict(images) == labels
        values = {}
        for name, member in self.members(epsilon).items():
            left = np.flatnonzero(correct)
            if left.size:
                bound = member.epsilon[0]
                outcome = member.run(victim, images[left], labels[left], bound, seed)
                is_within = np.full(len(left), bound <= epsilon)
                if outcome.distance is not None and bound > epsilon:
                    is_within = outcome.distance <= epsilon
                found[left[is_within]] = outcome.images[is_within]
                correct[left] = outcome.correct | ~is_within
            values[f"broken_by_{name}"] = (len(left) - int(correct.sum())) / len(images)
        return Outcome(found, correct, values)
