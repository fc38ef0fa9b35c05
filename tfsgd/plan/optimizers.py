"""Optimizers beside the paper's SGD: Keras's, by its names and with its arguments."""

import json
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator

from tfsgd.plan.import_string import is_own_name
from tfsgd.text import known_keys, nearest, shown

SGD = "sgd"
_ADAM = ("beta_1", "beta_2", "epsilon", "weight_decay")
ARGUMENTS: Mapping[
    str, tuple[str, ...]
] = {  # that are numbers or truth values; what else Keras has is as it is there
    "adadelta": ("rho", "epsilon", "weight_decay"),
    "adagrad": ("initial_accumulator_value", "epsilon", "weight_decay"),
    "adam": (*_ADAM, "amsgrad"),
    "adamax": _ADAM,
    "adamw": (*_ADAM, "amsgrad"),
    "lion": ("beta_1", "beta_2", "weight_decay"),
    "muon": (
        "weight_decay",
        "momentum",
        "nesterov",
        "ns_steps",
        "rms_rate",
        "adam_lr_ratio",
        "adam_beta_1",
        "adam_beta_2",
        "adam_weight_decay",
        "epsilon",
    ),
    "nadam": _ADAM,
    "rmsprop": ("rho", "momentum", "epsilon", "centered", "weight_decay"),
}
DECAYS = ("adamw", "muon")  # where Keras's default takes something off the weights, which is to be said


def checked(value: Any) -> tuple[str, str]:
    """An optimizer's name, and its arguments as text, from a name or a block with a `name`.

    Raises:
        ValueError: the name, an argument or a value is none of Keras's; the line begins with the key, if it is not the block.
    """
    block = {"name": value} if isinstance(value, str) else value
    if not isinstance(block, dict) or not isinstance(block.get("name"), str):
        raise ValueError(
            f"expected a name such as adam, or {{name: adamw, weight_decay: 0.01}}, received {shown(value)}"
        )
    name, given = block["name"], {key: v for key, v in block.items() if key != "name"}
    known = ARGUMENTS.get(name)
    if known is None and not is_own_name(name):
        own = (
            "; SGD with its momentum is what there is without it" if name == SGD else nearest(name, ARGUMENTS)
        )
        raise ValueError(
            f"expected one of {', '.join(ARGUMENTS)}, or module:function, received {shown(name)}{own}"
        )
    for key, v in given.items():
        if known is not None and key not in known:
            raise ValueError(f"{key}: unknown key{known_keys(str(key), known)}")
        if not str(key).isidentifier() or key == "learning_rate":
            raise ValueError(f"{key}: expected the name of another argument of {name}")
        if not isinstance(v, bool | int | float) or v != v or v in (float("inf"), -float("inf")):
            raise ValueError(f"{key}: expected a number or a truth value, received {shown(v)}")
    if name in DECAYS and "weight_decay" not in given:
        raise ValueError(f"weight_decay: missing; {name} needs it, 0.0 for none")
    return name, ",".join(f"{key}={json.dumps(given[key])}" for key in sorted(given))


def arguments(name: str, text: str) -> dict[str, Any]:
    """The arguments of an optimizer that `checked` has made a text of.

    Raises:
        ValueError: they are none.
    """
    if name == SGD:
        if text:
            raise ValueError(f"expected no arguments of {SGD}, received {shown(text)}")
        return {}
    pairs = [pair.partition("=") for pair in text.split(",") if pair]
    found = {key: json.loads(value) for key, _, value in pairs}
    if checked({"name": name, **found})[1] != text:
        raise ValueError(f"expected arguments as key=value, in their order, received {shown(text)}")
    return found


def stability_bound(name: str, text: str) -> float | None:
    """2(1 + beta_1)/(1 - beta_1), or 2(1 + gamma): over the rate it is what the preconditioned eigenvalue cannot stay above.

    Of full batches; Cohen et al. 2022 (arXiv:2207.14484), equation 3 (38/eta for beta_1 = 0.9). `None`: not known of it.
    """
    given = arguments(name, text)
    if name in ("adam", "adamw") and not given.get("amsgrad"):
        beta = given.get("beta_1", 0.9)
        return 2 * (1 + beta) / (1 - beta)
    if name == "adagrad" or (name == "rmsprop" and not given.get("centered")):
        return 2 * (1 + given.get("momentum", 0.0))
    return None


def _known(name: str) -> str:
    if name != SGD and name not in ARGUMENTS and not is_own_name(name):
        raise ValueError(f"expected one of {', '.join([SGD, *ARGUMENTS])}, received {shown(name)}")
    return name


OptimizerName = Annotated[str, AfterValidator(_known)]
