"""How the learning rate changes from epoch to epoch, as a factor on `learning_rate`; epochs count from 0."""

import math
from typing import Literal

Shape = Literal["constant", "cosine", "linear", "step"]


def warmup(epoch: int, warmup_epochs: int) -> float:
    """The rate rises linearly, a step each epoch: 1/(W+1), 2/(W+1), ... in the first W epochs, then 1.

    Goyal et al. 2017, Section 2.2, who raise it at every update.
    """
    return min((epoch + 1) / (warmup_epochs + 1), 1.0)


def annealed(shape: Shape, epoch: int, epochs: int, warmup_epochs: int) -> float:
    """From 1 in the first epoch after the warmup to 0, which the epoch after the last would have.

    With t, the share of those epochs that is done: cosine (1 + cos(pi t)) / 2 (Loshchilov and Hutter 2017, equation 5,
    without restarts), linear 1 - t.
    """
    done = max(epoch - warmup_epochs, 0) / max(epochs - warmup_epochs, 1)
    return (1 + math.cos(math.pi * done)) / 2 if shape == "cosine" else 1 - done


def stepped(epoch: int, after: tuple[int, ...], factor: float) -> float:
    """Multiplied by the factor after so many epochs, each time (He et al. 2016, Section 4.2)."""
    return factor ** sum(epoch >= one for one in after)
