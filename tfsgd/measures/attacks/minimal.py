"""The smallest epsilon that breaks each image: the fast minimum-norm attack (Pintor et al. 2021)."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import model_validator
from typing_extensions import Self

from tfsgd.measures.attack import AttackSpec, Outcome, Steps, blocks
from tfsgd.measures.norms import Ball, Norm, length, slope, steepest
from tfsgd.measures.targets import Target, Targets, rounds, unfit_target, without_target
from tfsgd.measures.victim import Images, Labels, Mask, Victim

# Pintor et al. 2021, section 3: the L2 length of a step and the relative change of an image's radius, first and last.
STEP_SIZE = (1.0, 0.01)
SHRINKING = (0.05, 0.001)
BEYOND = float(np.finfo(np.float32).eps)  # what a radius gets on top that ends on a tie, at first


class Minimal(AttackSpec):
    """For each image the distance to the nearest misclassified point that is found, at most the block's one epsilon.

    It tells networks apart where one epsilon, at which all images break or none, cannot. Each image walks up its
    margin loss, max_{i != y} z_i - z_y, in the direction of the gradient, inside a ball of its own, whose radius
    shrinks while the image is misclassified and grows while it is not; until it is for the first time, the radius
    is where the linear margin is zero, and beyond it, by twice as much each time, where logits tie or the margin does not
    change. Steps and changes of the radius become small as a half cosine (Pintor, Roli, Brendel and Biggio 2021,
    algorithm 1; there it stays on ties). What is given is the distance of a point that is misclassified, an upper bound
    of the true one. Of L2 it differs where that algorithm stays behind: steps are shares of the radius, a pixel at 0 or 1
    has no gradient that leads out, and the radius does not shrink before an image is misclassified.

    An image that is misclassified clean has 0; one that holds out within the block's epsilon is
    censored. It draws nothing.

    Its values, in pixel units: `lower_quartile`, `median`, `upper_quartile` over all images, each the smallest
    distance within which that share of them is broken, `None` where so many are not; and `censored`, the share of
    the images that hold out.

    Attributes:
        steps: gradients for each image and target.
        target: it walks up z_t - z_y, the difference to the logit of this class, in place of the margin loss, as APGD's; of
            `all` the nearest point of all runs counts: the margin may lead to a class whose boundary is not the nearest.
        most_targets: of `all` the likeliest so many.
    """

    revision: ClassVar[int] = 1  # it asks for no cross-entropy
    norms: ClassVar[tuple[Norm, ...]] = ("Linf", "L2")

    steps: Steps = 100
    target: Target | None = None
    most_targets: Targets = 9

    @model_validator(mode="after")
    def _one_bound(self) -> Self:
        if len(self.epsilon) != 1:
            raise ValueError("epsilon: expected one value, the largest that is tried")
        return self

    def run(self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int) -> Outcome:
        """As `AttackSpec.run`."""
        found, correct = images.copy(), victim.predict(images) == labels
        distance = np.where(correct, np.inf, 0.0)
        for part in blocks(np.flatnonzero(correct)):
            of_part = images[part], labels[part]
            for targets in rounds(self.target, victim, *of_part, self.most_targets):
                nearest, long = self._nearest(victim, *of_part, targets, epsilon)
                nearer = long <= distance[part]
                found[part[nearer]], distance[part[nearer]] = nearest[nearer], long[nearer]
        return Outcome(found, np.isinf(distance), summary(distance), distance)

    def settings(self) -> dict[str, Any]:
        """Without a target nothing is told of it."""
        return without_target(super().settings())

    def unfit(self, classes: int) -> str:
        """A class that is not there."""
        return unfit_target(self.target, classes)

    def _nearest(
        self, victim: Victim, images: Images, labels: Labels, targets: Labels | None, epsilon: float
    ) -> tuple[Images, NDArray[np.float64]]:
        """The nearest misclassified point of each image and its distance; where none is, the last point and infinity."""
        nearest, distance = images.copy(), np.full(len(images), np.inf)
        reached, radius = images, np.zeros(len(images))
        before, beyond = np.full(len(images), np.nan), np.zeros(len(images))

        def keep(broken: Mask) -> NDArray[np.float64]:
            long = length(reached - images, self.norm)
            better = np.where(broken, long, np.inf) < distance
            nearest[better], distance[better] = reached[better], long[better]
            return long

        for k in range(self.steps):
            predicted, loss, gradient = victim.value_and_gradient(reached, labels, "margin", targets)
            if self.norm == "L2":
                gradient = np.where(_at_the_edge(reached, gradient), 0, gradient)
            broken = predicted != labels
            long, steep = keep(broken), slope(gradient, self.norm)
            linear = long + np.divide(-loss, steep, out=np.full(len(images), np.inf), where=steep > 0)
            # On a tie of logits, or where rounding eats the linear step, it ends where it began.
            beyond = np.where((loss == 0) | (loss == before), np.maximum(2 * beyond, BEYOND), 0)
            before, linear = loss, linear + beyond
            shrinking = self._at(k, SHRINKING)
            grown = radius * (1 + shrinking)
            if (
                self.norm == "L2"
            ):  # it is never shorter than it was: a clipped step falls short of the linear one
                linear = np.maximum(linear, grown)
            out = np.where(np.isinf(distance), linear, grown)
            radius = np.where(broken, np.minimum(radius * (1 - shrinking), distance), out).clip(0, epsilon)
            step = np.float32(self._at(k, STEP_SIZE)) * steepest(gradient, "L2")
            if self.norm == "L2":
                step *= radius.astype(np.float32).reshape(-1, *[1] * (images.ndim - 1))
            reached = Ball(self.norm, radius).into(images, reached + step)
        keep(victim.predict(reached) != labels)
        nearest[np.isinf(distance)] = reached[np.isinf(distance)]
        return nearest, distance

    def _at(self, step: int, ends: tuple[float, float]) -> float:
        """From the first value to the last as a half cosine."""
        first, last = ends
        return last + (first - last) * (1 + math.cos(math.pi * step / self.steps)) / 2


def _at_the_edge(images: Images, gradient: Images) -> Mask:
    """Where a pixel cannot follow its gradient."""
    return ((images <= 0) & (gradient < 0)) | ((images >= 1) & (gradient > 0))


def summary(distance: NDArray[np.float64]) -> dict[str, Any]:
    """Quartiles and censored share of distances `(N,)`, infinite where none was found."""
    quartiles = np.quantile(distance, [0.25, 0.5, 0.75], method="inverted_cdf")
    names = ("lower_quartile", "median", "upper_quartile")
    return {
        **{n: float(q) if np.isfinite(q) else None for n, q in zip(names, quartiles, strict=True)},
        "censored": float(np.isinf(distance).mean()),
    }
