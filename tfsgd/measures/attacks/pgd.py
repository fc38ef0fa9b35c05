"""PGD: projected gradient descent (Madry et al. 2018), with CleverHans's step and projection."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from typing import Any

import numpy as np
from pydantic import model_validator
from typing_extensions import Self

from tfsgd.fields import Flag, Fraction, Temperature
from tfsgd.measures.attack import Ascent, IterativeAttack, Outcome, Restarts, Steps
from tfsgd.measures.norms import random_perturbation
from tfsgd.measures.targets import Target, only_run, rounds, unfit_target
from tfsgd.measures.victim import Images, Labels, Victim


class PGD(IterativeAttack):
    """Steps along the sign of the gradient (of L2 along the gradient over its norm), each projected into the ball.

    Its value: `last_rise`, how much the last step raised the loss, the mean over the images that still get their
    label after all steps of the last run (nats, of the loss that the steps increase); `None` where none does. While
    it is not small, more steps may find more.

    Attributes:
        steps: how many.
        relative_step_size: length of each, times epsilon.
        random_start: start uniformly in the ball, else at the image.
        restarts: runs from different starts; an image counts as broken if any run breaks it.
        early_stop: an image is broken if the clean image, the start or the image after any step is
            misclassified; it is then attacked no further. Else only the image after the last step counts,
            as in CleverHans.
        temperature: the logits are divided by it before the loss: so large ones saturate no gradient (Carlini et
            al. 2019, section 4.11).
        target: go towards a class: `least_likely`, `all` others in turn, or a number, see `tfsgd.measures.targets`;
            broken is an image that is misclassified, as whatever class.
    """

    steps: Steps = 40
    relative_step_size: Fraction = 0.0333
    random_start: Flag = True
    restarts: Restarts = 1
    early_stop: Flag = True
    temperature: Temperature = 1.0
    target: Target | None = None

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
        how = self._how(epsilon)
        runs = product(range(self.restarts), rounds(self.target, victim, images, labels))
        for run, (_, targets) in enumerate(runs):
            left = np.flatnonzero(correct)
            start = self._start(images, epsilon, (seed, run))[left]
            towards = replace(how, targets=None if targets is None else targets[left])
            perturbed[left], correct[left], rise = victim.climb(images[left], labels[left], start, towards)
            rise = rise[correct[left] & np.isfinite(rise)]
        return Outcome(perturbed, correct, {"last_rise": float(rise.mean()) if rise.size else None})

    def path(
        self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int
    ) -> Iterator[Images]:
        """As `IterativeAttack.path`: a step at a time, each from where the last one ended."""
        targets = only_run(self.restarts, self.target, victim, images, labels)
        how, start = replace(self._how(epsilon), steps=1), self._start(images, epsilon, (seed, 0))
        reached = images.copy()
        under_way = victim.predict(images) == labels if self.early_stop else np.ones(len(images), bool)
        for _ in range(self.steps):
            left = np.flatnonzero(under_way)
            towards = replace(how, targets=None if targets is None else targets[left])
            reached[left], right = victim.ascend(images[left], labels[left], start[left], towards)
            start[left] = reached[left] - images[left]
            under_way[left] = right | (not self.early_stop)
            yield reached

    def settings(self) -> dict[str, Any]:
        """A temperature of 1 is none, as is no target, and is not told."""
        untold = (("temperature", 1.0), ("target", None))
        return {key: value for key, value in super().settings().items() if (key, value) not in untold}

    def unfit(self, classes: int) -> str:
        """A class that is not there."""
        return unfit_target(self.target, classes)

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
            f"{self.steps} steps of {self.relative_step_size:g} epsilon from {start} move no "
            f"{'pixel' if self.norm == 'Linf' else 'image'} by more "
            f"than {reach:.3g} epsilon: {missed} is never reached; take more or longer steps"
        )

    def at(self, epsilon: float) -> dict[str, Any]:
        """The length of a step in pixel units."""
        return {"step_size": self.relative_step_size * epsilon}

    def _how(self, epsilon: float) -> Ascent:
        return Ascent(
            epsilon, self.relative_step_size * epsilon, self.steps, self.early_stop,
            self.loss, self.temperature, self.norm,
        )  # fmt: skip

    def _start(self, images: Images, epsilon: float, key: tuple[int, int]) -> Images:
        """The perturbations that a run begins with."""
        if not self.random_start:
            return np.zeros_like(images)
        return random_perturbation(images.shape, epsilon, key, self.norm)
