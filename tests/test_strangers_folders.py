"""A folder of results is data: no command that only reads it imports or calls what it names."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Run
from tests.hostile import counted, said
from tests.own import Config, Write, arrays
from tests.synthetic import experiment, realistic, write_sweep
from tfsgd import api
from tfsgd.plan.yaml_io import read_yaml, to_yaml
from tfsgd.records.folder import LogFolder
from tfsgd.reporting.page.page import write_report

SMALL: dict[str, Any] = {
    "batch_sizes": [64, 128], "regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}, "epochs": 2,
    "attacks": {"fgsm": {"epsilon": [0.1]}},
}  # fmt: skip
TRAP = """
from pathlib import Path
Path(r"TRACE").touch()
def anything(*arguments): Path(r"TRACE").touch()
def __getattr__(name): return anything
"""


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A module that leaves a trace, where the folder's own code_dir, this folder and Python's path find it."""
    trace = tmp_path / "trace"
    (tmp_path / "the_trap.py").write_text(TRAP.replace("TRACE", str(trace)))
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    yield trace
    sys.modules.pop("the_trap", None)


STRANGERS = "folders of strangers that name code"
KEYS = [
    {"attacks": {"mine": {"attack": "the_trap:Mine", "epsilon": [0.1], "depth": 3}}},
    {"curvature": {"mine": {"measure": "the_trap:Mine", "examples": 50}}},
    {"model": "the_trap:anything"},
    {"dataset": "the_trap:anything"},
    {"dataset": "os:abort"},
    {"dataset": "os:abort", "own_data": None, "own_code": ["os:abort", "the_trap:anything"]},
    {"snapshots": {"train_loss": [0.5]}, "attacks": {"mine": {"attack": "the_trap:Mine", "epsilon": [0.1]}}},
]
CASES = [*((key, "TMP") for key in KEYS), (KEYS[0], "."), (KEYS[3], "../x")]


@pytest.mark.parametrize(("key", "code_dir"), CASES, ids=str)
def test_nothing_that_a_folder_names_is_imported_or_called(
    key: dict[str, Any],
    code_dir: str,
    trap: Path,
    tmp_path: Path,
    config: Config,
    run_sweep: Run,
    run_measure: Run,
) -> None:
    logs = tmp_path / "logs/tiny"
    write_sweep(logs, experiment(**SMALL), realistic)
    stored = LogFolder(logs).experiment_path
    named = {
        "own_code": ["the_trap:Mine", "the_trap:anything"],
        "code_dir": code_dir.replace("TMP", str(tmp_path)),
    }
    stored.write_text(to_yaml(read_yaml(stored) | named | key))
    for record in logs.rglob("record.json"):  # records name code too
        raw = json.loads(record.read_text())
        raw["measurements"][-1]["name"] = "the_trap:Mine"
        record.write_text(json.dumps(raw))
    said(STRANGERS, lambda: write_report([logs]))
    said(STRANGERS, lambda: api.read_records(logs))
    [trial, *_] = (path.parent for path in logs.rglob("record.json"))
    for target in (logs, trial):
        more = ("--workers", 1, "--set", "attacks.noise={epsilon: [0.1]}")
        assert counted(STRANGERS, run_measure(target, *more))[0] in (1, 2), "there is no network"
    for command in (["--dry-run"], ["--join", "127.0.0.1:1"]):
        counted(STRANGERS, run_sweep(config(), *command))
    assert not trap.exists()
    assert "the_trap" not in sys.modules


def test_shipped_measures_are_taken_and_own_ones_are_shown_from_a_folder_whose_code_is_not_run(
    module: Write, own_config: Config, run_sweep: Run, run_measure: Run, tmp_path: Path
) -> None:
    np.savez(tmp_path / "letters.npz", **arrays())
    name = module(
        """
        import keras
        from tfsgd.measures.attack import AttackSpec, Outcome
        class Still(AttackSpec):
            depth: int = 3
            def run(self, victim, images, labels, epsilon, seed):
                return Outcome(images.copy(), victim.predict(images) == labels)
        def flat(image_shape, classes):
            return keras.Sequential([keras.Input(image_shape), keras.layers.Flatten(), keras.layers.Dense(classes)])
        """
    )
    config = own_config(
        dataset="letters.npz",
        model=f"{name}:flat",
        export=True,
        attacks={"fgsm": {"epsilon": [0.1]}, "still": {"attack": f"{name}:Still", "epsilon": [0.1]}},
        regimes={"LR": {"learning_rate": 0.05, "momentum": [0.0]}},
    )
    assert run_sweep(config)[0] == 0
    logs = tmp_path / "logs/tiny"
    before = api.read_records(logs)
    del sys.modules[name]
    (tmp_path / f"{name}.py").write_text("raise SystemExit(134)")
    code, out, err = run_measure(logs, "--workers", 1, "--set", "attacks.noise={epsilon: [0.1]}")
    assert (code, err.count("\n")) == (0, 1)
    assert (
        "warning: attacks.still: shown as it was recorded and not measured: a folder of results runs no"
        in err
    )
    assert name not in sys.modules
    assert "still" in out
    after = api.read_records(logs)
    assert after["still_0.1"].equals(before["still_0.1"])
    assert after["still_0.1"].notna().all()
    assert after["noise_0.1"].notna().all()
    code, _, err = run_measure(logs, "--workers", 1, "--config", config)
    assert code == 2, "a person has named the config"
    assert "has no 'flat'" in err
