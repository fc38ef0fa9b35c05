"""A YAML file, its quick block and the overrides of a command line -> a valid `Experiment`."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from tfsgd.errors import RequestError
from tfsgd.fields import Block, Label, problems
from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.corruption_accuracy import Corruptions
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.plan.along import Snapshots
from tfsgd.plan.claim import Claim
from tfsgd.plan.config import Budget, Experiment, Measuring, MeasuringConfig
from tfsgd.plan.presets import full_blocks, usual_epsilons, with_full
from tfsgd.plan.regimes import RULES, Regime
from tfsgd.plan.shipped import find_config
from tfsgd.plan.user_model import NOT_NAMED, SET_BY_THE_TOOL, own_names
from tfsgd.plan.yaml_io import DialectError, parse_yaml, read_yaml, to_yaml
from tfsgd.text import cut, known_keys, nearest, shown

M = TypeVar("M", bound=Measuring)

LABELLED = (
    "regimes",
    "attacks",
    "curvature",
    "claims",
)  # blocks whose entries have labels; null switches one off
BLOCKS: dict[str, tuple[str, type[BaseModel]]] = {  # how a key in one is spelled, and what keys there are
    "regimes": ("regimes.NAME", Regime),
    "claims": ("claims.NAME", Claim),
    "attacks": ("attacks.NAME", AttackSpec),
    "hessian": ("hessian", TopEigenvalue),
    "corruptions": ("corruptions", Corruptions),
    "budget": ("budget", Budget),
    "snapshots": ("snapshots", Snapshots),
}
LONGEST_KEY = 250  # characters of a dotted key; a label in it has at most 60


def load_experiment(
    path: Path,
    overrides: tuple[str, ...] = (),
    quick: bool = False,
    data_folder: Path | None = None,
) -> Experiment:
    """Reads a config: the file, then its `quick` block if asked for, then the overrides.

    Args:
        path: a YAML file, the name of a shipped config, or the `experiment.yaml` of a sweep.
        overrides: `key=value` each; the key is dotted, the value is YAML.
        quick: cut down by the `quick` block; the profile is then "quick".
        data_folder: where an `.npz` that the config names may lie, besides the config's own.

    Raises:
        RequestError: the file or a key is wrong; one line that names it.
    """
    path = find_config(path)
    raw = read_yaml(path)
    if all(key in raw for key in ("profile", "code_dir", "own_data")):  # a sweep's own `experiment.yaml`
        if quick:
            raise RequestError(f"{path}: --quick: expected a config, found what a sweep made of one")
        raw["own_code"] = own_names(raw)  # a person has named this file
        return _with_overrides(path, raw, overrides, data_folder)
    assignments = [_parse_override(text) for text in overrides]
    for_quick = [pair for pair in assignments if pair[0].partition(".")[0] == "quick"]
    for key, value in for_quick:
        _override(raw, key, value)
    block = _quick_block(path, raw)
    if quick and block is None:
        raise RequestError(f"{path}: quick: --quick needs this block, and the config has none")
    if for_quick and not quick:
        raise RequestError(
            f"--set {cut(for_quick[0][0])}: it counts with --quick alone; add that, or leave this out"
        )
    short = _merged(raw, block or {}) | {"profile": "quick"}
    if block and not overrides:
        _validated(path, short, data_folder)  # a wrong quick block is found before it is needed
    chosen = short if quick else raw
    for key, value in (pair for pair in assignments if pair not in for_quick):
        if key == "profile":
            raise RequestError(f"--set {cut(key)}: it is set by --quick, not by hand")
        _override(chosen, key, value, block)
    return _validated(path, chosen, data_folder, typed=_keys(overrides))


def _quick_block(path: Path, raw: dict[str, Any]) -> dict[str, Any] | None:
    """Takes the `quick` block out of what was read."""
    block = raw.pop("quick", None)
    if not isinstance(block, dict | None):
        raise RequestError(f"{path}: quick: expected a mapping of config keys, received {shown(block)}")
    for where, keys in (("", raw), ("quick.", block or {})):
        if "profile" in keys:
            raise RequestError(f"{path}: {where}profile: it is set by --quick, not by hand")
    if block and "quick" in block:
        raise RequestError(f"{path}: quick.quick: expected no quick block inside the quick block")
    return block


def _parse_override(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not equals or not key:
        raise RequestError(f"--set {cut(text)}: expected KEY=VALUE")
    if len(key) > LONGEST_KEY:
        raise RequestError(
            f"--set {cut(text)}: expected a key of at most {LONGEST_KEY} characters, found {len(key):,}"
        )
    try:
        return key, parse_yaml(value)
    except DialectError as error:
        raise RequestError(f"--set {cut(text)}: expected a YAML value: {error}") from None


def _override(raw: dict[str, Any], dotted: str, value: Any, block: dict[str, Any] | None = None) -> None:
    """Sets a dotted key; what null switches off must be there, or in the quick block that was taken out."""
    _refuse_nothing_to_switch_off({"quick": block} | raw, dotted, value)
    above = ""
    while True:
        key, rest = _first_key(raw, above, dotted, value)
        if not rest:
            raw[key] = value
            return
        raw[key] = raw[key] if isinstance(raw.get(key), dict) else {}
        raw, above, dotted = raw[key], key, rest


def _refuse_nothing_to_switch_off(raw: dict[str, Any], dotted: str, value: Any) -> None:
    """A null at a label that is nowhere, most likely misspelled, would change nothing, and nobody would know."""
    block, _, label = dotted.removeprefix("quick.").partition(".")
    if value is not None or not label or block not in LABELLED:
        return
    places = (raw, raw.get("quick"), full_blocks())
    blocks = [place.get(block) for place in places if isinstance(place, dict)]
    known = [key for labels in blocks if isinstance(labels, dict) for key in labels]
    if not any(label == key or label.startswith(f"{key}.") for key in known):
        there = ", ".join(dict.fromkeys(known)) or "there is none"
        raise RequestError(
            f"--set {cut(dotted)}=null: expected one that is there to be switched off: {there}{nearest(label, known)}"
        )


def _first_key(raw: dict[str, Any], above: str, dotted: str, value: Any) -> tuple[str, str]:
    """A dotted key's first key, and the rest: a field up to the first dot, a label with its dots, the longest known."""
    if above not in LABELLED:
        first, dot, rest = dotted.partition(".")
        if dot and not (first and rest):
            raise RequestError(f"--set {cut(dotted)}: expected keys on both sides of each dot")
        return first, rest
    labels = [label for label in raw if dotted == label or dotted.startswith(f"{label}.")]
    new = dotted if isinstance(value, dict) else dotted.rpartition(".")[0] or dotted
    label = max(labels, key=len, default=new)
    return label, dotted[len(label) + 1 :]


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
    data_folder: Path | None,
    what: type[M] = Experiment,  # type: ignore[assignment]
    resolved: bool = False,
    typed: Sequence[str] = (),
) -> M:
    keys = {key: value for key, value in raw.items() if key != "measures"}
    measures = raw.get("measures", "standard")
    if measures not in ("standard", "full"):
        raise RequestError(f"{path}: measures: expected standard or full, received {shown(measures)}")
    found = _model(path, keys, data_folder, what, resolved, typed)
    if measures == "full":
        found = _model(path, with_full(keys, found), data_folder, what, resolved, typed)
    if isinstance(found, Experiment):
        _refuse_unreadable(path, found)
    return found


