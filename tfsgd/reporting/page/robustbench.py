"""Networks' entries for RobustBench, with the keys of the files in its folder `model_info/` (github.com/RobustBench/robustbench)."""

import json
import math
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

from tfsgd.data.load import DATASETS
from tfsgd.errors import RequestError
from tfsgd.measures.norms import LARGEST
from tfsgd.measures.spec import Measurement
from tfsgd.plan.settings import settings_in_use
from tfsgd.records.atomic import write_atomically
from tfsgd.records.preflight import is_there, read_json
from tfsgd.records.record import Record
from tfsgd.reporting.table.studies import Study
from tfsgd.text import counted, cut

EPSILONS = {"Linf": "8/255", "L2": "0.5"}  # of its leaderboards for CIFAR
LEADERBOARDS = ("cifar10", "cifar100", "imagenet")  # of these data sets
CLOSE = 1e-4  # relative: two roundings of one epsilon, 8/255 and 0.03137


def epsilon_of(text: str) -> float:
    """The number that `--epsilon` says, as RobustBench writes it: `8/255`, `0.5`.

    Raises:
        RequestError: it is none that means something.
    """
    try:
        found = float(Fraction(text))
    except (ValueError, ZeroDivisionError):
        found = math.nan
    if not 0 < found <= LARGEST["L2"]:
        raise RequestError(f"--epsilon {cut(text)}: expected a number above 0, such as 0.1 or 8/255")
    return found


def write_entries(
    studies: Sequence[Study], folder: Path, epsilon: str | None = None
) -> tuple[int, list[str]]:
    """Writes a JSON for each completed network and each norm in which it was attacked, where RobustBench has it.

    It is `FOLDER/DATASET/NORM/SWEEP-REGIME-TRIAL.json`. What nobody but the user knows is null. In a file that is there
    already only null is filled in.

    Args:
        studies: whose trials.
        folder: as RobustBench's `model_info/`.
        epsilon: at which attacks count; by default RobustBench's own of the norm.

    Returns:
        How many files, and the keys that are null in one of them.

    Raises:
        RequestError: something else is in the place of a file, or an entry at another epsilon.
        OSError: a file cannot be written.
    """
    count, unknown = 0, dict[str, bool]()
    for study in studies:
        for record in (record for record in study.records if record.status == "completed"):
            for norm in sorted({norm_of(m) for m in record.attacks} & EPSILONS.keys()):
                entry = _entry(study, record, norm, epsilon or EPSILONS[norm])
                name = f"{record.name}-{record.folder.replace('/', '-')}.json"
                path = folder / entry["dataset"] / norm / name
                entry |= {k: v for k, v in _known(path, entry["eps"]).items() if v is not None}
                write_atomically(path, json.dumps(entry, indent=2, ensure_ascii=False) + "\n")
                unknown = {key: unknown.get(key, False) or value is None for key, value in entry.items()}
                count += 1
    return count, [key for key, is_unknown in unknown.items() if is_unknown]


def dataset_of(study: Study) -> str:
    """The data set, as RobustBench calls it."""
    return study.dataset.removeprefix("tfds:").replace("/", "-")


def norm_of(attack: Measurement) -> str:
    """The norm of an attack's ball."""
    return str(attack.settings.get("norm", "Linf"))


def _entry(study: Study, record: Record, norm: str, epsilon: str) -> dict[str, Any]:
    clean = [m.accuracy for m in record.measurements if (m.kind, m.split) == ("accuracy", "test")]
    radius = epsilon_of(epsilon)
    attacks = [
        m
        for m in record.attacks
        if norm_of(m) == norm
        and m.accuracy is not None
        and math.isclose(m.epsilon or 0, radius, rel_tol=CLOSE)
    ]
    return {
        "link": None,
        "name": None,
        "authors": None,
        "additional_data": False if record.dataset in DATASETS else None,
        "number_forward_passes": 1,
        "dataset": dataset_of(study),
        "venue": None,
        "architecture": study.model_title,
        "eps": epsilon,
        "clean_acc": _percent(clean[0]) if clean else None,
        "reported": _percent(min(m.accuracy or 0.0 for m in attacks)) if attacks else None,
        "autoattack_acc": None,  # RobustBench's own run says it
        "footnote": ". ".join(_footnote(record, attacks)) + ".",
    }


def _percent(accuracy: float | None) -> str | None:
    return None if accuracy is None else f"{100 * accuracy:.2f}"


def _footnote(record: Record, attacks: Sequence[Measurement]) -> Iterator[str]:
    """What the numbers rest on."""
    told = (f"{s.title} {s.text(record.sgd)}" for s in settings_in_use([record.sgd]))
    yield f"Trained with {', '.join(told)}, seed {record.seed}"
    if attacks:
        under = (f"{m.label} ({counted(m.examples, 'test image')})" for m in attacks)
        yield f"Reported is the lowest accuracy under {', '.join(under)}"


def _known(path: Path, epsilon: str) -> dict[str, Any]:
    """What is there already.

    Raises:
        RequestError: it is no entry, or one at another epsilon.
    """
    if not is_there(path):
        return {}
    found = read_json(path)
    if not isinstance(found, dict) or "eps" not in found:
        raise RequestError(f"{path}: expected an entry of RobustBench, found something else; move it away")
    if found["eps"] != epsilon:
        raise RequestError(
            f"{path}: its eps is {cut(str(found['eps']))}, not {epsilon}; choose another folder"
        )
    return found
