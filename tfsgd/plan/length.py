"""How long a trial trains: whole epochs, or a number of updates that is the same for every batch size."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Length:
    """So many epochs over the training images, or so many steps of SGD.

    Attributes:
        unit: of the count.
        count: at least 1.
    """

    unit: Literal["epochs", "updates"]
    count: int

    def __str__(self) -> str:
        return f"{self.count:,} {self.unit[:-1] if self.count == 1 else self.unit}"

    def epochs(self, steps: int) -> int:
        """How many epochs of so many steps are begun."""
        return self.count if self.unit == "epochs" else -(-self.count // steps)

    def rest(self, steps: int) -> int:
        """Updates of the last epoch, where the budget ends inside it; 0: all epochs are whole."""
        return self.count % steps if self.unit == "updates" else 0


def steps_per_epoch(examples: int, batch_size: int) -> int:
    """Batches of an epoch; the last one is the smaller rest."""
    return -(-examples // batch_size)
