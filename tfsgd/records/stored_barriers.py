"""How far the loss rises between a sweep's networks: `LOGS/NAME/barriers.json`, an entry for each pair."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import TypeAdapter, ValidationError

from tfsgd.errors import RequestError
from tfsgd.fields import Count, Text
from tfsgd.measures.spec import Number, Part, Sha256
from tfsgd.records.atomic import from_json, to_json, write_atomically
from tfsgd.records.preflight import is_there, read_text

FILE = "barriers.json"


class Barrier(Part):
    """The loss on the straight line of weights between two networks, see `tfsgd.barrier`.

    Attributes:
        between: `seeds` of one setting, or two `regimes` with one seed.
        trials: the two.
        networks: SHA-256 of their files.
        regimes: the labels of each.
        batch_size, momentum: of both.
        examples: training images, from the first on.
        barrier: in nats.
        losses: mean cross-entropy at points in equal distances from the first network to the other one, in nats.
        accuracies: at the same points.
    """

    between: Literal["seeds", "regimes"]
    trials: tuple[Text, Text]
    networks: tuple[Sha256, Sha256]
    regimes: tuple[tuple[Text, ...], tuple[Text, ...]]
    batch_size: Count
    momentum: float
    examples: Count
    barrier: Number
    losses: tuple[Number, ...]
    accuracies: tuple[Number, ...]

    @property
    def key(self) -> tuple[object, ...]:
        """What determines it."""
        return self.trials, self.networks, self.examples, len(self.losses)


_LIST = TypeAdapter(tuple[Barrier, ...])


def read_barriers(folder: Path) -> tuple[Barrier, ...]:
    """Those that are known of a sweep; none where there is no file.

    Args:
        folder: `LOGS/NAME`.

    Raises:
        RequestError: the file is none of them.
    """
    path = folder / FILE
    if not is_there(path):
        return ()
    try:
        return _LIST.validate_python(from_json(read_text(path)))
    except (OSError, ValidationError, ValueError, RecursionError):
        raise RequestError(
            f"{path}: no valid list of barriers; remove it to have them computed again"
        ) from None


def write_barriers(folder: Path, found: Sequence[Barrier]) -> Path:
    """Writes all of them."""
    write_atomically(folder / FILE, to_json([one.model_dump(mode="json") for one in found]))
    return folder / FILE