def _refuse_unreadable(path: Path, experiment: Experiment) -> None:
    """A sweep writes its config with every default, which is longer, and reads that by the same bounds."""
    content = experiment.model_dump(mode="json") | {"own_code": list(experiment.own_code)}
    try:
        parse_yaml(to_yaml(content))
    except DialectError as error:
        raise RequestError(
            f"{path}: with every default written out, as a sweep keeps it, it could not be read again: {error}; "
            "leave some of it out"
        ) from None


def _model(
    path: Path,
    raw: dict[str, Any],
    data_folder: Path | None,
    what: type[M],
    resolved: bool,
    typed: Sequence[str],
) -> M:
    context = None if resolved else {"folder": path.parent, "data_folder": data_folder}
    try:
        return what.model_validate(raw, context=context)
    except ValidationError as error:
        lines = problems(error, _hint)
    raise RequestError("; ".join(_as_typed(line, path, typed) for line in lines))


def _keys(overrides: Sequence[str]) -> list[str]:
    """The dotted keys that were typed after `--set`."""
    return [text.partition("=")[0] for text in overrides]


def _as_typed(problem: str, path: Path, typed: Sequence[str]) -> str:
    """What is wrong with a key, after the option or the file that says it."""
    key = problem.partition(": ")[0]
    if any(f"{key}.".startswith(f"{one}.") or one.startswith(f"{key}.") for one in typed):
        return f"--set {problem}"
    return f"{path}: {problem.removeprefix('dataset: ') if path == Path('--dataset') else problem}"


def _hint(location: tuple[int | str, ...]) -> str:
    """Where an unknown key belongs that was given at the top, such as `momentum`; or the nearest, or all there are."""
    key, block = str(location[-1]), str(location[0])
    if len(location) > 3 and location[2] in RULES:
        return known_keys(key, RULES[str(location[2])].model_fields)
    if len(location) > 1:
        return known_keys(key, BLOCKS[block][1].model_fields if block in BLOCKS else ())
    if key not in ("attack", "measure"):  # which are near to blocks of the top
        for prefix, kind in BLOCKS.values():
            if key in kind.model_fields:
                return f"; did you mean '{prefix}.{key}'?"
    known = [field for field in Experiment.model_fields if field not in SET_BY_THE_TOOL]
    return known_keys(key, [*known, "quick", "measures"])


# What is measured without a sweep


class _Claims(Block):
    claims: dict[Label, Claim]


def load_claims(path: Path) -> dict[str, Claim]:
    """Reads a YAML file whose `claims` are to be judged on stored sweeps.

    Raises:
        RequestError: the file or a key is wrong; one line that names it.
    """
    try:
        return _Claims.model_validate(read_yaml(path)).claims
    except ValidationError as error:
        raise RequestError(f"{path}: {'; '.join(problems(error, _hint))}") from None


