"""Auto-PGD: PGD that finds its step size by itself (Croce and Hein 2020, arXiv:2003.01690, algorithm 1)."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, fields
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.attack import IterativeAttack, Outcome, Restarts, Steps, blocks
from tfsgd.measures.norms import Ball, random_perturbation, steepest
from tfsgd.measures.targets import Target, Targets, only_run, rounds, unfit_target, without_target
from tfsgd.measures.victim import Images, Labels, Mask, Victim

MOMENTUM = 0.75  # alpha: what of a step is new
RISES = 0.75  # rho: fewer steps than this share that raised the loss, and the step is halved
FIRST_CHECKPOINT, SHORTER, SHORTEST = 0.22, 0.03, 0.06  # as shares of the steps


class APGD(IterativeAttack):
    """Steps along the gradient's sign (of L2 along the gradient over its norm) with momentum, halved at checkpoints where the loss has stopped to rise.

    z = P(x_k + eta s(g_k)), s the sign or g / |g|; x_{k+1} = P(x_k + 0.75 (z - x_k) + 0.25 (x_k - x_{k-1})), P the projection into the
    ball and [0, 1], eta = 2 epsilon at first. At each checkpoint an image's eta is halved, and it goes on from its
    best point, if the loss rose in fewer than 0.75 of the steps since the last one, or if neither eta nor the best
    loss has changed since. An image is broken if the clean image, a start or the image after any step is
    misclassified; it is then attacked no further.

    Cost: a step costs as much as one of PGD (1.0 times with StdCNN); there are 100 as in AutoAttack, not PGD's 40.

    Attributes:
        steps: how many.
        restarts: runs from different uniform starts in the ball.
        target: as PGD's; with `loss: dlr` and `all` this is AutoAttack's APGD-T (there section 4, and equation 7).
        most_targets: of `all` the likeliest so many.
    """

    steps: Steps = 100
    restarts: Restarts = 1
    target: Target | None = None
    most_targets: Targets = 9

    def run(self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int) -> Outcome:
        """As `AttackSpec.run`. The starts of the first images do not depend on how many follow.

        The images are the misclassified ones where they were found, else those of the largest loss.
        """
        found, correct = images.copy(), victim.predict(images) == labels
        ball = Ball(self.norm, epsilon)
        runs = product(range(self.restarts), rounds(self.target, victim, images, labels, self.most_targets))
        for run, (_, targets) in enumerate(runs):
            left = np.flatnonzero(correct)
            start = random_perturbation(images.shape, epsilon, (seed, run), self.norm)[left]
            start += images[left]
            for block in blocks(np.arange(len(left))):
                here = left[block]
                towards = (labels if targets is None else targets)[here]
                way = _ApgdState.at(images[here], labels[here], towards, start[block], ball)
                [(found[here], correct[here])] = deque(self._ascend(victim, way, ball), 1)
        return Outcome(found, correct)

    def path(
        self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int
    ) -> Iterator[Images]:
        """As `IterativeAttack.path`: of an image that is not broken the point of the largest loss so far."""
        targets = only_run(self.restarts, self.target, victim, images, labels)
        reached, ball = images.copy(), Ball(self.norm, epsilon)
        left = np.flatnonzero(victim.predict(images) == labels)
        start = random_perturbation(images.shape, epsilon, (seed, 0), self.norm)[left] + images[left]
        towards = (labels if targets is None else targets)[left]
        way = _ApgdState.at(images[left], labels[left], towards, start, ball)
        ascent = self._ascend(victim, way, ball) if left.size else iter(())
        next(ascent, None)  # where it starts
        for _ in range(self.steps):
            reached[left], _ = next(ascent, (reached[left], None))  # it ends where all are broken
            yield reached

    def settings(self) -> dict[str, Any]:
        """Without a target nothing is told of it."""
        return without_target(super().settings())

    def unfit(self, classes: int) -> str:
        """A class that is not there."""
        return unfit_target(self.target, classes)

    def at(self, epsilon: float) -> dict[str, Any]:
        """The length of the first step in pixel units."""
        return {"step_size": 2 * epsilon}

    def _ascend(self, victim: Victim, way: _ApgdState, ball: Ball) -> Iterator[tuple[Images, Mask]]:
        """Before the first step and after each: what it has of each image, and which of them still get their label."""
        reached, correct = way.point.copy(), np.ones(len(way.point), bool)
        checks, since = checkpoints(self.steps), 0
        for step in range(self.steps + 1):
            if step:
                way.move(MOMENTUM if step > 1 else 1.0, ball)
            predicted = way.look(victim, self.loss, self.target is not None)
            broken = predicted != way.labels
            if broken.any():
                reached[way.index[broken]], correct[way.index[broken]] = way.point[broken], False
                way = way.those(~broken)
            reached[way.index] = way.best
            yield reached, correct
            if not len(way.index):
                return
            if step in checks:
                way.check(step - since)
                since = step


def checkpoints(steps: int) -> set[int]:
    """The steps ceil(p_j N): p_1 = 0.22, p_{j+1} = p_j + max(p_j - p_{j-1} - 0.03, 0.06)."""
    found, share, length = set(), FIRST_CHECKPOINT, FIRST_CHECKPOINT
    while share <= 1:
        found.add(math.ceil(round(share * steps, 9)))
        length = max(length - SHORTER, SHORTEST)
        share += length
    return found


@dataclass
class _ApgdState:
    """The images of a block that are not broken yet; each array's first axis is theirs."""

    index: NDArray[np.int64]  # in the block
    labels: Labels
    targets: Labels  # the labels where there are none
    clean: Images
    point: Images
    before: Images
    best: Images
    gradient: Images
    best_gradient: Images
    loss: NDArray[np.float32]  # (N,), and so are all below
    best_loss: NDArray[np.float32]
    checked_loss: NDArray[np.float32]  # the best one at the last checkpoint
    halved: Mask  # whether the step was, at the last checkpoint
    rises: NDArray[np.int64]  # steps since then that raised the loss
    step_size: NDArray[np.float32]

    @classmethod
    def at(cls, clean: Images, labels: Labels, targets: Labels, start: Images, ball: Ball) -> _ApgdState:
        """Before the first look."""
        point, count = _into(ball, clean, start), len(clean)
        lowest = np.full(count, -np.inf, np.float32)
        return cls(
            np.arange(count), labels, targets, clean, point, point, point.copy(), np.zeros_like(point), np.zeros_like(point),
            -lowest, lowest, lowest, np.ones(count, bool), np.zeros(count, np.int64),
            np.full(count, 2 * ball.radius, np.float32),
        )  # fmt: skip

    def those(self, mask: Mask) -> _ApgdState:
        return _ApgdState(*(getattr(self, field.name)[mask] for field in fields(self)))

    def move(self, momentum: float, ball: Ball) -> None:
        """One step, `momentum` of it new."""
        step_size = self.step_size.reshape(-1, *[1] * (self.point.ndim - 1))
        new = (
            _into(ball, self.clean, self.point + step_size * steepest(self.gradient, ball.norm)) - self.point
        )
        old = self.point - self.before
        self.before = self.point
        moved = self.point + np.float32(momentum) * new + np.float32(1 - momentum) * old
        self.point = _into(ball, self.clean, moved)

    def look(self, victim: Victim, loss: str, targeted: bool) -> Labels:
        """Loss and gradient where the images are now; the predicted classes."""
        targets = self.targets if targeted else None
        predicted, losses, self.gradient = victim.value_and_gradient(self.point, self.labels, loss, targets)
        self.rises += losses > self.loss
        better = losses > self.best_loss
        self.best[better], self.best_gradient[better] = self.point[better], self.gradient[better]
        self.best_loss = np.where(better, losses, self.best_loss)
        self.loss = losses
        return predicted

    def check(self, steps: int) -> None:
        """Halves the step and goes back to the best point, where the last so many steps did too little."""
        unchanged = ~self.halved & (self.best_loss == self.checked_loss)
        self.halved = (self.rises < RISES * steps) | unchanged
        self.step_size = np.where(self.halved, self.step_size / 2, self.step_size)
        self.point[self.halved] = self.best[self.halved]
        self.gradient[self.halved] = self.best_gradient[self.halved]
        self.loss = np.where(self.halved, self.best_loss, self.loss)
        self.checked_loss, self.rises = self.best_loss, np.zeros_like(self.rises)


def _into(ball: Ball, clean: Images, point: Images) -> Images:
    """Back into the ball and [0, 1]; of L-infinity these are one box, to whose corners rounding leads alike."""
    if ball.norm == "L2":
        return ball.into(clean, point)
    radius = np.float32(ball.radius)
    return np.clip(point, np.maximum(clean - radius, 0), np.minimum(clean + radius, 1))
