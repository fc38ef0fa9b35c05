"""A block of a config -> the typed spec that it describes, found by its kind's name."""

import functools
import importlib
import pkgutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from types import ModuleType
from typing import Any, Generic, TypeVar

import numpy as np
from pydantic import ValidationError

from tfsgd.errors import RequestError
from tfsgd.fields import problems
from tfsgd.measures import attacks, curvature
from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.curvature_spec import CurvatureSpec
from tfsgd.measures.recorded import RecordedAttack, RecordedMeasure
from tfsgd.measures.spec import Spec
from tfsgd.plan.import_string import is_own_name, resolve
from tfsgd.text import known_keys, nearest, shown

S = TypeVar("S", bound=Spec)


def _names(package: ModuleType) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(package.__path__)]


Named = Collection[str] | None  # names of one's own whose code is run; `None`: all, others are `Recorded`
ATTACKS, MEASURES = _names(attacks), _names(curvature)  # the kinds that come with tfsgd


@dataclass(frozen=True)
class _Kinds(Generic[S]):
    """The kinds of a block: shipped ones, one file each, and classes of one's own.

    Attributes:
        key: that names the kind; where it is missing, the block's label does.
        package: with the shipped ones.
        base: of all of them.
        recorded: what stands for one whose code is not run.
    """

    key: str
    package: ModuleType
    base: type[S]
    recorded: type[S]

    def spec(self, label: str, block: Any, code_dir: Path | None, named: Named = None) -> S:
        """The spec of a config's block.

        Raises:
            ValueError: the kind is unknown, or a setting does not fit; one line that begins with the key.
        """
        if isinstance(block, self.base):
            return block
        if not isinstance(block, dict | None):
            raise ValueError(f"expected a mapping, received {shown(block)}")
        kind = (block or {}).get(self.key) or label
        if not isinstance(kind, str):
            raise ValueError(f"{self.key}: expected a word, received {shown(kind)}")
        if isinstance(block, dict) and isinstance(block.get("attacked"), dict):
            block = block | {"attacked": self._attacked(block["attacked"])}
        is_recorded = named is not None and is_own_name(kind) and kind not in named
        cls = self.recorded if is_recorded else self.found(kind, code_dir)
        try:
            return cls.model_validate({**(block or {}), self.key: kind})
        except ValidationError as error:
            first = problems(error, lambda location: known_keys(str(location[-1]), cls.model_fields))[0]
            raise ValueError(first) from None

    def _attacked(self, block: dict[str, Any]) -> AttackSpec:
        """The shipped attack at whose images a measure is taken; its images are the measure's."""
        kinds = [kind for kind in ATTACKS if kind != "transfer"]  # another network's file may change
        if (kind := block.get("attack")) not in kinds:
            raise ValueError(
                f"attacked.attack: expected one of {', '.join(kinds)}, received {shown(kind)}{nearest(str(kind), kinds)}"
            )
        if block.get("examples") is not None:
            raise ValueError("attacked.examples: expected none: the images are those of the measure")
        try:
            return _ATTACKS.spec("attacked", block, None)
        except ValueError as error:
            raise ValueError(f"attacked.{error}") from None

    def label_problem(self, label: str, spec: S) -> str:
        """Why a block may not have its label, which is a column of tables and reports; empty: it may."""
        if label == "hessian":
            return "hessian: expected another label: λ1 has this one, and a block of its own"
        if label in BUILT_IN:
            return f"{label}: expected another label: what is measured on every network has this one"
        kind = getattr(spec, self.key)
        if label.lower() in _names(self.package) and label.lower() != kind:
            return f"{label}: expected another label: it is the name of another kind than {kind}"
        return ""

    def found(self, kind: str, code_dir: Path | None = None) -> type[S]:
        """The class of a kind."""
        if ":" in kind:
            return self._own(kind, code_dir)
        names = _names(self.package)
        if kind not in names:
            raise ValueError(
                f"{self.key}: expected one of {', '.join(names)}, or module:Class; received '{kind}'{nearest(kind, names)}"
            )
        module = importlib.import_module(f"{self.package.__name__}.{kind}")
        classes = (value for value in vars(module).values() if isinstance(value, type))
        [cls] = [c for c in classes if issubclass(c, self.base) and c.__module__ == module.__name__]
        return cls

    def _own(self, kind: str, code_dir: Path | None) -> type[S]:
        try:
            found = resolve(kind, code_dir, self.key)
        except RequestError as error:
            raise ValueError(str(error)) from None
        if not (isinstance(found, type) and issubclass(found, self.base)):
            raise ValueError(f"{self.key}: expected {kind} to be a subclass of {self.base.__name__}")
        if getattr(found, "run", None) is getattr(self.base, "run", None):
            raise ValueError(f"{self.key}: expected {kind} to have a `run` of its own")
        return found


BUILT_IN = (
    "train",
    "validation",
    "test",
    "confidence",
    "input_gradient",
    "jacobian",
    "weights",
    "distance",
    "gradient_norm",
    "feature_rank",
    "temperature",
    "hessian",
    "zero_gradients",
    "corruptions",
)
_ATTACKS = _Kinds[AttackSpec]("attack", attacks, AttackSpec, RecordedAttack)
_MEASURES = _Kinds[CurvatureSpec]("measure", curvature, CurvatureSpec, RecordedMeasure)
KINDS: dict[str, _Kinds[Any]] = {"attacks": _ATTACKS, "curvature": _MEASURES}  # by the config's key
attack, curvature_measure = _ATTACKS.spec, _MEASURES.spec


@functools.cache
def defaults(kind: str, name: str) -> Mapping[str, Any]:
    """The settings of a shipped attack or measure of curvature at their defaults; empty for all else.

    A record that is older than a setting does not name it: it was measured with the default.
    """
    cls: type[Spec] | None = None
    if kind == "attack" and name in ATTACKS:
        cls = _ATTACKS.found(name)
    elif kind == "curvature" and name in MEASURES:
        cls = _MEASURES.found(name)
    return {key: field.default for key, field in cls.model_fields.items()} if cls else {}


def refuse_no_seed(seed: Any) -> None:
    """Refuses what no seed is.

    Raises:
        RequestError: it is none.
    """
    if isinstance(seed, bool) or not isinstance(seed, Integral) or not 0 <= int(seed) < 2**32:
        raise RequestError(f"seed: expected a whole number from 0 to 4,294,967,295, received {seed!r:.60}")


def asked_attack(kind: str, epsilon: Any, settings: dict[str, Any]) -> AttackSpec:
    """The attack that a call in Python asks for.

    Raises:
        RequestError: something does not fit; one line that begins with the kind.
    """
    refuse_keys(kind, settings, "attack")
    try:
        if isinstance(epsilon, bool | np.bool_ | str | bytes):
            raise TypeError
        radius = float(epsilon)
    except (ValueError, TypeError):
        raise RequestError(
            f"{kind}: epsilon: expected a number in [0, 1], received {epsilon!r:.60}"
        ) from None
    try:
        return attack(kind, {**settings, "epsilon": [radius]}, None)
    except (ValueError, TypeError) as error:
        raise RequestError(f"{kind}: {error}") from None


def refuse_keys(kind: str, settings: dict[str, Any], of_kind: str) -> None:
    """Refuses keys of a config's block that a call in Python has other arguments for.

    Raises:
        RequestError: it has one.
    """
    for key, instead in ((of_kind, "kind"), ("examples", "so many images")):
        if key in settings:
            raise RequestError(f"{kind}: {key}: not a setting here; give {instead}")
