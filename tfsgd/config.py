"""A YAML config -> a frozen, valid `Experiment` -> its grid of trials' settings.

The file is read once, strictly: unknown keys, wrong types and values out of range are refused in
one line that names the key. From here on everything is typed and valid.
"""

import difflib
import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from tfsgd.data import DATASETS, Splits
from tfsgd.errors import RequestError
from tfsgd.models import MODELS
from tfsgd.regimes import SGDSettings, constant_rate, constant_ratio

Count = Annotated[int, Field(strict=True, ge=1)]
Cardinal = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, gt=0, le=1)]
Epsilon = Annotated[float, Field(strict=True, ge=0, le=1)]  # images are in [0, 1]
Momentum = Annotated[float, Field(strict=True, ge=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/-]*$", max_length=60)]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="after")
    def _lists_hold_each_value_once(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and len(set(value)) != len(value):
                raise ValueError(f"{name}: expected each value once")
        return self


class Regime(_Block):
    """Either a constant `learning_rate` or a constant `ratio` of it to the batch size."""

    learning_rate: Positive | None = None
    ratio: Positive | None = None
    halve_every_epochs: Count | None = None
    momentum: Annotated[tuple[Momentum, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.learning_rate is None) == (self.ratio is None):
            raise ValueError("expected either learning_rate or ratio")
        return self

    def settings(self, batch_size: int, momentum: float) -> SGDSettings:
        """The SGD settings of this regime at a batch size and a momentum."""
        if self.ratio is not None:
            return constant_ratio(self.ratio, batch_size, momentum, self.halve_every_epochs)
        assert self.learning_rate is not None
        return constant_rate(self.learning_rate, batch_size, momentum, self.halve_every_epochs)


class FGSM(_Block):
    """Fast gradient sign method (Goodfellow et al. 2015), L-infinity."""

    epsilon: Annotated[tuple[Epsilon, ...], Field(min_length=1)]
    examples: Count | None = None  # of the test images; None: all


class PGD(_Block):
    """Projected gradient descent (Madry et al. 2018), L-infinity."""

    epsilon: Annotated[tuple[Epsilon, ...], Field(min_length=1)]
    steps: Count = 40
    relative_step_size: Fraction = 0.0333  # times epsilon
    random_start: Flag = True
    restarts: Count = 1
    early_stop: Flag = True
    examples: Count | None = None


class Attacks(_Block):
    fgsm: FGSM | None = None
    pgd: PGD | None = None

    @model_validator(mode="after")
    def _restarts_differ(self) -> Self:
        if self.pgd and self.pgd.restarts > 1 and not self.pgd.random_start:
            raise ValueError(
                "pgd.restarts: more than 1 needs random_start: true, else all restarts are the same"
            )
        return self


class Hessian(_Block):
    """The top eigenvalue: on which images, and when the power iteration stops."""

    examples: Count = 5_000
    split: Literal["train", "test"] = "train"
    max_iterations: Count = 100
    tolerance: Positive = 1e-2  # on the residual |Hv - eigenvalue v| / |eigenvalue|
    every_epochs: Cardinal = 0  # 0: at the end only


class Experiment(_Block):
    """One data set, one model, and the grid of SGD settings to train it with."""

    name: Name
    dataset: str
    model: str
    epochs: Count
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Cardinal, ...], Field(min_length=1)]
    regimes: Annotated[dict[Label, Regime], Field(min_length=1)]
    attacks: Attacks
    hessian: Hessian = Hessian()
    export: Flag = True
    train_examples: Count | None = None  # None: all of the split
    validation_examples: Count | None = None
    test_examples: Count | None = None
    data_dir: str | None = None
    checkpoint_every_epochs: Count = 1
    profile: Literal["full", "quick"] = "full"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _one_of("dataset", self.dataset, DATASETS)
        _one_of("model", self.model, MODELS)
        spec = DATASETS[self.dataset]
        if MODELS[self.model].image_shape != spec.image_shape:
            fitting = [m for m, a in MODELS.items() if a.image_shape == spec.image_shape]
            raise ValueError(
                f"model: {self.model} takes images of shape {MODELS[self.model].image_shape}, {self.dataset} has "
                f"{spec.image_shape}; expected one of {', '.join(fitting)}"
            )
        for split in ("train", "validation", "test"):
            asked = getattr(self, f"{split}_examples")
            if asked is not None and asked > getattr(spec, split):
                raise ValueError(
                    f"{split}_examples: expected at most {getattr(spec, split):,}, received {asked:,}"
                )
        for batch_size in self.batch_sizes:
            if batch_size > self.examples("train"):
                raise ValueError(
                    f"batch_sizes: expected at most the {self.examples('train'):,} training images, received {batch_size:,}"
                )
        if self.hessian.examples > self.examples(self.hessian.split):
            raise ValueError(
                f"hessian.examples: expected at most the {self.examples(self.hessian.split):,} images of the "
                f"{self.hessian.split} split, received {self.hessian.examples:,}"
            )
        for kind, attack in (("fgsm", self.attacks.fgsm), ("pgd", self.attacks.pgd)):
            if attack and (attack.examples or 0) > self.examples("test"):
                raise ValueError(
                    f"attacks.{kind}.examples: expected at most the {self.examples('test'):,} test images, received {attack.examples:,}"
                )
        slugs = [slug(label) for label in self.regimes]
        if len(set(slugs)) != len(slugs):
            raise ValueError(
                f"regimes: expected labels that differ as folder names, received {', '.join(self.regimes)}"
            )
        return self

    def examples(self, split: str) -> int:
        """How many images of a split are used."""
        return getattr(self, f"{split}_examples") or getattr(DATASETS[self.dataset], split)

    def cut(self, splits: Splits) -> Splits:
        """The images, cut to the numbers that are used."""
        return Splits(
            train=splits.train.first(self.train_examples),
            validation=splits.validation.first(self.validation_examples),
            test=splits.test.first(self.test_examples),
            sha256=splits.sha256,
            source=splits.source,
        )

    def meaning(self) -> dict[str, Any]:
        """What determines a trial's numbers besides its own SGD settings and seed."""
        chosen = self.model_dump(include={"dataset", "model", "epochs", "attacks", "hessian"}, mode="json")
        return chosen | {
            f"{split}_examples": self.examples(split) for split in ("train", "validation", "test")
        }


def slug(label: str) -> str:
    """A regime's label as a folder name: LR/BS -> lr-bs."""
    return re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-")


def _one_of(key: str, value: str, allowed: dict[str, Any]) -> None:
    if value not in allowed:
        raise ValueError(
            f"{key}: expected one of {', '.join(allowed)}, received '{value}'{_nearest(value, allowed)}"
        )


def _nearest(word: str, allowed: Any) -> str:
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


# Reading


def load_experiment(path: Path, overrides: tuple[str, ...] = (), quick: bool = False) -> Experiment:
    """Reads a config: the file, then its `quick` block if asked for, then the overrides.

    Args:
        path: a YAML file.
        overrides: `key=value` each; the key is dotted, the value is YAML.
        quick: cut down by the `quick` block; the profile is then "quick".

    Raises:
        RequestError: the file or a key is wrong; one line that names it.
    """
    raw = _read_yaml(path)
    assignments = [_parse_override(text) for text in overrides]
    if "profile" in raw or any(key == "profile" for key, _ in assignments):
        raise RequestError(f"{path}: profile: it is set by --quick, not by hand")
    for key, value in assignments:
        if key.startswith("quick."):
            _assign(raw, key, value)
    block = raw.pop("quick", None)
    if quick and block is None:
        raise RequestError(f"{path}: quick: --quick needs this block, and the config has none")
    if not isinstance(block, dict | None):
        raise RequestError(f"{path}: quick: expected a mapping of config keys, received {_shown(block)}")
    short = _merged(raw, block or {}) | {"profile": "quick"}
    if block and not overrides:
        _validated(path, short)  # a wrong quick block is found before it is needed
    chosen = short if quick else raw
    for key, value in assignments:
        if not key.startswith("quick."):
            _assign(chosen, key, value)
    return _validated(path, chosen)


class _Loader(yaml.SafeLoader):
    """YAML without Python objects or repeated keys, where 1e-2 is a number."""


_Loader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag != "tag:yaml.org,2002:float"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"^[-+]?(\.[0-9]+|[0-9]+\.[0-9]*|[0-9]+(?=[eE]))([eE][-+]?[0-9]+)?$|^[-+]?\.(inf|Inf|INF)$|^\.(nan|NaN|NAN)$"
    ),
    list("-+0123456789."),
)


