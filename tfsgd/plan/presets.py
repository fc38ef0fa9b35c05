"""`measures: full`: the expensive measures beside those that a config asks for, from `full.yaml`."""

from pathlib import Path
from typing import Any

from tfsgd.plan.config import Experiment, Measuring
from tfsgd.plan.yaml_io import read_yaml

SHIPPED = Path(__file__).with_name("full.yaml")
EPSILONS = {"cifar10": [0.005, 0.01, 0.02]}  # of the attacks where no config says; else those of MNIST
DEFAULT_EPSILONS = [0.02, 0.05, 0.1, 0.3]


def usual_epsilons(dataset: object) -> list[float]:
    """At which attacks are run where no config says it."""
    return EPSILONS.get(str(dataset), DEFAULT_EPSILONS)


def full_blocks() -> dict[str, Any]:
    """The shipped blocks, `attacks` and `curvature`, by label."""
    return read_yaml(SHIPPED)


def with_full(raw: dict[str, Any], plain: Measuring) -> dict[str, Any]:
    """A config's keys with the shipped blocks besides; a label that is there, even as null, stays as it is.

    Args:
        raw: the keys, not validated.
        plain: what they are without those blocks.
    """
    shipped = full_blocks()
    known = plain.attacks.get("pgd") or next(iter(plain.attacks.values()), None)
    epsilon = list(known.epsilon) if known else usual_epsilons(plain.dataset)
    attacks = {label: {"epsilon": epsilon, **block} for label, block in shipped["attacks"].items()}
    curvature = shipped["curvature"]
    if isinstance(plain, Experiment):
        sharpness = curvature["batch_sharpness"]
        sharpness["examples"] = max(sharpness["examples"], *plain.batch_sizes)
    else:
        del curvature["batch_sharpness"]  # no batch size is known
    for blocks, split in ((attacks, "test"), (curvature, "train")):
        for block in blocks.values():
            block["examples"] = min(block["examples"], plain.examples(split))
            if "batch_size" in block:
                block["batch_size"] = min(block["batch_size"], block["examples"])
    for key, blocks in (("attacks", attacks), ("curvature", curvature)):
        own = raw.get(key) or {}
        raw = raw | {key: own | {label: block for label, block in blocks.items() if label not in own}}
    return raw
