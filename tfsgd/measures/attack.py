"""What every attack has: epsilons, images, and a `run` that says which of them still get their label."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field, model_validator
from typing_extensions import Self

from tfsgd.fields import Count, Epsilon
from tfsgd.measures.norms import LARGEST, NAMES, Norm, length
from tfsgd.measures.spec import Kind, Request, Spec
from tfsgd.measures.victim import Images, Labels, Mask, Victim

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject

BALL_TOLERANCE = 1e-6  # float32 rounding of x + epsilon
Steps = Annotated[int, Field(strict=True, ge=1, le=100_000)]  # of an attack on one image
Restarts = Annotated[int, Field(strict=True, ge=1, le=1_000)]


@dataclass(frozen=True)
class Outcome:
    """What an attack left.

    Attributes:
        images: the perturbed images, `(N, height, width, channels)` in [0, 1].
        correct: which of them still get their true label, bool `(N,)`; its mean is the adversarial accuracy.
        values: whatever else it found, for the record: numbers or lists of numbers.
        distance: of an attack that searches it the smallest epsilon of each image, `(N,)`, infinite where there is none.
    """

    images: Images
    correct: Mask
    values: dict[str, Any] = field(default_factory=dict)
    distance: NDArray[np.float64] | None = None

    def packed(self) -> NDArray[np.generic]:
        """What became of every image, as `outcomes.npz` keeps it: bits, or smallest epsilons in float32."""
        return np.packbits(self.correct) if self.distance is None else self.distance.astype(np.float32)


@dataclass(frozen=True)
class Ascent:
    """How an attack goes up the loss.

    Attributes:
        epsilon: radius of the ball, of all images or one for each, `(N,)`.
        step_size: length of each step, likewise.
        steps: how many.
        early_stop: an image goes no further once it is misclassified, at the start or after any step.
        loss: of `tfsgd.networks.losses.LOSSES`.
        temperature: by which the logits are divided before the loss.
        norm: of the ball, in which the steps are steepest.
        targets: classes towards which the images go, `(N,)`; `None`: away from their labels.
    """

    epsilon: float | NDArray[np.float32]
    step_size: float | NDArray[np.float32]
    steps: int
    early_stop: bool
    loss: str = "cross_entropy"
    temperature: float = 1.0
    norm: str = "Linf"
    targets: Labels | None = None


IMAGES_UNDER_WAY = 1_024  # where an attack keeps several arrays for each image: memory, not mathematics


def blocks(indices: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """The indices in pieces of at most `IMAGES_UNDER_WAY`."""
    return (indices[i : i + IMAGES_UNDER_WAY] for i in range(0, len(indices), IMAGES_UNDER_WAY))


class AttackSpec(Spec):
    """An attack in the ball of radius epsilon around each image, images in [0, 1].

    Attributes:
        norms: those that it can be run in; none: that of its default.
        attack: the kind: a file of `tfsgd.measures.attacks`, or `module:Class`; by default the block's label.
        norm: of the ball: `Linf`, the largest change of a pixel, or `L2`, the root of the sum of their squares.
        epsilon: radii at which it is run, of `Linf` each in [0, 1].
        examples: of the test images, from the first on; `None`: all.
    """

    kind: ClassVar[Kind] = "attack"
    revision: ClassVar[int] = (
        2  # the victim's cross-entropy had the gradient of `softmax_cross_entropy` in the first
    )

    norms: ClassVar[tuple[Norm, ...]] = ()

    attack: str = ""
    norm: Norm = "Linf"
    epsilon: Annotated[tuple[Epsilon, ...], Field(min_length=1)]
    examples: Count | None = None

    @model_validator(mode="after")
    def _epsilon_fits_the_norm(self) -> Self:
        allowed = type(self).norms or (type(self).model_fields["norm"].default,)
        if self.norm not in allowed:
            kind = self.attack or "this attack"
            raise ValueError(f"norm: expected {' or '.join(allowed)} for {kind}, received '{self.norm}'")
        if self.epsilon and max(self.epsilon) > LARGEST[self.norm]:
            more = "; norm: L2 takes more" if self.norm == "Linf" and "L2" in allowed else ""
            raise ValueError(
                f"epsilon: expected less than or equal to {LARGEST[self.norm]:g}, received "
                f"{max(self.epsilon):g}{more}"
            )
        return self

    def run(self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int) -> Outcome:
        """Attacks images `(N, height, width, channels)` with true labels `(N,)`.

        Args:
            victim: the network, and what may be asked of it.
            images: clean images in [0, 1].
            labels: their true labels.
            epsilon: radius of the ball around each image.
            seed: of whatever is drawn.

        Returns:
            Perturbed images in the ball and in [0, 1], which is checked, and which of them keep their label.
        """
        raise NotImplementedError

    def values_on(self, subject: Subject, request: Request) -> Mapping[str, Any]:
        """As `Spec.values_on`."""
        assert request.epsilon is not None
        images, labels = subject.images(request.split, request.examples)
        outcome = run_checked(self, subject.victim, images, labels, request.epsilon, request.seed)
        clean = subject.clean(request.split, request.examples)
        return {
            "accuracy": float(outcome.correct.mean()),
            "clean_accuracy": float(clean.mean()),
            **outcome.values,
            "outcomes_sha256": subject.keep(request, outcome.packed()),
        }

    def telling(self) -> dict[str, Any]:
        """What determines a shipped attack's perturbations at its first epsilon: its kind, and settings other than by default."""
        revision = {"revision": self.revised} if self.revised > 1 else {}
        return {"attack": self.attack, "epsilon": self.epsilon[0], **self.unusual(), **revision}

    def doubt(self) -> str:
        """What makes these settings weaker than they look, in one line; empty where nothing does."""
        return ""

    def unfit(self, classes: int) -> str:
        """What these settings ask for that is not there, in one line that begins with their key; empty: nothing.

        Args:
            classes: of the data set.
        """
        return ""

    def others(self) -> tuple[str, ...]:
        """The names of other networks that it needs."""
        return ()

    def at(self, epsilon: float) -> dict[str, Any]:
        """What follows from the settings at an epsilon, for the record."""
        return {}


