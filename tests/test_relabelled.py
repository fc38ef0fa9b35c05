"""A trained network is found by what it was trained with, whatever its regime is called now."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY
from tests.hostile import write
from tests.synthetic import experiment, write_sweep
from tfsgd.api import read_records
from tfsgd.plan.yaml_io import to_yaml
from tfsgd.records.folder import LogFolder

LR = {"learning_rate": 0.01, "momentum": [0.0]}
SAME = {"ratio": 0.00015625, "momentum": [0.0]}  # 0.01 at batch size 64


@pytest.mark.parametrize(
    ("now", "workers"),
    [
        pytest.param({"LR/BS": SAME}, "1", id="switched off-1"),
        pytest.param({"LR/BS": SAME}, "2", id="switched off-2", marks=pytest.mark.long),
        pytest.param({"LR/BS": SAME, "LR": LR}, "1", id="swapped-1", marks=pytest.mark.long),
        pytest.param({"LR/BS": SAME, "LR": LR}, "2", id="swapped-2", marks=pytest.mark.long),
        pytest.param({"Constant": LR}, "1", id="renamed-1", marks=pytest.mark.long),
        pytest.param({"Constant": LR}, "2", id="renamed-2"),
    ],
)
def test_no_label_has_a_network_trained_again(
    now: dict[str, Any], workers: str, tmp_path: Path, run_sweep: Any
) -> None:
    config = TINY | {"export": True, "regimes": {"LR": LR, "LR/BS": SAME}}
    options = ("--logs", tmp_path, "--workers", workers)
    assert run_sweep(write(tmp_path / "a.yaml", to_yaml(config)), *options)[0] == 0
    logs = LogFolder(tmp_path / "tiny")
    [before] = logs.records()
    more = config | {"regimes": now, "attacks": {"fgsm": {"epsilon": [0.1, 0.2]}}}
    code, out, err = run_sweep(write(tmp_path / "b.yaml", to_yaml(more)), *options)
    assert (code, err) == (0, ""), out
    assert "0 to train, 1 to measure" in out
    [after] = logs.records()
    assert {m.epsilon for m in after.attacks if m.label == "fgsm"} == {0.1, 0.2}
    assert after.provenance == before.provenance
    assert after.history == before.history
    assert after.folder == before.folder
    code, out, _ = run_sweep(tmp_path / "b.yaml", *options)
    assert code == 0
    assert "1 complete, 0 to train" in out


def test_labels_are_those_of_the_grid(tmp_path: Path, run_sweep: Any) -> None:
    """Nothing is trained: all of it is recorded."""

    def regimes(**rates: float) -> dict[str, Any]:
        return {label: {"learning_rate": rate, "momentum": [0.0]} for label, rate in rates.items()}

    def swept(asked: dict[str, Any]) -> tuple[list[str], list[tuple[str, ...]]]:
        plan = experiment(**common, regimes=asked).model_dump(mode="json", exclude_defaults=True)
        code, out, err = run_sweep(write(tmp_path / "a.yaml", to_yaml(plan)), "--logs", tmp_path)
        assert (code, err) == (0, ""), out
        shown = [line.split(" 64 ")[0].strip() for line in out.splitlines() if " 64 " in line]
        return shown, [record.regimes for record in LogFolder(tmp_path / "tiny").records()]

    common = {"name": "tiny", "export": False, "batch_sizes": [64], "seeds": [0]}
    write_sweep(tmp_path / "tiny", experiment(**common, regimes=regimes(A=0.05, X=0.05, B=0.01)))
    assert swept(regimes(A=0.05, X=0.05, B=0.01)) == (["A = X", "B"], [("A", "X"), ("B",)])
    assert swept(regimes(A=0.05, B=0.01)) == (["A", "B"], [("A",), ("B",)])
    assert swept(regimes(A=0.05)) == (["A"], [("A",), ("B",)])  # what is not in the grid keeps its own
    assert swept(regimes(A=0.01, B=0.05)) == (["A", "B"], [("B",), ("A",)])
    table = read_records(tmp_path / "tiny")
    assert [set(labels) for labels in table["regimes"]] == [{label} for label in table["regime"]]
    assert dict(zip(table["regime"], table["learning_rate"], strict=True)) == {"A": 0.01, "B": 0.05}
    assert [Path(folder).parent.name for folder in table["folder"]] == ["a", "b"]
    assert swept(regimes(C=0.05, B=0.01)) == (["C", "B"], [("C",), ("B",)])
    assert swept(regimes(A=0.05, B=0.01)) == (["A", "B"], [("A",), ("B",)])
