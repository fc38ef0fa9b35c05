"""`manifest.json`: what lies in a trial's folder, how to use it, and what was measured on it."""

import contextlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfsgd.measures.spec import Measurement
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import requests_of
from tfsgd.plan.settings import told
from tfsgd.records.atomic import to_json, write_atomically
from tfsgd.records.folder import LogFolder
from tfsgd.records.preflight import is_there
from tfsgd.records.record import Record
from tfsgd.records.resume import Done


def write_manifest(record: Record, experiment: Experiment, folder: Path) -> None:
    """Puts what was measured as the config asks into the manifest; files and proofs are those of the training."""
    path = folder / "manifest.json"
    text = path.read_text(encoding="utf-8")
    before = json.loads(text)
    found = record.asked(requests_of(experiment, record.seed))
    now = to_json(manifest(record, found, before["input"]["shape"], before["sha256"]))
    if now != text:
        write_atomically(path, now)


def renew_manifests(done: Done, experiment: Experiment, logs: LogFolder) -> None:
    """Each manifest says what the config of the day asks for, also where nothing had to be measured for it.

    One that is spoilt, or cannot be written, stays as it is: who needs the network is told.
    """
    for trial, record in done:
        if is_there(logs.trial_path(trial) / "manifest.json"):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError, RecursionError):
                write_manifest(record, experiment, logs.trial_path(trial))


def manifest(
    record: Record, found: Sequence[Measurement], shape: list[int | None], proofs: dict[str, str]
) -> dict[str, Any]:
    """What `manifest.json` says.

    Args:
        record: of the trial.
        found: what was measured that is asked for.
        shape: of the network's input.
        proofs: SHA-256 of each file.
    """
    on_test = (m.accuracy for m in found if m.kind == "accuracy" and m.split == "test")
    return {
        "input": {"name": "image", "shape": shape, "dtype": "float32", "bounds": [0.0, 1.0]},
        "endpoints": {"serve": "logits", "probabilities": "softmax of the logits"},
        "classes": record.classes,
        "dataset": record.dataset,
        "model": record.model,
        "sgd": {
            "regimes": list(record.regimes),
            **told(record.sgd),
            "epochs": record.epochs,
            "seed": record.seed,
        },
        "status": record.status,
        "test_accuracy": next(on_test, None),
        "attacks": [
            {"label": a.label, **a.settings, "examples": a.examples, "accuracy": a.accuracy}
            for a in found
            if a.kind == "attack"
        ],
        "versions": record.provenance.versions,
        "data_sha256": record.data_sha256,
        "training_hash": record.training_hash,
        "sha256": proofs,
    }
