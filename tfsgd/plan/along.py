"""What is measured on the way, and after which updates: the config's `along` block."""

from typing import Annotated

from pydantic import Field, model_validator
from typing_extensions import Self

from tfsgd.fields import Block, Count, Epochs, Label

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
