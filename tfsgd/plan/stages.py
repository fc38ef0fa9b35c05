"""What a training passes through: stretches of epochs with one batch size, on the images as they are or attacked."""

from dataclasses import dataclass
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


def stages_of(settings: Any, length: Length, examples: int, along: Along | None = None) -> list[Stage]:
    """The stages of a training with these `SGDSettings`, over so many images.

    Args:
        settings: of SGD.
        length: the epochs or updates on images as they are.
        examples: training images.
        along: what is measured on the way.
    """
    steps = steps_per_epoch(examples, settings.batch_size)
    natural, rest = length.epochs(steps), length.rest(steps)
    epochs = natural + settings.adversarial_epochs
    if settings.grow_every_epochs is None and not settings.adversarial_epochs and not rest and along is None:
        return [Stage(epochs, settings.batch_size, steps)]
    kinds, updates = [], 0
    for epoch in range(epochs):
        size = settings.batch_size_at(epoch)
        of_epoch = rest if rest and epoch == natural - 1 else steps_per_epoch(examples, size)
        is_watched = along is not None and along.is_due_inside(updates, updates + of_epoch)
        kinds.append((size, of_epoch, epoch >= natural, is_watched))
        updates += of_epoch
    return [Stage(max(alike) + 1, *of) for of, alike in groupby(range(epochs), kinds.__getitem__)]


def updates_of(stages: list[Stage]) -> int:
    """Steps of SGD of all stages."""
    begins = [0, *(stage.until for stage in stages)]
    return sum((stage.until - begin) * stage.steps for begin, stage in zip(begins, stages, strict=False))
