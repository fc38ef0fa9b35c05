"""Transfer: perturbations that were made on another network (Papernot, McDaniel, Goodfellow 2016, arXiv:1605.07277)."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from pydantic import Field

from tfsgd.fields import Flag, Fraction
from tfsgd.measures.attack import GradientAttack, Outcome, Steps
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.victim import Images, Labels, Victim


class Transfer(GradientAttack):
    """PGD on a source network, judged on the victim: an image is broken if it or its perturbation is misclassified.

    A network that another one's perturbations break where its own do not hides its gradients (Carlini et al. 2019,
    section 4.8). On the source PGD goes on to the last step: what has only just crossed the source's boundary would
    transfer badly.

    Its values: `source_accuracy`, the share of the images that the source itself gets right after its last step; and
    `source_sha256`, of the source's file.

    Cost: PGD without early stopping on the source, computed once for all victims that are measured in one run; and a
    forward pass.

    Attributes:
        source: a trial of the same sweep, such as `lr/b0064-m0.0-s0`, or a `.keras` file: its path begins at the
            sweep's folder, and for networks from elsewhere at the working directory.
        steps: of PGD, as there, and so `relative_step_size`, `random_start` and `loss`.
    """

    source: Annotated[str, Field(min_length=1, max_length=1_000)]
    steps: Steps = 40
    relative_step_size: Fraction = 0.0333
    random_start: Flag = True

    def run(self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int) -> Outcome:
        """As `AttackSpec.run`.

        Raises:
            RequestError: the source is not there, does not fit the images, or has diverged.
        """
        source = victim.beside(self.source)
        found = source.perturbed(self._pgd(epsilon), images, labels, epsilon, seed)
        right = victim.predict(images) == labels
        moved = np.where(right.reshape(-1, 1, 1, 1), found.images, images)
        values = {"source_accuracy": float(found.correct.mean()), "source_sha256": source.sha256}
        return Outcome(moved, victim.predict(moved) == labels, values)

    def doubt(self) -> str:
        """As PGD's."""
        return self._pgd(self.epsilon[0]).doubt()

    def others(self) -> tuple[str, ...]:
        """The source."""
        return (self.source,)

    def at(self, epsilon: float) -> dict[str, Any]:
        """The length of a step in pixel units."""
        return {"step_size": self.relative_step_size * epsilon}

    def _pgd(self, epsilon: float) -> PGD:
        same = {
            key: getattr(self, key) for key in ("steps", "relative_step_size", "random_start", "loss", "norm")
        }
        return PGD(epsilon=(epsilon,), early_stop=False, **same)
