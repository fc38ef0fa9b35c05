"""What a sweep says in a terminal: the device, the table that the README explains, and what comes next."""

import re
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from tests.synthetic import experiment, record
from tfsgd import sweep
from tfsgd.plan.trials import grid
from tfsgd.sweeping import allocation
from tfsgd.sweeping.allocation import described, unseen_gpu
from tfsgd.terminal.progress import console
from tfsgd.terminal.tables import measurements_table, plan_lines, results_table
from tfsgd.text import counted

TWO = [{"logs": "x", "threads": 1}] * 2


def headings(**changes: Any) -> tuple[list[str], str]:
    """The columns of a sweep's table, and what stands below it."""
    of = experiment(**changes)
    table = results_table([], of, 1_000)
    return [str(column.header).replace("\n", " ") for column in table.columns], str(table.caption or "")


def test_the_table_has_the_columns_that_the_readme_explains() -> None:
    section = Path("README.md").read_text().partition("## What comes out")[2].partition("The exit code")[0]
    explained = [name for row in re.findall(r"^\| ([^|]+) \|", section, re.M)[1:] for name in row.split(", ")]
    attacks = {"fgsm": {"epsilon": [0.1]}, "pgd": {"epsilon": [0.1]}, "minimal": {"epsilon": [0.5]}}
    shown, _ = headings(attacks=attacks)
    assert shown == [name for name in explained if name != "---"]


def test_each_attack_has_a_column_at_each_epsilon_by_its_label() -> None:
    attacks: dict[str, Any] = {
        "fgsm": {"epsilon": [0.02, 0.05, 0.3]},
        "hard": {"attack": "pgd", "epsilon": [0.1]},
    }
    shown, below = headings(attacks=attacks)
    assert [name for name in shown if " 0." in name] == ["fgsm 0.02", "fgsm 0.05", "fgsm 0.3", "hard 0.1"]
    assert below == ""
    many = {f"a{i}": {"attack": "fgsm", "epsilon": [0.1, 0.2, 0.3]} for i in range(5)}
    shown, below = headings(attacks=many)
    assert [name for name in shown if " 0." in name] == [f"a{i} {e}" for i in range(5) for e in (0.1, 0.3)]
    assert below.startswith("5 more columns")


def test_brackets_and_colons_are_no_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Of a file's name and of TensorFlow's errors they are a part; as a tag `[/job:...]` would end the command."""
    why = "InvalidArgumentError: on [/job:localhost] :car:"
    console().print(measurements_table("net[old].keras", [], {"trace": why}))
    said = capsys.readouterr().out
    assert "net[old].keras" in said
    assert why in said


def test_one_is_not_many() -> None:
    assert [counted(n, "trial") for n in (0, 1, 2, 2000)] == [
        "0 trials",
        "1 trial",
        "2 trials",
        "2,000 trials",
    ]
    regimes = {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}
    one = experiment(epochs=1, batch_sizes=[64], seeds=[0], regimes=regimes)
    assert next(plan_lines(grid(one), one)).endswith(": 1 trial of 1 epoch")


@pytest.mark.parametrize(
    ("workers", "gpus", "alone", "line"),
    [
        (TWO, [], False, "CPU, 2 workers with 1 thread each"),
        ([{"logs": "x", "threads": 8}], [], True, "CPU, this process with 8 threads"),
        ([{"logs": "x", "threads": 0}], ["0", "1"], True, "GPUs 0, 1, this process"),
        ([{"logs": "x", "threads": 0}] * 4, ["3"], False, "GPU 3, 4 workers"),
        ([], [], False, "those of the batch system's jobs"),
    ],
)
def test_the_device_is_said(workers: Any, gpus: list[str], alone: bool, line: str) -> None:
    assert described(workers, gpus, alone) == line


def test_a_gpu_that_tensorflow_does_not_see_is_warned_of(
    run_sweep: Any, config: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A driver is here and no CUDA library, as on a machine with TensorFlow for CPUs."""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(allocation, "DEVICES", tmp_path)
    monkeypatch.setattr(allocation, "DRIVER", tmp_path / "driver")
    assert unseen_gpu() == ""
    (tmp_path / "driver").mkdir()
    assert unseen_gpu() == str(tmp_path / "driver")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "-1")
    assert unseen_gpu() == ""
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES")
    regimes = {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}
    code, out, err = run_sweep(config(regimes=regimes, epochs=1), "--workers", "1")
    assert code == 0
    assert "device: CPU, this process with " in out
    assert err.count("a GPU is here (") == 1
    assert "tfsgd[gpu]" in err


def test_the_full_command_repeats_what_was_set(monkeypatch: pytest.MonkeyPatch) -> None:
    words = [
        "my config.yaml",
        "--quick",
        "--logs",
        "l",
        "--workers",
        "1",
        "--set",
        "regimes.LR/BS.momentum=[0.0, 0.9]",
    ]
    monkeypatch.setattr("sys.argv", ["sweep", *words])
    assert sweep._in_full() == (
        "python -m tfsgd.sweep 'my config.yaml' --logs l --workers 1 --set 'regimes.LR/BS.momentum=[0.0, 0.9]'"
    )


@pytest.mark.parametrize(("width", "epsilons"), [(120, 8), (100, 4), (60, 4)])
def test_a_table_has_as_many_columns_as_fit_and_no_number_is_cut(width: int, epsilons: int) -> None:
    of = experiment()
    assert sum(len(a.epsilon) for a in of.attacks.values()) == 8
    with Path("/dev/null").open("w") as nowhere:
        console = Console(width=width, record=True, file=nowhere)
        rows = [(trial, record(trial, of)) for trial in grid(of)[:2]]
        console.print(results_table(rows, of, width), crop=False)
    text = console.export_text()
    assert "…" not in text
    lines = [line for line in text.splitlines() if line.strip().startswith("LR = LR/BS")]
    assert [len(re.findall(r"\b0\.\d{3}\b", line)) for line in lines] == [2 + epsilons] * 2
    assert max(map(len, lines)) <= max(width, 100)
    assert ("4 more columns" in text) == (epsilons == 4)
