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

# Of each version: APGD's steps, how many targets, APGD-T's steps, FMN's steps, Square's queries, FMN-T's steps.
VERSIONS = {"light": (50, 5, 40, 40, 50, 40), "standard": (100, 9, 100, 100, 5_000, 100)}


class Robust(AttackSpec):
    """An image is robust where no member of an ensemble breaks it: APGD, APGD-T, FMN, Square and FMN-T, one after the other.

    APGD goes up the cross-entropy, by its exact gradient; APGD-T up the targeted difference of logits ratio; FMN is
    `minimal`, and FMN-T the same towards each of the likeliest classes, which takes the place of AutoAttack's FAB-T; Square
    sees logits alone. Each attacks the images that those before it have left. FMN-T walks without the bound of epsilon, which
    it finds more by: only what it ends with must be within. `standard` has the steps, targets and queries of AutoAttack's
    standard version; `light` is for sweeps.

    Its values: `broken_by_apgd`, `broken_by_apgd_targeted`, `broken_by_minimal`, `broken_by_square`, `broken_by_minimal_targeted`,
    each the share of all images that this member was the first to break.

    Attributes:
        version: `light` or `standard`.
    """

    norms: ClassVar[tuple[Norm, ...]] = ("Linf", "L2")
    # In the first `light` had fewer steps and targets, in the second there was no FMN-T: it left up to 2 points more than AutoAttack.
    revision: ClassVar[int] = 3

    version: Literal["light", "standard"] = "light"

    def members(self, epsilon: float) -> dict[str, AttackSpec]:
        """The attacks of the ensemble at an epsilon, by their names, in their order."""
        steps, targets, targeted_steps, minimal_steps, queries, minimal_targeted_steps = VERSIONS[
            self.version
        ]
        towards: dict[str, Any] = {"target": "all", "most_targets": targets}
        at: dict[str, Any] = {"epsilon": (epsilon,), "norm": self.norm}
        anywhere: dict[str, Any] = {"epsilon": (LARGEST[self.norm],), "norm": self.norm}
        return {
            "apgd": APGD(steps=steps, **at),
            "apgd_targeted": APGD(steps=targeted_steps, loss="dlr", **towards, **at),
            "minimal": Minimal(steps=minimal_steps, **at),
            "square": Square(queries=queries, **at),
            "minimal_targeted": Minimal(steps=minimal_targeted_steps, **towards, **anywhere),
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
