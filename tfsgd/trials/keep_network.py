"""A trained network as files for others: a SavedModel, a `.keras` file, and a manifest of both."""

import contextlib
import hashlib
import shutil
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfsgd.records.atomic import replacing, sync, to_json, write_atomically
from tfsgd.records.manifest import manifest
from tfsgd.records.record import Record


def keep_network(network: Any, record: Record, folder: Path, export: bool) -> None:
    """Writes `model.keras`, with `export` also `saved_model/`, and a `manifest.json` that proves them.

    The SavedModel takes float32 images in [0, 1]: its endpoint `serve` returns logits,
    `probabilities` their softmax.
    """
    if export:
        with contextlib.suppress(OSError):  # it is no link, or none at all
            (folder / "saved_model").unlink()
        signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.float32, name="image")]
        archive = keras.export.ExportArchive()
        archive.track(network)
        archive.add_endpoint("serve", lambda image: network(image, training=False), signature)
        archive.add_endpoint(
            "probabilities", lambda image: tf.nn.softmax(network(image, training=False)), signature
        )
        archive.write_out(str(folder / "saved_model"), verbose=False)
    with replacing(folder / "model.keras") as temporary:
        network.save(temporary)
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
    found = record.measurements  # a new record's: all of them are asked for
    write_atomically(folder / "manifest.json", to_json(manifest(record, found, shape, proofs)))


def forget_network(folder: Path) -> None:
    """Removes the network of a trial that has been measured in full and is not to be exported."""
    for name in ("model.keras", "manifest.json"):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "snapshots", ignore_errors=True)
