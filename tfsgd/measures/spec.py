"""What can be measured on a trained network: typed settings that say how, and run themselves.

A spec is one block of a config. A `Request` is a spec made definite: on which images, with which seed,
at which epsilon; its `identity` tells whether a record holds the number already. A `Measurement` is the
number with its evidence, as a record keeps it. Nothing here knows TensorFlow.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator

from tfsgd.fields import Block

Kind = Literal["accuracy", "confidence", "attack", "gradient", "curvature"]
Split = Literal["train", "validation", "test"]


def _finite(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]  # NaN is null


def _value(value: Any) -> Any:
    if value is not None and not isinstance(value, bool | int | float | str | list | tuple):
        raise ValueError("expected a number, a truth value, a word, null, or a list")
    return _finite(value)


Value = Annotated[Any, BeforeValidator(_value)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


SHARES = {
    "accuracy",
    "clean_accuracy",
    "source_accuracy",
    "confidence",
    "calibration_error",
    "fraction",
    "censored",
}  # in [0, 1]


class Spec(Block):
    """How something is measured. Subclasses add their settings, each with a default, and `run`."""

    kind: ClassVar[Kind]

    def settings(self) -> dict[str, Any]:
        """The settings that determine the number; images and labels of the config are told elsewhere."""
        return self.model_dump(mode="json", exclude={"attack", "measure", "epsilon", "examples", "split"})

    def unusual(self) -> dict[str, Any]:
        """The settings that differ from their defaults: only they enter an identity."""
        fields = type(self).model_fields
        return {key: value for key, value in self.settings().items() if value != fields[key].default}


@dataclass(frozen=True)
class Request:
    """A spec on definite images.

    Attributes:
        name: which spec it is: `pgd`, or `my_attacks:Noise`.
        label: what the config calls it.
        spec: its settings.
        split: whose images.
        examples: how many of them, from the first on.
        seed: of whatever is drawn.
        epsilon: of an attack; `None` for all else.
        free: costs next to nothing: measured where a network is at hand, and no reason to load one.
        more: settings that follow from epsilon, for readers.
    """

    name: str
    label: str
    spec: Spec
    split: Split
    examples: int
    seed: int = 0
    epsilon: float | None = None
    free: bool = False
    more: Mapping[str, Any] = field(default_factory=dict)

    @property
    def identity(self) -> str:
        """SHA-256 of what determines the number on a given network; not of the label."""
        what = [
            self.spec.kind,
            self.name,
            self.spec.unusual(),
            self.split,
            self.examples,
            self.seed,
            self.epsilon,
        ]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def measured(self, values: Mapping[str, Any], seconds: float | None) -> "Measurement":
        """The result, as a record keeps it."""
        at = {} if self.epsilon is None else {"epsilon": self.epsilon}
        return Measurement(
            kind=self.spec.kind, name=self.name, label=self.label,
            settings={**at, **self.spec.settings(), **self.more},
            split=self.split, examples=self.examples, seed=self.seed,
            values=dict(values), seconds=seconds, identity=self.identity,
        )  # fmt: skip


class Part(BaseModel):
    """A part of a file: frozen, and no key but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())


class Provenance(Part):
    """Where and with what a number was made."""

    versions: dict[str, str]
    device: str
    threads: int
    onednn: bool
    replicas: int
    git_commit: str | None


class Measurement(Part):
    """One measured thing with its evidence. Accuracies are fractions in [0, 1].

    `values` holds for an accuracy `loss` (nats), `accuracy` and `predicted_classes`; for an attack `accuracy`
    and `clean_accuracy`; for a curvature `value`, `error`, `products` and `converged`.
    """

    kind: Kind
    name: str
    label: str
    settings: dict[str, Any]
    split: Split
    examples: int
    seed: int
    values: dict[str, Value]
    seconds: Number
    identity: Sha256
    provenance: Provenance | None = None  # None: the record's own

    @field_validator("values")
    @classmethod
    def _shares_are_shares(cls, values: dict[str, Any]) -> dict[str, Any]:
        for key in SHARES & values.keys():
            if values[key] is not None and not 0 <= values[key] <= 1:
                raise ValueError(f"{key}: expected a fraction in [0, 1], found {values[key]!r}")
        return values

    @property
    def epsilon(self) -> float | None:
        """Radius of an attack's ball, images in [0, 1]."""
        return self.settings.get("epsilon") if self.kind == "attack" else None

    @property
    def accuracy(self) -> float | None:
        """Share of the images that get their true label."""
        return self.values.get("accuracy")
