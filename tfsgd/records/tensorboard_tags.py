"""What TensorBoard is to show of a trial's measurements, and whether it does; without TensorFlow."""

import hashlib
import math
import re
from pathlib import Path

from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import HESSIAN, requests_of
from tfsgd.records.atomic import to_json
from tfsgd.records.outcomes import smallest_epsilon
from tfsgd.records.record import EIGENVALUE_COLUMNS, Record

# TensorBoard groups tags by what stands before the slash, and sorts the groups: numbers come first, the picture last.
EIGENVALUE = "curvature/lambda1"  # in the epochs in which it is taken and at the end
SMALLEST_EPSILON = (
    "robustness/smallest_epsilon"  # the primary measure of robustness: its median over the images
)
PICTURE = "under_attack/images"
GROUPS: dict[str, str] = {"curvature": "curvature", "corruption": "robustness"}  # by the kind of measurement
NAMED = re.compile(r"events\.out\.tfevents\..*\.([0-9a-f]{16})\.v3")  # v2 had other tags


def scalars(record: Record, experiment: Experiment, folder: Path) -> dict[str, float]:
    """Tag -> number, of everything that was measured as the config asks, and the smallest epsilon.

    Args:
        record: of the trial.
        experiment: the config.
        folder: of the trial, in which the outcomes are.
    """
    shown = dict[str, float]()
    median = smallest_epsilon(folder, record).get("median", math.inf)
    if math.isfinite(median):
        shown[SMALLEST_EPSILON] = median
    for found in record.asked(requests_of(experiment, record.seed)):
        value = found.values.get("value", found.accuracy)
        if value is not None:
            shown[tag(found.kind, found.label, found.split, found.epsilon)] = value
        if found.values.get("median") is not None and found.kind == "attack":
            shown[median_tag(found.label, found.epsilon)] = found.values["median"]
    return shown


def fingerprint(record: Record, experiment: Experiment, folder: Path) -> str:
    """Of those numbers: it is part of the name of the file that TensorBoard reads."""
    return hashlib.sha256(to_json(scalars(record, experiment, folder)).encode()).hexdigest()[:16]


def is_current(record: Record, experiment: Experiment, folder: Path) -> bool:
    """Whether TensorBoard shows what the config of the day asks for, and not what was asked for before.

    Files that do not say what they show, those of earlier versions, or none at all, are taken as they are.
    """
    named = [
        found[1] for path in folder.glob("events.out.tfevents.*") if (found := NAMED.fullmatch(path.name))
    ]
    return not named or fingerprint(record, experiment, folder) in named


def epoch_tag(column: str) -> str:
    """Of a column of the history, by its name in Keras's logs."""
    if column in EIGENVALUE_COLUMNS.values():
        return EIGENVALUE
    return f"training/{re.sub('^val_', 'validation_', column)}"


def median_tag(label: str, epsilon: float | None) -> str:
    """Of the smallest epsilons, at most this one."""
    return f"robustness/{label}_{epsilon:g}_median"


def tag(kind: str, label: str, split: str, epsilon: float | None) -> str:
    """TensorBoard's name of a measurement."""
    if kind == "attack":
        return f"robustness/{label}_{epsilon:g}"
    if kind == "accuracy":
        return f"accuracy/{split}"
    if label == HESSIAN:
        return EIGENVALUE
    name = f"{GROUPS.get(kind, 'network')}/{label}"
    return f"{name}:measure" if name == EIGENVALUE else name  # no label holds a colon
