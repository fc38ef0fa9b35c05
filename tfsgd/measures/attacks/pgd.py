"""PGD: projected gradient descent (Madry et al. 2018), with CleverHans's step and projection."""

from __future__ import annotations

from typing import Any

import numpy as np
from pydantic import model_validator
from typing_extensions import Self

from tfsgd.fields import Flag, Fraction, Temperature
from tfsgd.measures.attack import Ascent, GradientAttack, Outcome, Restarts, Steps
from tfsgd.measures.victim import Images, Labels, Victim


class PGD(GradientAttack):
    """Steps along the sign of the gradient, each projected into the ball.

    Its value: `last_rise`, how much the last step raised the loss, the mean over the images that still get their
    label after all steps of the last run (nats, of the loss that the steps increase); `None` where none does. While
    it is not small, more steps may find more.

    Attributes:
        steps: how many.
        relative_step_size: L-infinity length of each, times epsilon.
        random_start: start uniformly in the ball, else at the image.
        restarts: runs from different starts; an image counts as broken if any run breaks it.
        early_stop: an image is broken if the clean image, the start or the image after any step is
            misclassified; it is then attacked no further. Else only the image after the last step counts,
            as in CleverHans.
        temperature: the logits are divided by it before the loss: so large ones saturate no gradient (Carlini et
            al. 2019, section 4.11).
    """

    steps: Steps = 40
    relative_step_size: Fraction = 0.0333
    random_start: Flag = True
    restarts: Restarts = 1
    early_stop: Flag = True
    temperature: Temperature = 1.0

    @model_validator(mode="after")
    def _restarts_differ(self) -> Self:
        if self.restarts > 1 and not self.random_start:
            raise ValueError("restarts: more than 1 needs random_start: true, else all restarts are the same")
        return self

    def run(self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int) -> Outcome:
        """As `AttackSpec.run`.

        The random starts are drawn image by image: the first images' starts do not depend on how many
        follow. The images are the misclassified ones where they were found, else the last iterates.
        """
        perturbed = images.copy()
        correct = victim.predict(images) == labels if self.early_stop else np.ones(len(images), bool)
        rise = np.zeros(0, np.float32)
        step_size = self.relative_step_size * epsilon
        how = Ascent(epsilon, step_size, self.steps, self.early_stop, self.loss, self.temperature)
        for restart in range(self.restarts):
            left = np.flatnonzero(correct)
            start = (
                random_start(images.shape, epsilon, (seed, restart))[left]
                if self.random_start
                else np.zeros_like(images[left])
            )
            perturbed[left], correct[left], rise = victim.climb(images[left], labels[left], start, how)
            rise = rise[correct[left] & np.isfinite(rise)]
        return Outcome(perturbed, correct, {"last_rise": float(rise.mean()) if rise.size else None})

    def settings(self) -> dict[str, Any]:
        """A temperature of 1 is none, and is not told."""
        told = super().settings()
        return {key: value for key, value in told.items() if (key, value) != ("temperature", 1.0)}

    def doubt(self) -> str:
        """Too few or too short steps end near where they begin."""
        reach = self.steps * self.relative_step_size
        if reach >= 1:
            return ""
        start, missed = (
            ("a random start", "most of the ball")
            if self.random_start
            else ("the image itself", "the surface of the ball")
        )
        return (
            f"{self.steps} steps of {self.relative_step_size:g} epsilon from {start} move no pixel by more "
            f"than {reach:.3g} epsilon: {missed} is never reached; take more or longer steps"
        )

    def at(self, epsilon: float) -> dict[str, Any]:
        """The length of a step in pixel units."""
        return {"step_size": self.relative_step_size * epsilon}


def random_start(shape: tuple[int, ...], epsilon: float, key: tuple[int, int]) -> Images:
    """Uniform in [-epsilon, epsilon], in place: memory is what an attack on all images is short of."""
    start = np.random.default_rng(key).random(shape, np.float32)
    start *= 2
    start -= 1
    start *= np.float32(epsilon)
    return start
