"""The paper's three SGD regimes (Section 2): (batch size, momentum, epoch) -> SGD settings.

`LR` keeps the learning rate constant, `LR/BS` keeps its ratio to the batch size constant, and
`Benchmark` (Yao et al. 2018) halves it after every five epochs. What a regime is follows from its
keys in the config, not from its name.
"""

from dataclasses import dataclass

from pydantic import ConfigDict

from tfsgd.fields import Count, Epochs, Momentum, Rate


@dataclass(frozen=True)
class SGDSettings:
    """Everything that Algorithm 1 of the paper needs besides the network and the images."""

    __pydantic_config__ = ConfigDict(extra="forbid")  # as a part of a record, which checks its numbers

    batch_size: Count
    momentum: Momentum
    learning_rate: Rate  # in the first epoch
    halve_every_epochs: Epochs | None = None  # None: constant

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate in an epoch, counted from 0: halved after every `halve_every_epochs`."""
        if self.halve_every_epochs is None:
            return self.learning_rate
        return float(self.learning_rate * 0.5 ** (epoch // self.halve_every_epochs))


def constant_rate(
    learning_rate: float, batch_size: int, momentum: float, halve_every_epochs: int | None = None
) -> SGDSettings:
    """`LR`, and with `halve_every_epochs` the `Benchmark`: the same rate for every batch size."""
    return SGDSettings(batch_size, momentum, learning_rate, halve_every_epochs)


def constant_ratio(
    ratio: float, batch_size: int, momentum: float, halve_every_epochs: int | None = None
) -> SGDSettings:
    """`LR/BS`: learning rate = ratio x batch size, so that 0.00015625 x 64 = 0.01."""
    # 12 digits: settings that are equal on paper are equal here, whatever the rounding.
    learning_rate = float(f"{ratio * batch_size:.12g}")
    return SGDSettings(batch_size, momentum, learning_rate, halve_every_epochs)