def load_measuring(
    config: Path | None, dataset: str | None, overrides: tuple[str, ...], data_folder: Path | None
) -> Measuring:
    """What to measure on networks from elsewhere: a config's, or the usual on a data set.

    Args:
        config: a YAML file, of which only the data set and what is measured count; a data set alone is enough.
        dataset: where there is no config: its name; FGSM, PGD and λ1 are then measured with their defaults.
        overrides: as for `load_experiment`.
        data_folder: as for `load_experiment`.

    Raises:
        RequestError: both are given, or something in them is wrong.
    """
    if config and dataset:
        raise RequestError("--config, --dataset: expected one of them; --set dataset=NAME changes a config's")
    if config and _is_of_a_sweep(read_yaml(path := find_config(config))):
        return load_experiment(config, overrides, data_folder=data_folder)
    raw: dict[str, Any] = read_yaml(path) if config else {"dataset": dataset}
    for key in Experiment.model_fields.keys() - MeasuringConfig.model_fields.keys() | {"quick"}:
        raw.pop(key, None)  # of a sweep, which does not count here
    if "attacks" not in raw:
        epsilon = usual_epsilons(raw.get("dataset"))
        raw["attacks"] = {"fgsm": {"epsilon": epsilon}, "pgd": {"epsilon": epsilon}}
    for key, value in _of_no_config(overrides):
        _override(raw, key, value)
    path = path if config else Path("--dataset")
    return _validated(path, raw, data_folder, MeasuringConfig, typed=_keys(overrides))


def _is_of_a_sweep(raw: dict[str, Any]) -> bool:
    """Whether a config has what a sweep needs; without it, it is read as a data set and what is measured."""
    return {key for key, field in Experiment.model_fields.items() if field.is_required()} <= raw.keys()


def _of_no_config(overrides: tuple[str, ...]) -> list[tuple[str, Any]]:
    """The overrides of what is no config that a person wrote."""
    assignments = [_parse_override(text) for text in overrides]
    for key, _ in assignments:
        first = key.partition(".")[0]
        if first in SET_BY_THE_TOOL:
            by = "--quick" if first == "profile" else "the tool"
            raise RequestError(f"--set {cut(key)}: it is set by {by}, not by hand")
        if first == "quick":
            raise RequestError(
                f"--set {cut(key)}: only the config of a sweep has a quick block; leave it out"
            )
    return assignments


def regrown(
    stored: Path,
    config: Path | None,
    overrides: tuple[str, ...],
    data_folder: Path | None,
    warn: Callable[[str], None] = lambda line: None,
) -> Experiment:
    """The config of a finished sweep, with what is to be measured besides.

    Of code of one's own it imports what `config` and `overrides` name, and nothing that the folder alone does.

    Args:
        stored: its `experiment.yaml`.
        config: a YAML file whose attacks and curvature are added; its grid does not count.
        overrides: as for `load_experiment`.
        data_folder: as for `load_experiment`.
        warn: told what does not count, and might be meant to.

    Raises:
        RequestError: something in them is wrong, or the config is for another data set.
    """
    raw, more = read_yaml(stored) | {"own_code": []}, dict[str, Any]()
    if config:
        other = load_experiment(config, (), raw.get("profile") == "quick", data_folder)
        more = other.model_dump(mode="json")
        if more["dataset"] != raw.get("dataset"):
            raise RequestError(
                f"--config {config}: dataset: {more['dataset']}: the networks of {stored.parent} are measured on their "
                f"own, {shown(raw.get('dataset'))}; leave it out, or give a network's own file"
            )
        for key in ("attacks", "curvature"):
            raw[key] = {**(raw.get(key) or {}), **more[key]}
        raw["corruptions"] = more["corruptions"] or raw.get("corruptions")
        raw |= {"own_code": list(other.own_code), "code_dir": more["code_dir"] or raw.get("code_dir")}
    grown = _with_overrides(stored, raw, overrides, data_folder)
    for key, blocks in (("attacks", grown.attacks), ("curvature", grown.curvature)):
        for label in (label for label, spec in blocks.items() if spec.is_recorded):
            warn(f"{key}.{label}: shown as it was recorded and not measured: {NOT_NAMED}")
    ours = grown.hessian.model_dump(mode="json", exclude={"every_epochs"})
    for key, value in ours.items():
        if more and more["hessian"][key] != value:
            warn(
                f"--config {config}: its hessian.{key} does not count, λ1 is that of {stored.parent}; "
                f"--set hessian.{key}={more['hessian'][key]} would measure it"
            )
    return grown


def _with_overrides(
    stored: Path, raw: dict[str, Any], overrides: tuple[str, ...], data_folder: Path | None
) -> Experiment:
    """A resolved config with overrides; code of one's own that they name is a person's."""
    for key, value in _of_no_config(overrides):
        _override(raw, key, value)
        if named := own_names(value):
            here = raw["code_dir"] if raw["own_code"] else str(Path.cwd())
            raw |= {"code_dir": here, "own_code": sorted({*raw["own_code"], *named})}
    return _validated(stored, raw, data_folder, resolved=True, typed=_keys(overrides))
