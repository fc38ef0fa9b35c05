"""A YAML file, its quick block and the overrides of a command line -> a valid `Experiment`."""

import re
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import ValidationError

from tfsgd.errors import RequestError
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.plan.config import Experiment, Measuring, Regime
from tfsgd.plan.own import SET_BY_THE_TOOL
from tfsgd.plan.resolve import nearest

M = TypeVar("M", bound=Measuring)


def load_experiment(
    path: Path,
    overrides: tuple[str, ...] = (),
    quick: bool = False,
    data_dirs: tuple[Path | None, ...] = (),
) -> Experiment:
    """Reads a config: the file, then its `quick` block if asked for, then the overrides.

    Args:
        path: a YAML file.
        overrides: `key=value` each; the key is dotted, the value is YAML.
        quick: cut down by the `quick` block; the profile is then "quick".
        data_dirs: where an `.npz` that the config names may lie, besides the config's own folder.

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
        _validated(path, short, data_dirs)  # a wrong quick block is found before it is needed
    chosen = short if quick else raw
    for key, value in assignments:
        if not key.startswith("quick."):
            _assign(chosen, key, value)
    return _validated(path, chosen, data_dirs)


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


def _validated(
    path: Path,
    raw: dict[str, Any],
    data_dirs: tuple[Path | None, ...],
    what: type[M] = Experiment,  # type: ignore[assignment]
    resolved: bool = False,
) -> M:
    try:
        return what.model_validate(
            raw, context=None if resolved else {"folder": path.parent, "data_dirs": data_dirs}
        )
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
        return f"{key}: unknown key{nearest(str(item['loc'][-1]), _allowed_keys(item['loc'][:-1]))}"
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
    blocks = {"regimes": Regime, "hessian": TopEigenvalue}
    block: Any = Experiment
    for name in location:
        block = blocks.get(str(name), block)
    return [field for field in block.model_fields if field not in SET_BY_THE_TOOL] + (
        ["quick"] if block is Experiment else []
    )


def _shown(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


# What is measured without a sweep

EPSILONS = {"cifar10": [0.005, 0.01, 0.02]}  # of the attacks where no config says; else those of MNIST
DEFAULT_EPSILONS = [0.02, 0.05, 0.1, 0.3]


def load_measuring(
    config: Path | None, dataset: str | None, overrides: tuple[str, ...], data_dirs: tuple[Path | None, ...]
) -> Measuring:
    """What to measure on networks from elsewhere: a config's, or the usual on a data set.

    Args:
        config: a YAML file, of which only the data set and what is measured count.
        dataset: where there is no config: its name; FGSM, PGD and λ1 are then measured with their defaults.
        overrides: as for `load_experiment`.
        data_dirs: as for `load_experiment`.

    Raises:
        RequestError: both are given, or something in them is wrong.
    """
    if config and dataset:
        raise RequestError("--config, --dataset: expected one of them; --set dataset=NAME changes a config's")
    if config:
        return load_experiment(config, overrides, data_dirs=data_dirs)
    epsilon = EPSILONS.get(dataset or "", DEFAULT_EPSILONS)
    raw: dict[str, Any] = {
        "dataset": dataset,
        "attacks": {"fgsm": {"epsilon": epsilon}, "pgd": {"epsilon": epsilon}},
    }
    for key, value in map(_parse_override, overrides):
        _assign(raw, key, value)
    return _validated(Path("--dataset"), raw, data_dirs, Measuring)


def regrown(
    stored: Path, config: Path | None, overrides: tuple[str, ...], data_dirs: tuple[Path | None, ...]
) -> Experiment:
    """The config of a finished sweep, with what is to be measured besides.

    Args:
        stored: its `experiment.yaml`.
        config: a YAML file whose attacks and curvature are added; its grid does not count.
        overrides: as for `load_experiment`.
        data_dirs: as for `load_experiment`.

    Raises:
        RequestError: something in them is wrong.
    """
    raw = _read_yaml(stored)
    raw["code_dir"] = raw.get("code_dir") or str(Path.cwd())
    if config:
        more = load_experiment(config, (), raw.get("profile") == "quick", data_dirs).model_dump(mode="json")
        for key in ("attacks", "curvature"):
            raw[key] = {**(raw.get(key) or {}), **more[key]}
    for key, value in map(_parse_override, overrides):
        _assign(raw, key, value)
    return _validated(stored, raw, data_dirs, resolved=True)
