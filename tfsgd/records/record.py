"""The record of one trial: what was trained, and everything that was measured on it.

A record is written when its network is trained, and again, whole, after each measurement. Whether a trial
is trained is decided by `training_hash`, and whether something is measured by the measurement's `identity`,
never by a path.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, TypeVar

from pydantic import Field, field_serializer, model_validator
from typing_extensions import Self

from tfsgd.data.load import DATASETS
from tfsgd.fields import Count, Epochs, Flag, Name, Seconds, Seed, Text
from tfsgd.measures.spec import Measurement, Number, Part, Provenance, Request, Sha256
from tfsgd.plan.length import Length, steps_per_epoch
from tfsgd.plan.optimizers import SGD
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.requests import HESSIAN, TOP_EIGENVALUE
from tfsgd.plan.settings import told
from tfsgd.plan.stages import stages_of, updates_of
from tfsgd.plan.trials import Training, Trial

EIGENVALUE_COLUMNS = {  # λ1 over the epochs, in `history`, by the network's mode in which it was taken
    "inference": "top_hessian_eigenvalue",
    "training": "top_hessian_eigenvalue_training",
}

PRECONDITIONED = "preconditioned_eigenvalue"  # likewise, as an optimizer with a step for each weight sees it


def labelled(found: Measurement, label: str) -> Measurement:
    """A measurement under a label, whatever it was called when it was made."""
    return found if found.label == label else found.model_copy(update={"label": label})


class Measured:
    """What was measured on one network."""

    if TYPE_CHECKING:  # a field of those that inherit it, where it stands among their own
        measurements: tuple[Measurement, ...]

    @property
    def attacks(self) -> list[Measurement]:
        """Every attack at every epsilon."""
        return [m for m in self.measurements if m.kind == "attack"]

    @property
    def top_eigenvalue(self) -> Measurement | None:
        """λ1 at the end of the training, as it was measured last; `None`: not measured."""
        found = [m for m in self.measurements if (m.name, m.label) == (TOP_EIGENVALUE, HESSIAN)]
        return found[-1] if found else None

    def find(self, request: Request) -> Measurement | None:
        """What was measured as requested; `None`: nothing yet."""
        return request.spec.found_in(request, self.measurements)

    def asked(self, requests: Sequence[Request]) -> list[Measurement]:
        """What was measured as requested, in this order and under the labels of the requests."""
        pairs = ((self.find(request), request.label) for request in requests)
        return [labelled(found, label) for found, label in pairs if found]

    def missing(self, requests: Sequence[Request]) -> list[Request]:
        """Those that are not measured yet and can be, each once, whatever its labels."""
        known = {m.identity for m in self.measurements}
        left: dict[str, Request] = {}
        for request in (r for r in requests if not r.spec.is_recorded):
            left.setdefault(request.identity, request)
        return [request for identity, request in left.items() if identity not in known]


class Snapshot(Part, Measured):
    """The network at the end of the first epoch whose train loss was at or below a value, and what was measured on it."""

    train_loss: float  # the value asked for, nats
    epoch: int | None  # counted from 1; None: never reached
    loss: float | None  # at the end of that epoch
    measurements: tuple[Measurement, ...] = ()

    @property
    def file(self) -> str:
        """The network's, below the trial's folder."""
        return f"snapshots/train_loss-{self.train_loss:g}.keras"


class Stretch(Part):
    """A part of a training that was made in one place: an interrupted one may go on with other threads or versions."""

    until: int  # so many epochs in all
    provenance: Provenance

    def is_like(self, other: Provenance) -> bool:
        """Whether it was made with the same, whatever the commit is."""
        return not self.differences(other)

    def differences(self, other: Provenance) -> list[str]:
        """What another place has otherwise, each with what it has and what it had."""
        ours, theirs = (p.model_dump(exclude={"versions", "git_commit"}) for p in (self.provenance, other))
        ours, theirs = ours | self.provenance.versions, theirs | other.versions
        return [
            f"{key} {theirs.get(key)} in place of {ours.get(key)}"
            for key in sorted(ours.keys() | theirs.keys())
            if ours.get(key) != theirs.get(key)
        ]


class Record(Part, Measured):
    """The result of one trial: the keys of `record.json`. Accuracies are fractions in [0, 1]."""

    schema_version: Literal[2] = Field(alias="schema")
    name: Name
    dataset: Text
    model: Text
    regime: Text  # under which it was trained: its folder has it
    regimes: tuple[Text, ...]  # those of the last config that has it
    sgd: SGDSettings
    seed: Seed
    epochs: Epochs  # begun
    updates: Count | None = None  # how many of SGD, where that was asked for in place of epochs
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
    fork: Sha256 | None = None  # of the checkpoint that the training began with
    made_by: tuple[Stretch, ...] = ()  # where it went on elsewhere: each part of the training
    snapshots: tuple[Snapshot, ...] = ()
    along: dict[str, tuple[Number, ...]] = Field(
        default_factory=dict
    )  # `update`, and what was measured after it

    @field_serializer("sgd")
    def _told(self, sgd: SGDSettings) -> dict[str, Any]:
        return told(sgd)

    @model_validator(mode="after")
    def _is_what_its_hash_says(self) -> Self:
        if self.training.hash != self.training_hash:
            raise ValueError("training_hash: it does not belong to these settings; the record was edited")
        return self

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if not self.regimes:
            raise ValueError("regimes: expected at least one, found none")
        if self.sgd.adversarial_epochs >= self.epochs:
            raise ValueError(f"epochs: expected more than the adversarial ones, found {self.epochs:,}")
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
            self.length.rest(self.steps), self.fork or "",
        )  # fmt: skip

    @property
    def length(self) -> Length:
        """How long it was to be trained, on images as they are."""
        natural = self.epochs - self.sgd.adversarial_epochs
        return Length("epochs", natural) if self.updates is None else Length("updates", self.updates)

    @property
    def updates_made(self) -> int:
        """Steps of SGD of the whole training."""
        return updates_of(stages_of(self.sgd, self.length, self.train_examples))

    @property
    def steps(self) -> int:
        """Updates of a whole epoch."""
        return steps_per_epoch(self.train_examples, self.sgd.batch_size)

    @property
    def trial(self) -> Trial:
        """The point of the grid that it is."""
        return Trial(self.regime, self.regimes, self.sgd, self.seed)

    @property
    def folder(self) -> str:
        """Where it is stored below `trials/`."""
        return self.trial.name

    @property
    def stability_history(self) -> tuple[float | None, ...]:
        """λ1 of the loss that is descended, as its optimizer sees it, over the epochs; `None` where it was not taken."""
        if self.sgd.optimizer != SGD:
            return self.history.get(PRECONDITIONED, ())
        plain = () if self.batch_norm else self.history.get(EIGENVALUE_COLUMNS["inference"], ())
        return self.history.get(EIGENVALUE_COLUMNS["training"], plain)

    @property
    def networks(self) -> "tuple[Record | Snapshot, ...]":
        """What was measured on each network of the trial: the trained one, then the snapshots that were reached."""
        return self, *(snapshot for snapshot in self.snapshots if snapshot.epoch is not None)

    @property
    def cost(self) -> float:
        """Seconds of the training, and of all that was measured on its networks."""
        found = (m.seconds or 0.0 for network in self.networks for m in network.measurements)
        return sum(self.seconds.values()) + sum(found)

    def missing(self, requests: Sequence[Request]) -> list[Request]:
        """Those that are not measured yet on the trained network; on a diverged one there is nothing to measure."""
        return [] if self.status == "diverged" else super().missing(requests)

    def is_complete(self, requests: Sequence[Request]) -> bool:
        """Whether nothing is missing, on the trained network and the snapshots."""
        return not any(network.missing(requests) for network in self.networks)

    def with_measurements(self, *found: Measurement, of: "Record | Snapshot | None" = None) -> "Record":
        """The record with more measurements; one that was there already keeps its bits.

        Args:
            found: what was measured.
            of: on which of `networks`; by default the trained one.
        """
        if isinstance(of, Snapshot):
            grown = (_grown(s, found) if s.train_loss == of.train_loss else s for s in self.snapshots)
            return self.model_copy(update={"snapshots": tuple(grown)})
        return _grown(self, found)

    def renewed(self, found: Measurement, of: "Record | Snapshot") -> "Record":
        """The record with a measurement in the place of that of the same identity on one of `networks`."""

        def placed(network: R) -> R:
            ms = tuple(found if m.identity == found.identity else m for m in network.measurements)
            return network.model_copy(update={"measurements": ms})

        if isinstance(of, Snapshot):
            same = (placed(s) if s.train_loss == of.train_loss else s for s in self.snapshots)
            return self.model_copy(update={"snapshots": tuple(same)})
        return placed(self)

    def only(self, requests: Sequence[Request]) -> "Record":
        """With what was measured as requested alone, under the labels of the requests."""
        snapshots = tuple(_only(snapshot, requests) for snapshot in self.snapshots)
        return _only(self, requests).model_copy(update={"snapshots": snapshots})

    def united(self, other: "Record") -> "Record":
        """With what the same trial, trained elsewhere, has besides: labels, measurements and snapshots."""
        labels = tuple(dict.fromkeys((*self.regimes, *other.regimes)))
        both = self.model_copy(update={"regimes": labels})
        if other.status != self.status:  # on another machine: not the same network
            return both
        both = both.with_measurements(*other.measurements)
        known = {snapshot.train_loss for snapshot in self.snapshots}
        for snapshot in other.snapshots:
            if snapshot.train_loss in known:
                both = both.with_measurements(*snapshot.measurements, of=snapshot)
            else:
                both = both.model_copy(update={"snapshots": (*both.snapshots, snapshot)})
        return both


R = TypeVar("R", Record, Snapshot)


def _grown(network: R, found: Sequence[Measurement]) -> R:
    known: set[str] = {m.identity for m in network.measurements}
    measurements = (*network.measurements, *(m for m in found if m.identity not in known))
    return network.model_copy(update={"measurements": measurements})


def _only(network: R, requests: Sequence[Request]) -> R:
    """In the order in which it was measured."""
    made = [m.identity for m in network.measurements]
    found = sorted(network.asked(requests), key=lambda m: made.index(m.identity))
    return network.model_copy(update={"measurements": tuple(found)})
