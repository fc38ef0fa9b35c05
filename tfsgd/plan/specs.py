"""A block of a config -> the typed spec that it describes, found by its kind's name."""

import functools
import importlib
import pkgutil
from collections.abc import Collection, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

from pydantic import ValidationError

from tfsgd.errors import RequestError
from tfsgd.fields import expectation
from tfsgd.measures import attacks, curvature
from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.curvature_spec import CurvatureSpec
from tfsgd.measures.recorded import RecordedAttack, RecordedMeasure
from tfsgd.measures.spec import Spec
from tfsgd.plan.import_string import is_own_name, known_keys, nearest, resolve

S = TypeVar("S", bound=Spec)


def _names(package: ModuleType) -> list[str]:
    return [module.name for module in pkgutil.iter_modules(package.__path__)]


Named = Collection[str] | None  # names of one's own whose code is run; `None`: all, others are `Recorded`
ATTACKS, MEASURES = _names(attacks), _names(curvature)  # the kinds that come with tfsgd


def attack(label: str, block: Any, code_dir: Path | None, named: Named = None) -> AttackSpec:
    """The attack of a config's block; its kind is `attack:`, or else its label.

    Raises:
        ValueError: the kind is unknown, or a setting does not fit; one line that begins with the key.
    """
    if _is_recorded(label, block, "attack", named):
        return _validated(RecordedAttack, label, block, "attack")
    return _spec(label, block, "attack", attacks, AttackSpec, code_dir)


def curvature_measure(label: str, block: Any, code_dir: Path | None, named: Named = None) -> CurvatureSpec:
    """The curvature measure of a config's block; its kind is `measure:`, or else its label.

    Raises:
        ValueError: as for `attack`.
    """
    if _is_recorded(label, block, "measure", named):
        return _validated(RecordedMeasure, label, block, "measure")
    return _spec(label, block, "measure", curvature, CurvatureSpec, code_dir)


def _is_recorded(label: str, block: Any, key: str, named: Named) -> bool:
    kind = block.get(key) if isinstance(block, dict) else None
    return named is not None and is_own_name(kind) and kind not in named


def _validated(cls: type[S], label: str, block: dict[str, Any], key: str) -> S:
    try:
        return cls.model_validate({**block, key: block.get(key) or label})
    except ValidationError as error:
        raise ValueError(said(error, cls)) from None


def _spec(label: str, block: Any, key: str, package: ModuleType, base: type[S], code_dir: Path | None) -> S:
    if isinstance(block, base):
        return block
    if not isinstance(block, dict | None):
        raise ValueError(f"expected a mapping, received {block!r:.60}")
    kind = (block or {}).get(key) or label
    if not isinstance(kind, str):
        raise ValueError(f"{key}: expected a word, received {kind!r:.60}")
    return _validated(_class(kind, key, package, base, code_dir), kind, block or {}, key)


def _class(kind: str, key: str, package: ModuleType, base: type[S], code_dir: Path | None) -> type[S]:
    if ":" in kind:
        try:
            found = resolve(kind, code_dir, key)
        except RequestError as error:
            raise ValueError(str(error)) from None
        if not (isinstance(found, type) and issubclass(found, base)):
            raise ValueError(f"{key}: expected {kind} to be a subclass of {base.__name__}")
        if getattr(found, "run", None) is getattr(base, "run", None):
            raise ValueError(f"{key}: expected {kind} to have a `run` of its own")
        return found
    names = _names(package)
    if kind not in names:
        raise ValueError(
            f"{key}: expected one of {', '.join(names)}, or module:Class; received '{kind}'{nearest(kind, names)}"
        )
    module = importlib.import_module(f"{package.__name__}.{kind}")
    [cls] = [
        value
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ == module.__name__
    ]
    return cls


@functools.cache
def defaults(kind: str, name: str) -> Mapping[str, Any]:
    """The settings of a shipped attack or measure of curvature at their defaults; empty for all else.

    A record that is older than a setting does not name it: it was measured with the default.
    """
    cls: type[Spec] | None = None
    if kind == "attack" and name in ATTACKS:
        cls = _class(name, "attack", attacks, AttackSpec, None)
    elif kind == "curvature" and name in MEASURES:
        cls = _class(name, "measure", curvature, CurvatureSpec, None)
    return {key: field.default for key, field in cls.model_fields.items()} if cls else {}


def said(error: ValidationError, block: type[Spec]) -> str:
    """The first thing that is wrong with a block: key, what was expected, what was received."""
    # A key that is unknown says more than the one that is missing because of it.
    item = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    key = ".".join(str(part) for part in item["loc"] if not isinstance(part, int))
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key{known_keys(key, block.model_fields)}"
    problem = expectation(item)
    if item["type"] == "missing":
        return f"{key}: {problem}"
    if item["type"] == "value_error":
        return f"{key}{'.' if key else ''}{problem}"
    return f"{key}: {problem}, received {item['input']!r:.60}"
