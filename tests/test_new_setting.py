"""A new setting of SGD is one field, one key and its use in training: everything else takes it from there."""

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TINY

# The whole of a change that clips gradients to a norm, 0 for never: file, what stands there, what stands there then.
CHANGE = (
    (
        "plan/regimes.py",
        "    def learning_rate_at(",
        "    clip_norm: float = field(default=0.0, metadata=dict(title='clip norm', meaning='of a variable'))\n\n"
        "    def learning_rate_at(",
    ),
    ("plan/regimes.py", "    optimizer: Any = None\n", "    clip_norm: tuple[float, ...] = (0.0,)\n    optimizer: Any = None\n"),
    (
        "training/model.py",
        "    return SGD(\n        settings.learning_rate,\n",
        "    return SGD(\n        settings.learning_rate,\n        clipnorm=settings.clip_norm or None,\n",
    ),
)  # fmt: skip
AXES = """
from pathlib import Path
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid
from tfsgd.sweeping.tuner import GridOracle
print(*[h.values for h in GridOracle(grid(load_experiment(Path("config.yaml")))).get_space().space if h.name == "clip_norm"])
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package that clips, and a config that asks for two norms in one regime."""
    folder = tmp_path_factory.mktemp("changed")
    shutil.copytree("tfsgd", folder / "tfsgd", ignore=shutil.ignore_patterns("__pycache__"))
    for name, before, after in CHANGE:
        path = folder / "tfsgd" / name
        text = path.read_text()
        assert text.count(before) == 1, (name, before)
        path.write_text(text.replace(before, after))
    regimes = {"LR": {"learning_rate": 0.05, "momentum": [0.9], "clip_norm": [0.0, 0.01]}}
    (folder / "config.yaml").write_text(yaml.safe_dump(TINY | {"regimes": regimes, "export": True}))
    return folder


def run(folder: Path, *arguments: str) -> str:
    environment = os.environ | {"PYTHONPATH": str(folder)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_it_is_trained_named_recorded_resumed_and_shown(folder: Path) -> None:
    names = ("lr/b0064-m0.9-s0", "lr/b0064-m0.9-clip_norm0.01-s0")
    plan = run(folder, "-m", "tfsgd.sweep", "config.yaml", "--dry-run")
    assert "clip_norm" in plan
    assert all(name in plan for name in names)

    table = run(folder, "-m", "tfsgd.sweep", "config.yaml", "--workers", "1")
    assert "clip norm" in table
    records = [read(folder, name) for name in names]
    assert [r["sgd"].get("clip_norm") for r in records] == [None, 0.01]
    assert len({r["training_hash"] for r in records}) == 2
    assert records[0]["history"]["loss"] != records[1]["history"]["loss"]
    assert any(b"clip_norm" in f.read_bytes() for f in (folder / "logs/tiny").glob("events.*"))  # HParams

    again = run(folder, "-m", "tfsgd.sweep", "config.yaml", "--workers", "1")
    assert "2 complete, 0 to train" in again
    assert "[0.0, 0.01]" in run(folder, "-c", AXES)

    run(folder, "-m", "tfsgd.report", "logs/tiny")
    with (folder / "logs/tiny/report/records.csv").open() as file:
        assert sorted(row["clip_norm"] for row in csv.DictReader(file)) == ["0.0", "0.01"]


def read(folder: Path, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "logs/tiny/trials" / name / "record.json").read_text())
    return found
