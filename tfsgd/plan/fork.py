"""Checkpoints that are kept, and trainings that go on from one by another rule: the config's `keep_checkpoints` and `fork`."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np
from pydantic import BeforeValidator, model_validator
from typing_extensions import Self

from tfsgd.errors import RequestError
from tfsgd.fields import MOST_EPOCHS, Block
from tfsgd.measures.spec import Sha256
from tfsgd.plan.stages import Stage, place_of, updates_of
from tfsgd.text import shown

KEPT = "kept"  # below a trial's folder: the checkpoints of `keep_checkpoints`
MOMENT = r"(u?)0*([1-9]\d{0,8})"  # 10: after ten epochs; u200: after 200 updates
FILE = r"(?:epoch|update)-\d{6,9}\.npz"


def _moment(value: object) -> str:
    found = re.fullmatch(MOMENT, str(value)) if isinstance(value, int | str) else None
    if not found or (not found[1] and int(found[2]) > MOST_EPOCHS):
        raise ValueError(f"expected epochs such as 10, or updates such as u200, received {shown(value)}")
    return found[1] + found[2]


Moment = Annotated[str, BeforeValidator(_moment)]


def kept_name(moment: str) -> str:
    """The file of a checkpoint after so many epochs, `10`, or updates, `u200`."""
    unit = "update" if moment.startswith("u") else "epoch"
    return f"{unit}-{int(moment.removeprefix('u')):06d}.npz"


def updates_kept(moments: Sequence[str]) -> list[int]:
    """Those moments that are given in updates."""
    return [int(moment[1:]) for moment in moments if moment.startswith("u")]


class Fork(Block):
    """Where every training of the grid begins: with the weights, the momentum and the moment of a checkpoint.

    Attributes:
        checkpoint: its file, from the working directory: `LOGS/NAME/trials/REGIME/TRIAL/kept/epoch-000010.npz`.
        sha256: of that file; taken when the config is read, as what follows.
        place: epochs that are done in it, and updates and batch size of the one that has begun; `None`: of an earlier version,
            which had whole epochs alone.
    """

    checkpoint: str
    sha256: Sha256 | None = None
    place: tuple[int, int, int] | None = None

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if not re.fullmatch(FILE, Path(self.checkpoint).name):
            raise ValueError(
                f"checkpoint: expected FOLDER/{KEPT}/epoch-000010.npz or the like, received {self.checkpoint}"
            )
        if self.sha256 is None:
            try:
                digest = hashlib.sha256(Path(self.checkpoint).read_bytes()).hexdigest()
                with np.load(self.checkpoint, allow_pickle=False) as arrays:
                    place = json.loads(arrays["seen"].tobytes()).get("place") or (self.epoch, 0, 1)
                epochs, updates, size = map(int, place)
                if min(epochs, updates, size - 1) < 0:
                    raise ValueError
            except OSError as error:
                raise ValueError(
                    f"checkpoint: {self.checkpoint}: {error.strerror}; a sweep with keep_checkpoints: [EPOCH] or [uUPDATE] keeps it"
                ) from None
            except Exception as error:  # zip, zlib, tokenize and NumPy each raise errors of their own
                raise ValueError(
                    f"checkpoint: {self.checkpoint}: no checkpoint: {type(error).__name__}"
                ) from None
            object.__setattr__(self, "sha256", digest)
            object.__setattr__(self, "place", (epochs, updates, size))
        return self

    @property
    def epoch(self) -> int:
        """So many epochs are done in it."""
        return self.place[0] if self.place else int(Path(self.checkpoint).stem.partition("-")[2])

    def begins(self, batch_size: int) -> int:
        """Updates of the epoch that has begun, in batches of another size.

        Raises:
            ValueError: it would begin inside a batch.
        """
        _, updates, size = self.place or (0, 0, 1)
        if updates * size % batch_size:
            raise ValueError(
                f"fork.checkpoint: expected batch sizes that divide the {updates * size:,} images of the epoch it is in, "
                f"received {batch_size:,}"
            )
        return updates * size // batch_size


def misplaced(fork: Fork | None, moments: Sequence[str], trainings: Sequence[list[Stage]]) -> str:
    """Why trainings with these stages cannot begin or be kept there, beginning with the key; empty: they can."""
    epochs = min(stages[-1].until for stages in trainings)
    updates = min(map(updates_of, trainings))
    where = [("keep_checkpoints", int(m), epochs, "epoch") for m in moments if not m.startswith("u")]
    where += [("keep_checkpoints", update, updates, "update") for update in updates_kept(moments)]
    where += [("fork.checkpoint", fork.epoch, epochs, "epoch")] if fork else []
    for key, at, end, unit in where:
        if at >= end:
            sign = "u" if unit == "update" else ""
            return f"{key}: expected an {unit} before the last of {end:,}, received {sign}{at}"
    for stages in trainings if fork else ():
        assert fork is not None
        try:
            fork.begins(place_of(stages, updates_of(stages, fork.epoch))[2])
        except ValueError as error:
            return str(error)
    return ""


def fork_override(text: str) -> str:
    """`TRIAL@EPOCH` or `TRIAL@uUPDATE` as a person types it -> the override of a config.

    Raises:
        RequestError: it has another form.
    """
    trial, _, moment = text.rpartition("@")
    if not trial or not re.fullmatch(MOMENT, moment):
        raise RequestError(f"--fork: expected TRIAL@EPOCH or TRIAL@uUPDATE, received '{text}'")
    return f"fork={json.dumps({'checkpoint': str(Path(trial) / KEPT / kept_name(moment))})}"
