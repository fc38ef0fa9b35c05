"""Exports, loaded in fresh processes that know nothing of tfsgd."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import yaml

from tests.conftest import TINY
from tests.sweeps import swept
from tfsgd.data.dataset import Splits, to_unit
from tfsgd.records.folder import LogFolder, read_record
from tfsgd.trials.keep_network import keep_network

PROGRAM = """
import json, sys
import numpy as np
import tensorflow as tf

folder, data, epsilon = sys.argv[1], np.load(sys.argv[2]), float(sys.argv[3])
images, labels = data["images"], data["labels"]
found = {}

model = tf.saved_model.load(folder + "/saved_model")
logits = model.serve(tf.constant(images)).numpy()
with tf.GradientTape() as tape:
    x = tf.constant(images)
    tape.watch(x)
    loss = tf.nn.sparse_softmax_cross_entropy_with_logits(labels, model.serve(x))
step = np.sign(tape.gradient(loss, x).numpy()) * np.float32(epsilon)
attacked = np.clip(images + step, 0, 1)
found["tensorflow"] = [np.mean(logits.argmax(1) == labels), np.mean(model.serve(attacked).numpy().argmax(1) == labels)]
found["probabilities"] = float(np.abs(model.probabilities(images).numpy() - tf.nn.softmax(logits).numpy()).max())

import keras
live = keras.saving.load_model(folder + "/model.keras")
found["keras"] = float(np.abs(live(images, training=False).numpy() - logits).max())
found["compiled"] = bool(live.compiled)

import foolbox
outside = foolbox.TensorFlowModel(model.serve, bounds=(0, 1))
x, y = tf.constant(images), tf.constant(labels)
clean = foolbox.accuracy(outside, x, y)
_, _, success = foolbox.attacks.LinfFastGradientAttack(random_start=False)(outside, x, y, epsilons=epsilon)
found["foolbox"] = [float(clean), 1 - float(np.mean(success.numpy()))]

from art.attacks.evasion import FastGradientMethod
from art.estimators.classification import TensorFlowV2Classifier
classifier = TensorFlowV2Classifier(
    model=lambda x, training=False: model.serve(x), nb_classes=10, input_shape=images.shape[1:],
    loss_object=tf.keras.losses.SparseCategoricalCrossentropy(from_logits=True), clip_values=(0, 1),
)
moved = FastGradientMethod(classifier, eps=epsilon, batch_size=64).generate(images, np.eye(10)[labels])
found["art"] = [np.mean(classifier.predict(x).argmax(1) == labels) for x in (images, moved)]

assert not any(name.split(".")[0] == "tfsgd" for name in sys.modules)
print(json.dumps(found, default=float))
"""


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trial's folder from a sweep that trained long enough to be worth attacking."""
    root = tmp_path_factory.mktemp("export")
    config = TINY | {"export": True, "epochs": 3, "train_examples": 4000, "test_examples": 300,
                     "regimes": {"LR": {"learning_rate": 0.05, "momentum": [0.9]}}}  # fmt: skip
    (root / "config.yaml").write_text(yaml.safe_dump(config))
    return swept(root / "config.yaml", root) / "trials/lr/b0064-m0.9-s0"


def test_outsiders_find_the_accuracies_of_the_record(exported: Path, splits: Splits, tmp_path: Path) -> None:
    np.savez(tmp_path / "test.npz", images=to_unit(splits.test.images[:300]), labels=splits.test.labels[:300])
    (tmp_path / "program.py").write_text(PROGRAM)
    command = [sys.executable, "program.py", str(exported), "test.npz", "0.1"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    found = json.loads(done.stdout.splitlines()[-1])
    record = json.loads((exported / "record.json").read_text())
    [clean] = [m["values"]["accuracy"] for m in record["measurements"] if m["label"] == "test"]
    [fgsm] = [m["values"]["accuracy"] for m in record["measurements"] if m["label"] == "fgsm"]
    assert clean > 0.5
    assert fgsm < clean - 0.1
    for outsider in ("tensorflow", "foolbox", "art"):
        assert found[outsider] == pytest.approx([clean, fgsm], abs=1e-6), outsider
    assert found["probabilities"] < 1e-6
    assert found["keras"] < 1e-5
    assert not found["compiled"]


def test_manifest_says_how_to_use_the_files_and_proves_them(exported: Path) -> None:
    manifest = json.loads((exported / "manifest.json").read_text())
    record = json.loads((exported / "record.json").read_text())
    assert manifest["input"] == {
        "name": "image",
        "shape": [None, 28, 28, 1],
        "dtype": "float32",
        "bounds": [0.0, 1.0],
    }
    assert manifest["classes"] == 10
    attacks = [m for m in record["measurements"] if m["kind"] == "attack"]
    assert len(attacks) == 2
    assert manifest["attacks"] == [
        {"label": m["label"], **m["settings"], "examples": 300, "accuracy": m["values"]["accuracy"]}
        for m in attacks
    ]
    assert [manifest["test_accuracy"]] == [
        m["values"]["accuracy"] for m in record["measurements"] if m["label"] == "test"
    ]
    for key in ("training_hash", "data_sha256", "status"):
        assert manifest[key] == record[key]
    assert manifest["sgd"]["momentum"] == 0.9
    files = {str(f.relative_to(exported)): f for f in (exported / "saved_model").rglob("*") if f.is_file()}
    files["model.keras"] = exported / "model.keras"
    assert manifest["sha256"] == {
        name: hashlib.sha256(f.read_bytes()).hexdigest() for name, f in files.items()
    }


def test_a_network_is_on_the_disk_before_its_record_says_so(
    exported: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the order of what is synced, which is what a power cut leaves."""
    record = read_record(exported / "record.json", {})
    network = keras.saving.load_model(exported / "model.keras", compile=False)
    synced: list[str] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    trials = tmp_path / "trials"
    (trials / record.folder).mkdir(parents=True)
    keep_network(network, record, trials / record.folder, export=True)
    LogFolder(tmp_path).write_record(record)
    assert synced.index("model.keras") < len(synced) - 2
    assert {"saved_model.pb", "variables.index"} <= set(synced)
    assert synced[-2].startswith(".")
    assert synced[-2].endswith("record.json")
    assert synced[-1] == (trials / record.folder).name


def test_one_file_holds_no_optimizer(exported: Path) -> None:
    import keras

    network: Any = keras.saving.load_model(exported / "model.keras")
    assert not hasattr(network, "optimizer") or network.optimizer is None
