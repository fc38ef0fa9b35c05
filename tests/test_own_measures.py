"""An attack and a curvature measure of one's own, each in one new file beside the config."""

import contextlib
import csv
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import Config, Run, Work
from tfsgd.data.dataset import Split, Splits, to_unit
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec
from tfsgd.measures.spec import Request
from tfsgd.networks.hessian import HessianVectorProduct
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.reporting.page.page import write_report

ATTACK = '''
import numpy as np
from tfsgd.fields import Fraction
from tfsgd.measures.attack import AttackSpec, Outcome


class Noise(AttackSpec):
    """Uniform noise in the ball."""

    scale: Fraction = 1.0

    def run(self, victim, images, labels, epsilon, seed):
        noise = np.random.default_rng(seed).uniform(-epsilon, epsilon, images.shape).astype(np.float32)
        moved = np.clip(images + np.float32(self.scale) * noise, 0, 1)
        return Outcome(moved, victim.predict(moved) == labels)
'''
MEASURE = '''
import numpy as np
from tfsgd.fields import Count
from tfsgd.measures.curvature_spec import Curvature, CurvatureSpec


class Frobenius(CurvatureSpec):
    """|H|, the root of the sum of squares: the mean of |Hv|^2 over random signs v."""

    probes: Count = 4

    def run(self, matvec, dimension, seed=0):
        signs = np.random.default_rng(seed).choice([-1.0, 1.0], (self.probes, dimension))
        squares = np.array([np.sum(np.asarray(matvec(v), np.float64) ** 2) for v in signs])
        return Curvature(squares.mean() ** 0.5, squares.std() / self.probes ** 0.5, self.probes, True)
'''


@pytest.mark.long  # README's recipes go the same way in tests/test_recipes.py
def test_they_go_through_sweep_record_table_and_report(
    config: Config, run_sweep: Run, work: Work, splits: Splits, tmp_path: Path
) -> None:
    (tmp_path / "my_attacks.py").write_text(ATTACK)
    (tmp_path / "my_measures.py").write_text(MEASURE)
    pgd = {"epsilon": [0.1], "steps": 2, "relative_step_size": 0.5}
    changes: dict[str, Any] = {
        "export": True,
        "regimes": {"LR": {"learning_rate": 0.05, "momentum": [0.9]}},
        "attacks": {
            "noise_1-a": {"attack": "my_attacks:Noise", "epsilon": [0.1, 0.3], "scale": 0.5},
            "pgd": pgd,
            "pgd_margin": pgd | {"attack": "pgd", "loss": "margin"},
        },
        "curvature": {"frobenius": {"measure": "my_measures:Frobenius", "examples": 64}},
    }
    code, out, err = run_sweep(config(**changes))
    assert (code, err) == (0, "")
    folder = tmp_path / "logs/tiny/trials/lr/b0064-m0.9-s0"
    found = {
        (m["label"], m["settings"].get("epsilon")): m
        for m in json.loads((folder / "record.json").read_text())["measurements"]
    }

    network = keras.saving.load_model(folder / "model.keras", compile=False)
    images, labels = to_unit(splits.test.images[:50]), splits.test.labels[:50]
    noise = np.random.default_rng(0).uniform(-0.3, 0.3, images.shape).astype(np.float32)
    outputs = network(np.clip(images + np.float32(0.5) * noise, 0, 1), training=False).numpy()
    assert found["noise_1-a", 0.3]["values"]["accuracy"] == np.mean(outputs.argmax(1) == labels)
    assert found["noise_1-a", 0.3]["name"] == "my_attacks:Noise"
    settings = found["noise_1-a", 0.3]["settings"]
    assert len(settings.pop("code_sha256")) == 64
    assert settings == {"epsilon": 0.3, "scale": 0.5}
    product = HessianVectorProduct(network, to_unit(splits.train.images[:64]), splits.train.labels[:64])
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (4, product.dimension))
    expected = np.mean([np.linalg.norm(product(v)) ** 2 for v in signs]) ** 0.5
    assert found["frobenius", None]["values"]["value"] == pytest.approx(expected, rel=1e-6)
    assert found["frobenius", None]["values"]["products"] == 4
    assert found["pgd", 0.1]["settings"]["loss"] == "cross_entropy"
    assert found["pgd_margin", 0.1]["settings"]["loss"] == "margin"
    for heading in ("noise_1-a", "pgd_margin", "frobenius"):
        assert heading in out.replace("\n", " ")

    logs = tmp_path / "logs/tiny"
    page = write_report([logs]).read_text()
    with (logs / "report/records.csv").open(newline="") as file:
        [row] = csv.DictReader(file)
    for label, epsilon in (("noise_1-a", 0.1), ("noise_1-a", 0.3), ("pgd", 0.1), ("pgd_margin", 0.1)):
        assert float(row[f"{label}_{epsilon}"]) == found[label, epsilon]["values"]["accuracy"]
    assert float(row["frobenius"]) == found["frobenius", None]["values"]["value"]
    assert "noise_1-a" in page

    work.trained.clear()
    work.measured.clear()
    assert run_sweep(config(**changes))[0] == 0
    assert (work.trained, work.measured) == ([], [])
    assert run_sweep(config(**changes), "--set", "attacks.noise_1-a.scale=1.0")[0] == 0
    assert (work.trained, work.measured) == ([], [("noise_1-a", 0.1), ("noise_1-a", 0.3)])
    shutil.rmtree(logs)


