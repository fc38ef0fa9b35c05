"""An attack and a curvature measure of one's own, each in one new file beside the config."""

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tests.conftest import Config, Run, Work
from tfsgd.data.dataset import Splits, to_unit
from tfsgd.networks.hessian import HessianVectorProduct
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
