"""What can be measured on a trained network: typed settings that say how, and run themselves.

A spec is one block of a config. A `Request` is a spec made definite: on which images, with which seed,
at which epsilon; its `identity` tells whether a record holds the number already. A `Measurement` is the
number with its evidence, as a record keeps it. Nothing here knows TensorFlow.
"""

import contextlib
import hashlib
import json
import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from typing_extensions import Self

from tfsgd.fields import Block, Count, Finite, Flag, Seconds, Seed, Text, expectation
from tfsgd.measures.norms import LARGEST
from tfsgd.source_hash import code_sha256

if TYPE_CHECKING:
    from tfsgd.measures.subject import Subject

Kind = Literal["accuracy", "confidence", "attack", "corruption", "gradient", "curvature", "weights"]
Split = Literal["train", "validation", "test"]


def _finite(value: Any) -> Any:
    if isinstance(value, list | tuple):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[Finite | None, BeforeValidator(_finite)]  # NaN is null


# What one measurement may hold, whoever returns it and whoever reads it again.
MOST_NUMBERS = 200_000  # in all of its values
LONGEST_WORD = 200  # characters
DEEPEST_LIST = 3
LARGEST_COUNT = 2**63


def _value(value: Any, deep: int = 0) -> Any:
    if isinstance(value, list | tuple):
        if deep == DEEPEST_LIST:
            raise ValueError(f"expected lists in at most {DEEPEST_LIST} lists, found one more")
        return [_value(item, deep + 1) for item in value]
    if isinstance(value, str):
        if len(value) > LONGEST_WORD or not value.isprintable():
            raise ValueError(f"expected a word of at most {LONGEST_WORD} printable characters")
    elif value is not None and not isinstance(value, bool | int | float):
        raise ValueError("expected a number, a truth value, a word, null, or a list")
    elif isinstance(value, int) and abs(value) > LARGEST_COUNT:
        raise ValueError("expected a whole number of at most 64 bits")
    return _finite(value)


def _size(value: Any) -> int:
    return sum(map(_size, value)) if isinstance(value, list | tuple) else 1


Value = Annotated[Any, BeforeValidator(_value)]
Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


SHARES = {
    "accuracy",
    "clean_accuracy",
    "source_accuracy",
    "confidence",
    "calibration_error",
    "fraction",
    "saturated",
    "misdirected",
    "censored",
}  # in [0, 1]
NEEDED: dict[str, tuple[str, ...]] = {  # by the kind of a measurement
    "accuracy": ("accuracy",),
    "attack": ("accuracy", "clean_accuracy"),
    "corruption": ("accuracy", "clean_accuracy", "families", "accuracies"),
    "confidence": ("confidence", "margin", "calibration_error"),
    "curvature": ("value", "error", "products", "converged"),
    "gradient": (),
}
NUMBERS = SHARES | {
    "loss",
    "margin",
    "value",
    "error",
    "radius",
    "queries",
    "lower_quartile",
    "median",
    "upper_quartile",
}
COUNTS = {"products", "predicted_classes"}
LEAST_LOSS = -1e-6  # a mean cross-entropy, and what is left of 0 by rounding


class Spec(Block):
    """How something is measured. Subclasses add their settings, each with a default, and `run`.

    Attributes:
        kind: of number.
        is_recorded: whether it only finds what was measured, see `tfsgd.measures.recorded`.
        revision: one more where the numbers of the same settings were mended: records made before are measured anew.
    """

    kind: ClassVar[Kind]
    revision: ClassVar[int] = 1
    is_recorded: ClassVar[bool] = False

    def values_on(self, subject: "Subject", request: "Request") -> Mapping[str, Any]:
        """What is found on a network, by name: numbers, words, or lists of them.

        Args:
            subject: the network and its images.
            request: on which of them, at which epsilon, by which seed.
        """
        raise NotImplementedError

    def settings(self) -> dict[str, Any]:
        """The settings that determine the number; images and labels of the config are told elsewhere."""
        return self.model_dump(mode="json", exclude={"attack", "measure", "epsilon", "examples", "split"})

    def found_in(self, request: "Request", measurements: "tuple[Measurement, ...]") -> "Measurement | None":
        """What was measured as requested with this spec; `None`: nothing yet."""
        identity = request.identity
        return next((m for m in measurements if m.identity == identity), None)

    @property
    def is_own(self) -> bool:
        """Whether it is code of one's own."""
        return not type(self).__module__.startswith("tfsgd.")

    @property
    def revised(self) -> int:
        """The revision of the numbers that these settings give."""
        return self.revision

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
    def title(self) -> str:
        """What is measured, for readers: `pgd 0.1`."""
        return self.label if self.epsilon is None else f"{self.label} {self.epsilon:g}"

    @cached_property
    def identity(self) -> str:
        """SHA-256 of what determines the number on a given network; not of the label."""
        return self.identity_at(self.spec.revised)

    def identity_at(self, revision: int) -> str:
        """What it was when the measure had this revision."""
        what: list[Any] = [
            self.spec.kind,
            self.name,
            self.spec.unusual(),
            self.split,
            self.examples,
            self.seed,
            self.epsilon,
            *self._made_by(revision).values(),
        ]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()

    def _made_by(self, revision: int) -> dict[str, str | int]:
        """Which code: the revision, if it is not the first; of a class of one's own see `tfsgd.source_hash.code_sha256`."""
        code = code_sha256(type(self.spec)) if ":" in self.name else ""
        return ({"revision": revision} if revision > 1 else {}) | ({"code_sha256": code} if code else {})

    def measure_on(self, subject: "Subject") -> "Measurement":
        """Measures it on a network.

        Raises:
            RequestError: the network cannot be measured so.
            ArithmeticError: code of one's own has changed the network, which is as before again.
        """
        began = time.perf_counter()
        with subject.unchanged() if self.spec.is_own else contextlib.nullcontext():
            values = self.spec.values_on(subject, self)
        return self.measured(values, time.perf_counter() - began)

    def measured(self, values: Mapping[str, Any], seconds: float | None) -> "Measurement":
        """The result, as a record keeps it."""
        at = {} if self.epsilon is None else {"epsilon": self.epsilon}
        fields: dict[str, Any] = dict(
            kind=self.spec.kind, name=self.name, label=self.label,
            settings={**at, **self.spec.settings(), **self.more, **self._made_by(self.spec.revised)},
            split=self.split, examples=self.examples, seed=self.seed,
            values={key: _plain(value) for key, value in values.items()}, seconds=seconds, identity=self.identity,
        )  # fmt: skip
        try:
            return Measurement(**fields)
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = "".join(f"{part}: " for part in first["loc"][-1:])
            raise TypeError(f"{self.name} returned {where}{expectation(first)}") from None


