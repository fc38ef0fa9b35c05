"""FGSM: the fast gradient sign method (Goodfellow et al. 2015), CleverHans's step."""

from __future__ import annotations

from typing import Any

from tfsgd.measures.attack import GradientAttack, Outcome
from tfsgd.measures.victim import Images, Labels, Victim


class FGSM(GradientAttack):
    """One step of length epsilon along the sign of the gradient; the image after it counts.

    Of L2 it is along the gradient over its norm.

    By `softmax_cross_entropy` it takes the sign of what float32 has left of the gradient: where the network is sure,
    that of other classes' terms alone. At a large epsilon its accuracy then measures the share of such images.
    """

    def run(self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int) -> Outcome:
        """As `AttackSpec.run`; nothing is drawn."""
        perturbed = victim.step(images, labels, epsilon, self.loss, self.norm)
        return Outcome(perturbed, victim.predict(perturbed) == labels)

    def at(self, epsilon: float) -> dict[str, Any]:
        """One step, of length epsilon."""
        return {"steps": 1, "step_size": epsilon}