def test_classes_that_are_none_are_refused_by_name(config: Config, run_sweep: Run, tmp_path: Path) -> None:
    (tmp_path / "my_wrong_attacks.py").write_text(
        "from tfsgd.measures.attack import AttackSpec\nclass Nois: ...\nclass Idle(AttackSpec): ...\n"
    )
    wrong = {
        "my_wrong_attacks:Noise": "has no 'Noise'; did you mean 'Nois'?",
        "my_wrong_attacks:Nois": "expected my_wrong_attacks:Nois to be a subclass of AttackSpec",
        "my_wrong_attacks:Idle": "expected my_wrong_attacks:Idle to have a `run` of its own",
        "my_missing_attacks:Noise": "no module 'my_missing_attacks'",
    }
    for name, message in wrong.items():
        code, _, err = run_sweep(config(attacks={"mine": {"attack": name, "epsilon": [0.1]}}), "--dry-run")
        assert (code, err.count("\n")) == (2, 1), err
        assert "attacks.mine.attack: " in err
        assert message in err


class Spoils(CurvatureSpec):
    """Writes into whatever it can reach by what it was given."""

    what: str

    def run(self, matvec: Any, dimension: int, seed: int) -> Curvature:
        vector = np.ones(dimension)
        if self.what == "statistics":
            matvec.network(np.ones((5, 4, 4, 1), np.float32), training=True)
        elif self.what == "weights":
            matvec.network.trainable_variables[0].assign(np.zeros_like(matvec.network.trainable_variables[0]))
            raise ValueError("not today")
        elif self.what == "evidence":
            matvec.evidence["difference"] = 0.5
        elif self.what == "layers":
            matvec.layers[0] = ("mine", slice(0, 1))
        else:
            array = {"product": lambda: matvec(vector), "images": lambda: np.asarray(matvec.some(12)[0]),
                     "labels": lambda: np.asarray(matvec.some(12)[1]), "counts": lambda: matvec.counts,
                     "rows": lambda: matvec.by_chunk(vector, [vector])[1]}[self.what]()  # fmt: skip
            array.flags.writeable = True
            array[...] = 0
        return Curvature(1.0, 0.0, 1, True)


def test_a_measure_that_spoils_what_it_was_given_changes_no_number_after_it() -> None:
    keras.utils.set_random_seed(0)
    layers = [keras.layers.BatchNormalization(), keras.layers.Flatten(), keras.layers.Dense(3)]
    network = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    images = np.random.default_rng(0).integers(0, 256, (230, 4, 4, 1)).astype(np.uint8)
    split = Split(images, np.arange(230) % 3)
    subject = MeasuredNetwork(network, Splits(split, split, split, "", ""))
    spec = TopEigenvalue(examples=230, max_iterations=5, tolerance=0.5)
    honest = Request("top_eigenvalue", "hessian", spec, "train", 230)
    before = honest.measure_on(subject).values
    assert before["standard_error"] > 0, "of three chunks"
    whats = ["product", "rows", "images", "labels", "counts", "layers", "evidence", "weights", "statistics"]
    for what in whats:
        with contextlib.suppress(ValueError, TypeError, ArithmeticError):
            Request("m:Spoils", "mine", Spoils(what=what, examples=230), "train", 230).measure_on(subject)
        assert honest.measure_on(subject).values == before, what
    assert honest.measure_on(MeasuredNetwork(network, subject.splits)).values == before


def test_a_measure_that_changes_the_network_has_failed_and_the_network_is_put_back() -> None:
    network = keras.Sequential([keras.Input((4, 4, 1)), keras.layers.Flatten(), keras.layers.Dense(3)])
    split = Split(np.zeros((6, 4, 4, 1), np.uint8), np.arange(6) % 3)
    bias = network.trainable_variables[1].numpy()

    class Moves(CurvatureSpec):
        def run(self, matvec: Any, dimension: int, seed: int) -> Curvature:
            matvec.network.trainable_variables[1].assign([1.0, 2.0, 3.0])
            return Curvature(1.0, 0.0, 1, True)

    subject = MeasuredNetwork(network, Splits(split, split, split, "", ""))
    with pytest.raises(ArithmeticError, match=r"it changed the network \(bias\), which is as before again"):
        Request("m:Moves", "mine", Moves(examples=6), "train", 6).measure_on(subject)
    assert np.array_equal(network.trainable_variables[1].numpy(), bias)


def test_a_measure_gets_weights_and_loss_by_public_names() -> None:
    """Keras says what they are; over chunks of unequal size, with statistics that are not those of a batch."""
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Flatten(), keras.layers.BatchNormalization(), keras.layers.Dense(3)]
    network = keras.Sequential([keras.Input((4, 4, 1)), *layers])
    images, labels = np.random.default_rng(0).random((130, 4, 4, 1), np.float32), np.arange(130) % 3
    product = HessianVectorProduct(network, images, labels)
    cross_entropy = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    assert product.loss == pytest.approx(
        float(cross_entropy(labels, network(images, training=False))), rel=1e-6
    )
    assert np.array_equal(
        product.weights, np.concatenate([v.numpy().ravel() for v in network.trainable_variables])
    )
    assert [v.name for v in product.variables] == ["gamma", "beta", "kernel", "bias"]
    product.weights[:] = 0
    assert product.weights.any(), "a copy"
    assert [product.weights[part].size for _, part in product.layers] == [32, 51]
