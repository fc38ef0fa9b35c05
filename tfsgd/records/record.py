"""The record of one trial: what was trained, and everything that was measured on it.

A record is written when its network is trained, and again, whole, after each measurement. Whether a trial
is trained is decided by `training_hash`, and whether something is measured by the measurement's `identity`,
never by a path.
"""

from collections.abc import Sequence
from typing import Literal

from pydantic import Field, model_validator
from typing_extensions import Self

from tfsgd.data.load import DATASETS
from tfsgd.fields import Count, Epochs, Flag, Name, Seconds, Seed, Text
from tfsgd.measures.spec import Measurement, Number, Part, Provenance, Request, Sha256
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.trials import Training, Trial
from tfsgd.plan.wanted import TOP_EIGENVALUE

EIGENVALUE_HISTORY = "top_hessian_eigenvalue"  # λ1 over the epochs, in `history`


class Record(Part):
    """The result of one trial: the keys of `record.json`. Accuracies are fractions in [0, 1]."""

    schema_version: Literal[2] = Field(alias="schema")
    name: Name
    dataset: Text
    model: Text
    regime: Text
    regimes: tuple[Text, ...]
    sgd: SGDSettings
    seed: Seed
    epochs: Epochs
    profile: Literal["full", "quick"]
    status: Literal["completed", "diverged", "collapsed"]
    train_examples: Count
    classes: Count
    batch_norm: Flag = (
        False  # whether it has statistics of its own, as BatchNorm has: then λ1 is not training's
    )
    measurements: tuple[Measurement, ...]
    history: dict[str, tuple[Number, ...]]  # one entry an epoch
    seconds: dict[str, Seconds]  # of the training; each measurement has its own
    provenance: Provenance
    data_sha256: Sha256
    data_note: Text = ""  # what is to be known of the images, such as that they are not the published ones
    model_sha256: Sha256
    cut: Flag  # whether fewer training images were used than there are
    batch_order: Count
    training_hash: Sha256

    @model_validator(mode="after")
    def _is_what_its_hash_says(self) -> Self:
        if self.training.hash != self.training_hash:
            raise ValueError("training_hash: it does not belong to these settings; the record was edited")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.regime not in self.regimes:
            raise ValueError(
                f"regimes: expected {self.regime} among them, found {', '.join(self.regimes) or 'none'}"
            )
        known = DATASETS.get(self.dataset)
        if known and not self.cut and self.train_examples != known.train:
            raise ValueError(
                f"train_examples: expected all {known.train:,} images of {known.name}, found {self.train_examples:,}"
            )
        if self.status == "diverged" and self.measurements:
            raise ValueError("status: diverged, but it has measurements, which a diverged network has not")
        lengths = {len(column) for column in self.history.values()}
        if len(lengths) > 1 or max(lengths, default=0) > self.epochs:
            raise ValueError(f"history: expected columns of one length, at most {self.epochs:,} epochs")
        for key, column in self.history.items():
            shares = [value for value in column if value is not None] if key.endswith("accuracy") else []
            if shares and not 0 <= min(shares) <= max(shares) <= 1:
                raise ValueError(
                    f"history.{key}: expected fractions in [0, 1], found {min(shares)} to {max(shares)}"
                )
        return self

    @property
    def training(self) -> Training:
        """What determined the network."""
        return Training(
            self.dataset, self.data_sha256, self.model, self.model_sha256,
            self.train_examples if self.cut else None, self.epochs, self.sgd, self.seed, self.batch_order,
        )  # fmt: skip

    @property
    def trial(self) -> Trial:
        """The point of the grid that it is."""
        return Trial(self.regime, self.regimes, self.sgd, self.seed)

    @property
    def folder(self) -> str:
        """Where it is stored below `trials/`."""
        return self.trial.name

    @property
    def attacks(self) -> list[Measurement]:
        """Every attack at every epsilon."""
        return [m for m in self.measurements if m.kind == "attack"]

    @property
    def top_eigenvalue(self) -> Measurement | None:
        """λ1 at the end of the training, as it was measured last; `None`: not measured."""
        return self._last("curvature", TOP_EIGENVALUE)

    def natural(self, split: str) -> Measurement | None:
        """Natural accuracy on a split, as it was measured last; `None`: not measured."""
        found = [m for m in self.measurements if m.kind == "accuracy" and m.split == split]
        return found[-1] if found else None

    def accuracy(self, split: str) -> float | None:
        """Natural accuracy on a split; `None`: not measured."""
        found = self.natural(split)
        return found.accuracy if found else None

    def find(self, request: Request) -> Measurement | None:
        """What was measured as requested; `None`: nothing yet."""
        identity = request.identity
        return next((m for m in self.measurements if m.identity == identity), None)

    def missing(self, requests: Sequence[Request]) -> list[Request]:
        """Those that are not measured yet, each once, whatever its labels. On a diverged network there is nothing to measure."""
        if self.status == "diverged":
            return []
        known = {m.identity for m in self.measurements}
        left: dict[str, Request] = {}
        for request in requests:
            left.setdefault(request.identity, request)
        return [request for identity, request in left.items() if identity not in known]

    def with_measurements(self, *found: Measurement) -> "Record":
        """The record with more measurements; one that was there already keeps its bits."""
        known = {m.identity for m in self.measurements}
        new = tuple(m for m in found if m.identity not in known)
        return self.model_copy(update={"measurements": (*self.measurements, *new)})

    def _last(self, kind: str, name: str) -> Measurement | None:
        found = [m for m in self.measurements if (m.kind, m.name) == (kind, name)]
        return found[-1] if found else None