def _mapping_without_repeats(loader: yaml.SafeLoader, node: yaml.MappingNode) -> dict[Any, Any]:
    loader.flatten_mapping(node)
    keys = [loader.construct_object(key, deep=True) for key, _ in node.value]
    for key in keys:
        if not isinstance(key, str):
            raise yaml.constructor.ConstructorError(
                None, None, f"expected a word as key, found {key!r}", node.start_mark
            )
        if keys.count(key) > 1:
            raise yaml.constructor.ConstructorError(None, None, f"key '{key}' stands twice", node.start_mark)
    return {
        key: loader.construct_object(value, deep=True)
        for key, (_, value) in zip(keys, node.value, strict=True)
    }


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping_without_repeats)


def _yaml(text: str | bytes) -> Any:
    return yaml.load(text, Loader=_Loader)


def _yaml_problem(error: yaml.YAMLError) -> str:
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    mark = getattr(error, "problem_mark", None)
    return f"{problem} (line {mark.line + 1})" if mark else str(problem)


def _read_yaml(path: Path) -> dict[str, Any]:
    if path.is_dir():
        raise RequestError(f"{path}: expected a YAML file, found a folder")
    try:
        raw = _yaml(path.read_bytes())
    except FileNotFoundError:
        raise RequestError(
            f"{path}: no such config; see the folder configs for those that are shipped"
        ) from None
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError, ValueError) as error:
        problem = _yaml_problem(error) if isinstance(error, yaml.YAMLError) else str(error)
        raise RequestError(f"{path}: expected YAML of plain values: {problem}") from None
    if not isinstance(raw, dict):
        raise RequestError(
            f"{path}: expected a mapping of config keys, found {'nothing' if raw is None else _shown(raw)}"
        )
    return raw


