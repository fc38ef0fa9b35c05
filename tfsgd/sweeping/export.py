"""A trained network as files for others: a SavedModel, a `.keras` file, and a manifest of both."""

import hashlib
import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfsgd.records.files import sync, to_json, write_atomically
from tfsgd.records.record import Record


def keep_network(network: Any, record: Record, folder: Path, export: bool) -> None:
    """Writes `model.keras`, with `export` also `saved_model/`, and a `manifest.json` that proves them.

    The SavedModel takes float32 images in [0, 1]: its endpoint `serve` returns logits,
    `probabilities` their softmax.
    """
    if export:
        signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, name="image")]
        archive = keras.export.ExportArchive()
        archive.track(network)
        archive.add_endpoint("serve", lambda image: network(image, training=False), signature)
        archive.add_endpoint(
            "probabilities", lambda image: tf.nn.softmax(network(image, training=False)), signature
        )
        archive.write_out(str(folder / "saved_model"), verbose=False)
    network.save(folder / "model.keras")
    files = [
        folder / "model.keras",
        *sorted((folder / "saved_model").rglob("*")),
        *(folder / snapshot.file for snapshot in record.snapshots),
    ]
    proofs = {}
    for file in files:
        if file.is_file():
            sync(file)  # before the record, which is synced, says that they are there
            proofs[str(file.relative_to(folder))] = hashlib.sha256(file.read_bytes()).hexdigest()
    shape = [None, *network.input_shape[1:]]
    write_atomically(folder / "manifest.json", to_json(_manifest(record, shape, proofs)))


def write_manifest(record: Record, folder: Path) -> None:
    """Puts what was measured since into the manifest; the files and their proofs are those of the training."""
    path = folder / "manifest.json"
    before = json.loads(path.read_text(encoding="utf-8"))
    write_atomically(path, to_json(_manifest(record, before["input"]["shape"], before["sha256"])))


def forget_network(folder: Path) -> None:
    """Removes the network of a trial that has been measured in full and is not to be exported."""
    for name in ("model.keras", "manifest.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "snapshots", ignore_errors=True)


def _manifest(record: Record, shape: list[int | None], proofs: dict[str, str]) -> dict[str, Any]:
    return {
        "input": {"name": "image", "shape": shape, "dtype": "float32", "bounds": [0.0, 1.0]},
        "endpoints": {"serve": "logits", "probabilities": "softmax of the logits"},
        "classes": record.classes,
        "dataset": record.dataset,
        "model": record.model,
        "sgd": {
            "regimes": list(record.regimes),
            **asdict(record.sgd),
            "epochs": record.epochs,
            "seed": record.seed,
        },
        "status": record.status,
        "test_accuracy": record.accuracy("test"),
        "attacks": [
            {"label": a.label, **a.settings, "examples": a.examples, "accuracy": a.accuracy}
            for a in record.attacks
        ],
        "versions": record.provenance.versions,
        "data_sha256": record.data_sha256,
        "training_hash": record.training_hash,
        "sha256": proofs,
    }
