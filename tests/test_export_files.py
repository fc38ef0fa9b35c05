"""`python -m tfsgd.export`: the records as CSV and Parquet, and as entries of RobustBench."""

import importlib.util
import json
import shlex
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pyarrow import parquet

from tests.synthetic import experiment, write_sweep
from tests.test_report import SMALL, with_troubles
from tfsgd import export, read_records
from tfsgd.records.folder import read_record

RESULTS = Path("docs/results/cifar10_c1")

# Of each file in model_info/cifar10/Linf at RobustBench's commit 78fcc9e, and the type that it has in all of them.
ROBUSTBENCH: dict[str, type] = {
    "link": str, "name": str, "authors": str, "additional_data": bool, "number_forward_passes": int, "dataset": str,
    "venue": str, "architecture": str, "eps": str, "clean_acc": str, "reported": str, "autoattack_acc": str,
}  # fmt: skip


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """The command in this process: exit code, standard output and error."""

    def run(*arguments: Any) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["export", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            export.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


def test_a_table_holds_the_records_in_both_forms(exported: Any, tmp_path: Path) -> None:
    outs = [tmp_path / name for name in ("trials.parquet", "trials.csv")]
    code, out, err = exported(RESULTS, "--out", outs[0], "--out", outs[1])
    assert (code, err) == (0, "")
    assert out.splitlines() == [f"table: {path} (3 trials, 72 columns)" for path in outs]
    known, binary, text = read_records(RESULTS), pd.read_parquet(outs[0]), pd.read_csv(outs[1])
    assert list(binary) == list(text)
    for name in ("batch_size", "test_accuracy", "eigenvalue", "pgd-softmax_0.02", "converged", "status"):
        assert list(binary[name]) == list(text[name]) == list(known[name])
    for path in binary["folder"]:
        assert (tmp_path / path / "record.json").exists()


def test_parquet_says_what_each_column_is(exported: Any, tmp_path: Path) -> None:
    """Of a sweep with troubles too: trials that diverged, values that only some trials have."""
    logs = write_sweep(tmp_path / "sweep", experiment(**SMALL), with_troubles)
    assert exported(logs, "--out", tmp_path / "a.parquet")[::2] == (0, "")
    schema = parquet.read_schema(tmp_path / "a.parquet")
    assert schema.field("seconds_train").metadata[b"unit"] == b"s"
    assert b"top eigenvalue" in schema.field("eigenvalue").metadata[b"meaning"]
    assert {str(field.type) for field in schema} <= {"int64", "double", "bool", "string", "large_string"}
    found = pd.read_parquet(tmp_path / "a.parquet")
    diverged = found[found.status == "diverged"]
    assert len(diverged) > 0
    assert np.isnan(diverged["eigenvalue"].to_numpy(float)).all()


def test_it_is_written_again_and_over_nothing_else(exported: Any, tmp_path: Path) -> None:
    for name in ("a.csv", "a.parquet"):
        out = tmp_path / name
        assert exported(RESULTS, "--out", out)[0] == 0
        assert exported(RESULTS, "--out", out)[0] == 0
        out.write_text("mine")
        code, _, err = exported(RESULTS, "--out", out)
        assert (code, out.read_text()) == (2, "mine")
        assert err == f"error: --out {out}: there is a file that export did not write; choose another name\n"
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "theirs.parquet")
    assert exported(RESULTS, "--out", tmp_path / "theirs.parquet")[0] == 2


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        ((), "--out, --robustbench: expected one of them: "),
        (("--out", "a.xlsx"), "--out a.xlsx: expected a file .csv or .parquet in a folder that is there"),
        (("--out", "none/a.csv"), "--out none/a.csv: expected a file .csv or .parquet in a folder that is there"),
        (("--robustbench", "x", "--epsilon", "8/0"), "--epsilon 8/0: expected a number above 0, such as 0.1 or 8/255"),
        (("--robustbench", "x", "--epsilon", "-1"), "--epsilon -1: expected a number above 0"),
        (("--robustbench", RESULTS / "trials/x"), f"--robustbench {RESULTS}/trials/x: expected a place outside"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused_in_a_line(arguments: Any, line: str, exported: Any) -> None:
    code, out, err = exported(RESULTS, *arguments)
    assert (code, out) == (2, "")
    assert err.startswith(f"error: {line}")
    assert err.count("\n") == 1


def test_without_pyarrow_the_line_says_what_to_install(
    exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    code, _, err = exported(RESULTS, "--out", tmp_path / "a.parquet")
    assert code == 2
    assert err.endswith("a.parquet: needs pyarrow; pip install 'tfsgd[parquet]', or write .csv\n")


# RobustBench


def test_an_entry_has_robustbenchs_keys_and_the_records_numbers(exported: Any, tmp_path: Path) -> None:
    code, out, err = exported(RESULTS, "--robustbench", tmp_path, "--epsilon", "0.02")
    assert (code, err) == (0, "")
    assert out.splitlines()[1] == "to be filled in, null now: link, name, authors, venue, autoattack_acc"
    paths = sorted(tmp_path.rglob("*.json"))
    assert {path.parent for path in paths} == {tmp_path / "cifar10/Linf"}
    assert len(paths) == 3
    for path in paths:
        entry = json.loads(path.read_text())
        assert [*entry] == [*ROBUSTBENCH, "footnote"]
        assert all(v is None or type(v) is ROBUSTBENCH[k] for k, v in entry.items() if k in ROBUSTBENCH)
        trial = path.stem.removeprefix("cifar10_c1-lr-")
        record = read_record(RESULTS / "trials/lr" / trial / "record.json", {})
        [clean] = [m.accuracy for m in record.measurements if (m.kind, m.split) == ("accuracy", "test")]
        under = [m.accuracy for m in record.attacks if m.epsilon == 0.02]
        assert clean is not None
        assert float(entry["clean_acc"]) == pytest.approx(100 * clean, abs=0.005)
        assert float(entry["reported"]) == pytest.approx(100 * min(filter(None, under)), abs=0.005)
        assert (entry["eps"], entry["additional_data"], entry["dataset"]) == ("0.02", False, "cifar10")


def test_what_a_user_has_filled_in_stays(exported: Any, tmp_path: Path) -> None:
    exported(RESULTS, "--robustbench", tmp_path)
    path = sorted(tmp_path.rglob("*.json"))[0]
    entry = json.loads(path.read_text())
    assert (entry["eps"], entry["reported"]) == ("8/255", None)  # no network was attacked there
    path.write_text(json.dumps(entry | {"authors": "A. N. Author", "reported": "12.34"}))
    code, out, err = exported(RESULTS, "--robustbench", tmp_path)
    assert code == 0
    assert "null now: link, name, authors, venue, reported, autoattack_acc" in out
    assert "reported: not every network was attacked at epsilon 8/255 or 0.5" in err
    again = json.loads(path.read_text())
    assert again == entry | {"authors": "A. N. Author", "reported": "12.34"}
    code, _, err = exported(RESULTS, "--robustbench", tmp_path, "--epsilon", "0.02")
    assert (code, err.split(": ", 2)[2]) == (2, "its eps is 8/255, not 0.02; choose another folder\n")
    path.write_text("[]")
    assert exported(RESULTS, "--robustbench", tmp_path)[0] == 2
    assert path.read_text() == "[]"


def test_a_norm_has_a_folder_and_a_data_set_without_a_leaderboard_is_said(
    exported: Any, tmp_path: Path
) -> None:
    attacks = {"pgd": {"epsilon": [0.1]}, "far": {"attack": "pgd", "norm": "L2", "epsilon": [0.5]}}
    of = experiment(
        batch_sizes=[64],
        seeds=[0],
        regimes={"LR": {"learning_rate": 0.01, "momentum": [0.0]}},
        attacks=attacks,
    )
    truth = {"pgd": {0.1: 0.25}, "far": {0.5: 0.5}}
    logs = write_sweep(tmp_path / "sweep", of, lambda trial: with_troubles(trial) | truth)
    code, _, err = exported(logs, "--robustbench", tmp_path / "entries", "--epsilon", "0.1")
    assert code == 0
    assert "RobustBench has no leaderboard for fashion_mnist" in err
    found = {p.parent.name: json.loads(p.read_text()) for p in (tmp_path / "entries").rglob("*.json")}
    assert {norm: entry["reported"] for norm, entry in found.items()} == {"Linf": "25.00", "L2": None}


def test_the_pages_commands_run(exported: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = Path("README.md").read_text() + Path("docs/from-records-to-a-paper.md").read_text()
    commands = [line for line in text.splitlines() if line.startswith("python -m tfsgd.export ")]
    assert len(commands) >= 2
    (tmp_path / "docs").symlink_to(Path("docs").resolve())
    monkeypatch.chdir(tmp_path)
    for line in commands:
        assert exported(*shlex.split(line)[3:])[0] == 0
    assert (tmp_path / "trials.parquet").exists()
    assert list(tmp_path.glob("model_info/cifar10/Linf/*.json"))