def _parse_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RequestError(f"--set {text}: expected KEY=VALUE")
    try:
        return key, _yaml(value)
    except (yaml.YAMLError, ValueError) as error:
        problem = _yaml_problem(error) if isinstance(error, yaml.YAMLError) else str(error)
        raise RequestError(f"--set {text}: expected a YAML value: {problem}") from None


def _assign(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """Sets a dotted key. A regime's label may hold dots: the longest one that is there wins."""
    first, _, rest = dotted.partition(".")
    if not rest:
        raw[first] = value
        return
    block = raw[first] = raw[first] if isinstance(raw.get(first), dict) else {}
    if first != "regimes":
        _assign(block, rest, value)
        return
    labels = [label for label in block if rest == label or rest.startswith(f"{label}.")]
    label = max(labels, key=len, default=rest if isinstance(value, dict) else rest.rpartition(".")[0])
    if rest == label:
        block[label] = value
    else:
        block[label] = (block.get(label) or {}) | {rest[len(label) + 1 :]: value}


def _merged(base: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """A deep copy of `base` with the mapping `over` laid on it; lists and values are replaced."""
    result = {key: _merged(value, {}) if isinstance(value, dict) else value for key, value in base.items()}
    for key, value in over.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = _merged(result[key], value) if both else value
    return result


def _validated(path: Path, raw: dict[str, Any]) -> Experiment:
    try:
        return Experiment.model_validate(raw)
    except ValidationError as error:
        items = error.errors()
        wrong_items = {item["loc"][:-1] for item in items if item["loc"] and item["type"] != "too_short"}
        problems = [
            _problem(dict(item))
            for item in items
            if item["type"] != "too_short" or item["loc"] not in wrong_items
        ]
        raise RequestError(f"{path}: {'; '.join(dict.fromkeys(problems))}") from None


def _problem(item: dict[str, Any]) -> str:
    # The entry of a list is told by its value.
    key = ".".join(str(part) for part in item["loc"] if not isinstance(part, int) and part != "[key]")
    if item["type"] == "extra_forbidden":
        return f"{key}: unknown key{_nearest(str(item['loc'][-1]), _allowed_keys(item['loc'][:-1]))}"
    if item["type"] == "missing":
        return f"{key}: missing"
    if item["type"] == "value_error":
        separator = "." if re.match(r"[\w.]+: ", str(item["ctx"]["error"])) else ": "
        return f"{key}{separator if key else ''}{item['ctx']['error']}"
    expected = {
        "string_pattern_mismatch": "expected letters, digits, '.', '_' or '-', beginning with a letter or digit",
        "too_short": "expected at least one entry",
        "tuple_type": "expected a list",
        "dict_type": "expected a mapping",
        "model_type": "expected a mapping",
        "model_attributes_type": "expected a mapping",
    }.get(item["type"]) or re.sub(r"^Input should be", "expected", item["msg"])
    return f"{key}: {expected}, received {_shown(item['input'])}"


def _allowed_keys(location: tuple[int | str, ...]) -> list[str]:
    """The keys of the block at a location of the config."""
    blocks = {"regimes": Regime, "attacks": Attacks, "fgsm": FGSM, "pgd": PGD, "hessian": Hessian}
    block: Any = Experiment
    for name in location:
        block = blocks.get(str(name), block)
    return [field for field in block.model_fields if field != "profile"] + (
        ["quick"] if block is Experiment else []
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."