SOFTMAX = "softmax_cross_entropy"  # what `cross_entropy` was in the first revision


class GradientAttack(AttackSpec):
    """An attack that goes up the gradient of a loss.

    Attributes:
        loss: what its steps increase, see `tfsgd.networks.losses`: the cross-entropy, by a gradient that is exact
            however sure the network is; the same by the gradient that TensorFlow's softmax has in float32, and
            CleverHans, Foolbox and ART with it; the margin of the largest other logit, or its ratio to the spread of
            the logits.
    """

    norms: ClassVar[tuple[Norm, ...]] = ("Linf", "L2")

    loss: Literal["cross_entropy", "softmax_cross_entropy", "margin", "dlr"] = "cross_entropy"

    @property
    def revised(self) -> int:
        """Only the cross-entropy was mended."""
        return self.revision if self.loss == "cross_entropy" else 1

    def unusual(self) -> dict[str, Any]:
        """Softmax was the default of the first revision, and entered no identity."""
        return {key: value for key, value in super().unusual().items() if (key, value) != ("loss", SOFTMAX)}


class IterativeAttack(GradientAttack):
    """An attack by steps, after each of which may be asked what it has: see `tfsgd.attack_path`."""

    def path(
        self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int
    ) -> Iterator[Images]:
        """What `run` would leave of the images if it ended after each step; arguments as of `run`.

        The last is what it leaves. An array may be written over for the next step.

        Raises:
            RequestError: it is more than one run.
        """
        raise NotImplementedError


def run_checked(
    spec: AttackSpec, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int
) -> Outcome:
    """Runs an attack on images and labels that it cannot change, and holds it to what it promises.

    Raises:
        ValueError: it writes into its images or labels.
        TypeError: it returns something else than perturbed images, and which of them keep their label.
        ArithmeticError: a perturbed image is outside the ball, or outside [0, 1]; or an attack of one's own says
            of images that they keep their label, or lose it, and the network says otherwise.
    """
    # A view can be unlocked.
    given = [array.copy() if spec.is_own else array.view() for array in (images, labels)]
    for array in given:
        array.flags.writeable = False
    outcome = spec.run(victim, given[0], given[1], epsilon, seed)
    if not isinstance(outcome, Outcome) or outcome.images.shape != images.shape:
        raise TypeError("the attack returned no Outcome with images of the shape that it was given")
    if outcome.correct.shape != labels.shape or outcome.correct.dtype != np.bool_:
        raise TypeError(
            f"the attack returned `correct` of {outcome.correct.dtype}, shape {outcome.correct.shape}; expected bool, "
            f"shape {labels.shape}"
        )
    taken = {"accuracy", "clean_accuracy", "outcomes_sha256"} & outcome.values.keys()
    if taken:
        raise TypeError(f"the attack returned a value called {min(taken)}, which is not its to say")
    assert_in_ball(outcome.images, images, epsilon, spec.norm)
    if spec.is_own:
        _assert_witnessed(outcome, victim, labels)
    return outcome


def _assert_witnessed(outcome: Outcome, victim: Victim, labels: Labels) -> None:
    """Holds an attack to `correct`: the network itself says of each perturbed image whether it keeps its label."""
    logits = victim.finite_logits(outcome.images)
    true = np.take_along_axis(logits, labels[:, None], 1)[:, 0]
    others = logits.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, 1)
    margin = true - others.max(1)
    clear = np.abs(margin) > 1e-3 * np.abs(logits).max(1)  # at the boundary rounding decides
    wrong = int((clear & ((margin > 0) != outcome.correct)).sum())
    if wrong:
        raise ArithmeticError(
            f"`correct` of {wrong:,} of {len(labels):,} images is not what the network says of the perturbed images that "
            "the attack returned; return of each broken image the one that breaks it"
        )


def assert_in_ball(perturbed: Images, images: Images, epsilon: float, norm: str = "Linf") -> None:
    """Holds every attack to its promise: |x' - x| <= epsilon in its norm, and x' in [0, 1].

    Raises:
        ArithmeticError: a perturbed image is outside.
    """
    distance = float(length(perturbed - images, norm).max(initial=0))
    rounding = BALL_TOLERANCE * (1 if norm == "Linf" else np.prod(images.shape[1:]) ** 0.5)
    if not distance <= epsilon + rounding:
        raise ArithmeticError(
            f"perturbation of {NAMES[norm]} length {distance:.7g}, expected at most epsilon = {epsilon:g}"
        )
    if not (perturbed.min(initial=0) >= 0 and perturbed.max(initial=1) <= 1):
        raise ArithmeticError("perturbed pixels outside [0, 1]")
