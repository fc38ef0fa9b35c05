"""Trainings that go on from a checkpoint of another one, by another rule: the config's `fork` block."""

import hashlib
import json
import re
from pathlib import Path

from pydantic import model_validator
from typing_extensions import Self

from tfsgd.errors import RequestError
from tfsgd.fields import Block
from tfsgd.measures.spec import Sha256

KEPT = "kept"  # below a trial's folder: the checkpoints of `keep_checkpoints`


def kept_name(epochs_done: int) -> str:
    """The file of a checkpoint after so many epochs."""
    return f"epoch-{epochs_done:06d}.npz"


class Fork(Block):
    """Where every training of the grid begins: with the weights, the momentum and the epoch of a checkpoint.

    Attributes:
        checkpoint: its file, from the working directory: `LOGS/NAME/trials/REGIME/TRIAL/kept/epoch-000010.npz`.
        sha256: of that file; taken when the config is read.
    """

    checkpoint: str
    sha256: Sha256 | None = None

    @model_validator(mode="after")
    def _is_there(self) -> Self:
        if not re.fullmatch(r"epoch-\d{6}\.npz", Path(self.checkpoint).name):
            raise ValueError(
                f"checkpoint: expected FOLDER/{KEPT}/epoch-000010.npz or the like, received {self.checkpoint}"
            )
        if self.sha256 is None:
            try:
                digest = hashlib.sha256(Path(self.checkpoint).read_bytes()).hexdigest()
            except OSError as error:
                raise ValueError(
                    f"checkpoint: {self.checkpoint}: {error.strerror}; a sweep with keep_checkpoints: [EPOCH] keeps it"
                ) from None
            object.__setattr__(self, "sha256", digest)
        return self

    @property
    def epoch(self) -> int:
        """So many epochs are done in it."""
        return int(Path(self.checkpoint).stem.partition("-")[2])


def fork_override(text: str) -> str:
    """`TRIAL@EPOCH` as a person types it -> the override of a config.

    Raises:
        RequestError: it has another form.
    """
    trial, _, epoch = text.rpartition("@")
    if not trial or not epoch.isdecimal():
        raise RequestError(f"--fork: expected TRIAL@EPOCH, received '{text}'")
    return f"fork={json.dumps({'checkpoint': str(Path(trial) / KEPT / kept_name(int(epoch)))})}"
