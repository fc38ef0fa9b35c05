"""Loss and accuracy after each step of an attack."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.attack import IterativeAttack, assert_in_ball
from tfsgd.measures.natural_accuracy import figures
from tfsgd.measures.victim import Images, Labels, Victim


@dataclass(frozen=True)
class AttackPath:
    """How images do on their way through an attack.

    Attributes:
        steps: 0, the images as they are, to the last one, `(steps + 1,)`.
        losses: mean cross-entropy in nats, whatever loss the attack goes up, likewise.
        accuracies: shares of the images that get their true label, likewise; the last is the attack's own.
    """

    steps: NDArray[np.int64]
    losses: NDArray[np.float64]
    accuracies: NDArray[np.float64]


def path_of(
    spec: IterativeAttack, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int
) -> AttackPath:
    """Takes an attack's steps one by one; arguments as of `AttackSpec.run`.

    Raises:
        RequestError: the attack is more than one run.
        ArithmeticError: it left the ball.
    """
    found = [figures(victim.finite_logits(images).astype(np.float64), labels)]
    for reached in spec.path(victim, images, labels, epsilon, seed):
        found.append(figures(victim.finite_logits(reached).astype(np.float64), labels))
    assert_in_ball(reached, images, epsilon, spec.norm)
    losses, accuracies = (np.array(each) for each in zip(*((f.loss, f.accuracy) for f in found), strict=True))
    return AttackPath(np.arange(len(found)), losses, accuracies)
