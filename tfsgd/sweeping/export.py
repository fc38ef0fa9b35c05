"""A trained network as files for others: a SavedModel, a `.keras` file, and a manifest of both."""

import hashlib
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfsgd.records.files import to_json, write_atomically
from tfsgd.records.record import Record


def export_network(network: Any, record: Record, folder: Path) -> None:
    """Writes `saved_model/`, `model.keras` and `manifest.json` into a trial's folder.

    The SavedModel takes float32 images in [0, 1]: its endpoint `serve` returns logits,
    `probabilities` their softmax.
    """
    shape = (None, *network.input_shape[1:])
    signature = [tf.TensorSpec(shape, tf.float32, name="image")]
    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serve", lambda image: network(image, training=False), signature)
    archive.add_endpoint(
        "probabilities", lambda image: tf.nn.softmax(network(image, training=False)), signature
    )
    archive.write_out(str(folder / "saved_model"), verbose=False)
    network.save(folder / "model.keras")
    write_atomically(folder / "manifest.json", to_json(_manifest(network, record, folder)))


def _manifest(network: Any, record: Record, folder: Path) -> dict[str, Any]:
    files = [folder / "model.keras", *sorted((folder / "saved_model").rglob("*"))]
    return {
        "input": {
            "name": "image",
            "shape": [None, *network.input_shape[1:]],
            "dtype": "float32",
            "bounds": [0.0, 1.0],
        },
        "endpoints": {"serve": "logits", "probabilities": "softmax of the logits"},
        "classes": network.output_shape[-1],
        "dataset": record.dataset,
        "model": record.model,
        "sgd": {
            "regimes": list(record.regimes),
            "batch_size": record.batch_size,
            "momentum": record.momentum,
            "learning_rate": record.learning_rate,
            "halve_every_epochs": record.halve_every_epochs,
            "epochs": record.epochs,
            "seed": record.seed,
        },
        "status": record.status,
        "test_accuracy": record.test_accuracy,
        "test_examples": record.test_examples,
        "attacks": [attack.model_dump(mode="json") for attack in record.attacks],
        "versions": record.versions,
        "data_sha256": record.data_sha256,
        "sha256": {
            str(file.relative_to(folder)): hashlib.sha256(file.read_bytes()).hexdigest()
            for file in files
            if file.is_file()
        },
    }
