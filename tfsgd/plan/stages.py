"""What a training passes through: stretches of epochs with one batch size, on the images as they are or attacked."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tfsgd.fields import Block, Count, Epochs
from tfsgd.plan.along import Along
from tfsgd.plan.length import Length, steps_per_epoch

Attack = Literal["", "fgsm", "pgd"]
Factor = Annotated[int, Field(strict=True, ge=2, le=1_000)]
Perturbation = Annotated[float, Field(strict=True, gt=0, le=1)]  # L-infinity, images in [0, 1]


class GrowBatch(Block):
    """The batch is `factor` times as large after every so many epochs, up to a size.

    Smith et al. 2018 (arXiv:1711.00489), Section 3: in place of a learning rate that falls.
    """

    every_epochs: Epochs
    factor: Factor = 2
    up_to: Count

    @property
    def as_settings(self) -> dict[str, Any]:
        """The settings of SGD that say it."""
        return {
            "grow_every_epochs": self.every_epochs,
            "grow_factor": self.factor,
            "grow_up_to": self.up_to,
        }


class Then(Block):
    """So many epochs more, on images that are attacked anew at each step: `attack` is `{fgsm: 0.3}` or `{pgd: 0.3}`."""

    epochs: Epochs
    attack: dict[Literal["fgsm", "pgd"], Perturbation]

    @field_validator("attack")
    @classmethod
    def _one(cls, attack: dict[str, float]) -> dict[str, float]:
        if len(attack) != 1:
            raise ValueError(f"expected one attack, received {len(attack)}")
        return attack

    @property
    def as_settings(self) -> dict[str, Any]:
        """The settings of SGD that say it."""
        [(attack, epsilon)] = self.attack.items()
        return {
            "adversarial_epochs": self.epochs,
            "adversarial_attack": attack,
            "adversarial_epsilon": epsilon,
        }


@dataclass(frozen=True)
class Stage:
    """Epochs that are alike.

    Attributes:
        until: so many epochs are done at its end.
        batch_size: of its steps.
        steps: updates of each of its epochs.
        is_adversarial: whether its images are attacked.
        is_watched: whether something is measured inside its epochs, so that each step is one of its own.
    """

    until: int
    batch_size: int
    steps: int
    is_adversarial: bool = False
    is_watched: bool = False


def grown(batch_size: int, times: int, factor: int, up_to: int) -> int:
    """A batch size that has grown so many times."""
    while times > 0 and batch_size < up_to:
        batch_size, times = min(batch_size * factor, up_to), times - 1
    return batch_size


def stages_of(
    settings: Any,
    length: Length,
    examples: int,
    along: Along | None = None,
    kept: Sequence[int] = (),
) -> list[Stage]:
    """The stages of a training with these `SGDSettings`, over so many images.

    Args:
        settings: of SGD.
        length: the epochs or updates on images as they are.
        examples: training images.
        along: what is measured on the way.
        kept: updates after which a checkpoint is kept.
    """
    steps = steps_per_epoch(examples, settings.batch_size)
    natural, rest = length.epochs(steps), length.rest(steps)
    epochs = natural + settings.adversarial_epochs
    is_watched = bool(along or kept)
    if settings.grow_every_epochs is None and not settings.adversarial_epochs and not rest and not is_watched:
        return [Stage(epochs, settings.batch_size, steps)]
    kinds, updates = [], 0
    for epoch in range(epochs):
        size = settings.batch_size_at(epoch)
        of_epoch = rest if rest and epoch == natural - 1 else steps_per_epoch(examples, size)
        end = updates + of_epoch
        is_watched = along is not None and along.is_due_inside(updates, end)
        is_watched = is_watched or any(updates < update < end for update in kept)
        kinds.append((size, of_epoch, epoch >= natural, is_watched))
        updates = end
    return [Stage(max(alike) + 1, *of) for of, alike in groupby(range(epochs), kinds.__getitem__)]


def updates_of(stages: list[Stage], epochs: int | None = None) -> int:
    """Steps of SGD of the first so many epochs, by default of all."""
    ends = [stage.until if epochs is None else min(stage.until, epochs) for stage in stages]
    return sum(
        (end - begin) * stage.steps for begin, end, stage in zip([0, *ends], ends, stages, strict=False)
    )


def moments_of(along: Along, stages: list[Stage]) -> int:
    """How often something is measured on the way of a training with these stages."""
    if along.every_epochs:
        return stages[-1].until // along.every_epochs
    updates = updates_of(stages)
    return (
        updates // along.every_updates
        if along.every_updates
        else sum(u <= updates for u in along.at_updates or ())
    )


def place_of(stages: list[Stage], update: int) -> tuple[int, int, int]:
    """After so many updates: the epochs that are done, and updates and batch size of the one that has begun."""
    begin = 0
    for stage in stages:
        done, inside = divmod(update, stage.steps)
        if begin + done < stage.until:
            return begin + done, inside, stage.batch_size
        update -= (stage.until - begin) * stage.steps
        begin = stage.until
    return begin, 0, stages[-1].batch_size


def begun(stages: list[Stage], epoch: int, updates: int) -> list[Stage]:
    """The stages with an epoch of which so many updates are made already: its rest is a stage of its own."""
    at = next((i for i, stage in enumerate(stages) if epoch < stage.until), 0)
    if not updates:
        return stages
    rest = replace(stages[at], until=epoch + 1, steps=stages[at].steps - updates)
    return [*stages[:at], rest, *stages[at:]]
