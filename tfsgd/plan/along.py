"""What is measured and kept on the way: the config's blocks `along` and `snapshots`."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator
from typing_extensions import Self

from tfsgd.fields import Block, Count, Epochs, Label, Positive

Measures = Annotated[tuple[Label, ...], Field(min_length=1, max_length=20)]
Updates = Annotated[tuple[Count, ...], Field(min_length=1, max_length=1_000)]


class Along(Block):
    """Some of the measures on few images, in the course of each training.

    Attributes:
        measures: labels of `attacks` and `curvature`; `hessian` (λ1), `input_gradient`, `jacobian`, `weights`, `confidence`.
        every_epochs: one of the three: after each so many epochs;
        every_updates: after each so many steps of SGD;
        at_updates: after these, such as 1, 2, 4, 8.
        examples: on so many images at most, the first ones.
    """

    measures: Measures
    every_epochs: Epochs | None = None
    every_updates: Count | None = None
    at_updates: Updates | None = None
    examples: Count = 500

    @model_validator(mode="after")
    def _one_rhythm(self) -> Self:
        given = [key for key in ("every_epochs", "every_updates", "at_updates") if getattr(self, key)]
        if len(given) != 1:
            raise ValueError(
                f"expected one of every_epochs, every_updates and at_updates, received {len(given)}"
            )
        return self

    def is_due(self, update: int, epochs_done: int | None) -> bool:
        """Whether it is measured after so many updates in all, which end so many epochs; `None`: they end none."""
        if self.every_epochs:
            return epochs_done is not None and epochs_done % self.every_epochs == 0
        if self.every_updates:
            return update % self.every_updates == 0
        return update in (self.at_updates or ())

    def is_due_inside(self, begin: int, end: int) -> bool:
        """Whether it is measured after some update between these two, which are an epoch's."""
        if self.every_updates:
            return (end - 1) // self.every_updates > begin // self.every_updates
        return any(begin < update < end for update in self.at_updates or ())


class Snapshots(Block):
    """Networks that are kept on the way, and measured as those at the end are.

    Attributes:
        train_loss: a network is kept at the end of the first epoch whose train loss is at or below each of these,
            nats, in inference mode.
        examples: the first so many training images, on which that loss is taken; at most all there are.
    """

    train_loss: Annotated[tuple[Positive, ...], Field(min_length=1, max_length=20)]
    examples: Count = 5_000

    @field_validator("train_loss")
    @classmethod
    def _differ(cls, values: tuple[float, ...]) -> tuple[float, ...]:
        if len({f"{value:g}" for value in values}) < len(values):
            raise ValueError("expected values that differ in their first six digits")
        return values
