"""The worst case over several attacks, image by image (Croce and Hein 2020, arXiv:2003.01690, section 6)."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np

from tfsgd.measures.attack import AttackSpec, Outcome
from tfsgd.measures.attacks.apgd import APGD
from tfsgd.measures.attacks.minimal import Minimal
from tfsgd.measures.attacks.square import Square
from tfsgd.measures.norms import Norm
from tfsgd.measures.victim import Images, Labels, Victim

# Of each version: APGD's steps, of how many targets and steps APGD-T, FMN's steps, Square's queries.
VERSIONS = {"light": (50, 5, 40, 40, 50), "standard": (100, 9, 100, 100, 5_000)}


class Robust(AttackSpec):
    """An image is robust where no member of an ensemble breaks it: APGD, APGD-T, FMN and Square, one after the other.

    APGD goes up the cross-entropy, by its exact gradient; APGD-T up the targeted difference of logits ratio; FMN is
    `minimal`, which takes the place of AutoAttack's FAB-T; Square sees logits alone. Each attacks the images that those
    before it have left. `standard` has the steps, targets, queries and order of AutoAttack's standard version; `light` is
    for sweeps.

    Its values: `broken_by_apgd`, `broken_by_apgd_targeted`, `broken_by_minimal`, `broken_by_square`, each the share of all
    images that this member was the first to break.

    Attributes:
        version: `light` or `standard`.
    """

    norms: ClassVar[tuple[Norm, ...]] = ("Linf", "L2")
    revision: ClassVar[int] = (
        2  # in the first `light` had fewer steps and targets, and left over a point more than `standard`
    )

    version: Literal["light", "standard"] = "light"

    @property
    def revised(self) -> int:
        """Only `light` was mended."""
        return self.revision if self.version == "light" else 1

    def members(self, epsilon: float) -> dict[str, AttackSpec]:
        """The attacks of the ensemble at an epsilon, by their names, in their order."""
        steps, targets, targeted_steps, minimal_steps, queries = VERSIONS[self.version]
        at: dict[str, Any] = {"epsilon": (epsilon,), "norm": self.norm}
        return {
            "apgd": APGD(steps=steps, **at),
            "apgd_targeted": APGD(steps=targeted_steps, loss="dlr", target="all", most_targets=targets, **at),
            "minimal": Minimal(steps=minimal_steps, **at),
            "square": Square(queries=queries, **at),
        }

    def run(self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int) -> Outcome:
        """As `AttackSpec.run`."""
        found, correct = images.copy(), victim.predict(images) == labels
        values = {}
        for name, member in self.members(epsilon).items():
            left = np.flatnonzero(correct)
            if left.size:
                outcome = member.run(victim, images[left], labels[left], epsilon, seed)
                found[left], correct[left] = outcome.images, outcome.correct
            values[f"broken_by_{name}"] = (len(left) - int(correct.sum())) / len(images)
        return Outcome(found, correct, values)