def digest(array: NDArray[np.generic]) -> str:
    """SHA-256 of an array's bytes, as a record has it."""
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def _plain(value: Any) -> Any:
    """A NumPy scalar or array as Python has it."""
    return value.tolist() if hasattr(value, "tolist") else value


class Part(BaseModel):
    """A part of a file: frozen, and no key but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    def model_post_init(self, context: Any) -> None:
        """Pydantic's hook. Nobody asks which keys were given: 800 bytes a part, of many thousands in a report."""
        object.__setattr__(self, "__pydantic_fields_set__", _NO_KEYS)


_NO_KEYS: set[str] = set()


class Provenance(Part):
    """Where and with what a number was made."""

    versions: dict[str, str]
    device: Text
    threads: Count
    onednn: Flag
    replicas: Count
    git_commit: str | None


MAIN = ("accuracy", "value", "fraction", "confidence")  # each kind of measurement has one of them


class Measurement(Part):
    """One measured thing with its evidence. Accuracies are fractions in [0, 1].

    `values` holds for an accuracy `loss` (nats), `accuracy` and `predicted_classes`; for an attack `accuracy`
    and `clean_accuracy`; for a curvature `value`, `error`, `products` and `converged`.
    """

    kind: Kind
    name: Text
    label: Text
    settings: dict[str, Any]
    split: Split
    examples: Count
    seed: Seed
    values: dict[str, Value]
    seconds: Seconds | None
    identity: Sha256
    provenance: Provenance | None = None  # None: the record's own

    @model_validator(mode="after")
    def _values_are_possible(self) -> Self:
        if (size := _size(list(self.values.values()))) > MOST_NUMBERS:
            raise ValueError(f"values: expected at most {MOST_NUMBERS:,} numbers, found {size:,}")
        for key, value in self.values.items():
            if len(key) > LONGEST_WORD or not key.isprintable():
                raise ValueError(
                    f"values: expected names of at most {LONGEST_WORD} printable characters, found {key!r:.60}"
                )
            if problem := _problem(key, value):
                raise ValueError(f"values.{key}: {problem}, found {value!r:.60}")
        most = LARGEST.get(self.settings.get("norm", "Linf"), 0.0)
        if self.kind == "attack" and not _is_number(self.epsilon, 0, most):
            raise ValueError(
                f"settings.epsilon: expected a number in [0, {most:g}], found {self.epsilon!r:.60}"
            )
        return self

    @property
    def missing_values(self) -> list[str]:
        """What every measurement of its kind has, and this one has not."""
        return [key for key in NEEDED.get(self.kind, ()) if key not in self.values]

    @property
    def epsilon(self) -> float | None:
        """Radius of an attack's ball, in its norm, images in [0, 1]."""
        return self.settings.get("epsilon") if self.kind == "attack" else None

    @property
    def accuracy(self) -> float | None:
        """Share of the images that get their true label."""
        return self.values.get("accuracy")

    @property
    def main_value(self) -> float | None:
        """The one number that a table shows."""
        return self._first(MAIN)

    @property
    def headline(self) -> float | None:
        """The number that a curve shows: of a search its median smallest epsilon, else as in a table."""
        return self._first(("median", *MAIN))

    def _first(self, keys: tuple[str, ...]) -> float | None:
        value = next((self.values[key] for key in keys if key in self.values), None)
        return value if isinstance(value, int | float) else None


def _problem(key: str, value: Any) -> str:
    """What a value of a measurement should have been; empty where it may be."""
    if key in COUNTS and not _is_count(value):
        return "expected a whole number from 0"
    if key == "converged" and not isinstance(value, bool):
        return "expected true or false"
    if key in SHARES and value is not None and not _is_number(value, 0, 1):
        return "expected a fraction in [0, 1]"
    if key == "loss" and value is not None and not _is_number(value, LEAST_LOSS, math.inf):
        return "expected a number from 0"
    if key in NUMBERS and value is not None and not _is_number(value, -math.inf, math.inf):
        return "expected a number or null"
    return ""


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_number(value: Any, least: float, most: float) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most
