"""A file system without room, for bytes or for files: a line each, nothing lost, and the same command goes on."""

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Config, Run, mounted
from tests.own import refusal
from tests.sweeps import numbers
from tests.synthetic import experiment, write_sweep
from tests.test_report import TINY
from tests.test_report_files import contents
from tfsgd.records.folder import LogFolder
from tfsgd.records.outcomes import lost_outcomes
from tfsgd.reporting.page.page import write_report
from tfsgd.trials.tensorboard import write_summary

FEW = ["overview", "curvature"]  # figures

ONE: dict[str, Any] = {
    "epochs": 2,
    "regimes": {"LR": {"learning_rate": 0.05, "momentum": [0.9]}},
    "attacks": {"fgsm": {"epsilon": [0.1]}, "minimal": {"epsilon": [0.5], "steps": 3, "examples": 10}},
}
FIRST = (("outcomes.npz", "bytes"), ("model.keras", "files"))  # the others: make faults
REFERENCE: dict[str, Any] = {}  # swept once, where there is room


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """Where a sweep's logs go."""
    yield from mounted(tmp_path / "logs", "4m,nr_inodes=100")


def fill(disk: Path, what: str) -> None:
    """Leaves no room for bytes, or for another file."""
    (disk / "ballast").mkdir(exist_ok=True)
    with contextlib.suppress(OSError):
        for number in range(100_000):
            (disk / "ballast" / str(number)).write_bytes(bytes(65_536 if what == "bytes" else 0))


def make_room(disk: Path, files: int | None = None) -> None:
    for path in list((disk / "ballast").iterdir())[:files]:
        path.unlink()


def without_room_at(name: str, full: Callable[[], None], patch: pytest.MonkeyPatch) -> None:
    """Fills the disk when a file of some name is about to be written the first time."""
    real, waiting = os.open, [name]

    def opened(path: Any, *rest: Any, **options: Any) -> int:
        if waiting and str(path).endswith(f"-{name}"):
            waiting.clear()
            full()
        return real(path, *rest, **options)

    def summarized(*arguments: Any) -> None:
        if name == "events":
            full()
        write_summary(*arguments)

    patch.setattr(os, "open", opened)
    patch.setattr("tfsgd.trials.trial.write_summary", summarized)


@pytest.mark.parametrize(
    ("name", "what"),
    [
        pytest.param(name, what, marks=() if (name, what) in FIRST else pytest.mark.long)
        for name in (
            "epoch-000001.npz",
            "model.keras",
            "record.json",
            "outcomes.npz",
            "events",
            "manifest.json",
        )
        for what in ("bytes", "files")
    ],
)
def test_a_trial_without_room_is_a_line_and_goes_on_when_there_is(
    name: str, what: str, disk: Path, config: Config, run_sweep: Run, tmp_path: Path
) -> None:
    path = config(**ONE)
    if not REFERENCE:
        assert run_sweep(path, "--logs", tmp_path / "roomy")[0] == 0
        REFERENCE.update(numbers(tmp_path / "roomy/tiny"))
    with pytest.MonkeyPatch.context() as patch:
        without_room_at(name, lambda: fill(disk, what), patch)
        code, _, err = run_sweep(path)
    assert (code, err.count("\n")) == (1, 1), err
    assert err.startswith("failed: lr/b0064-m0.9-s0: ")
    make_room(disk)
    assert run_sweep(path)[::2] == (0, "")
    assert numbers(disk / "tiny") == REFERENCE
    [record] = LogFolder(disk / "tiny").records()
    assert not lost_outcomes(disk / "tiny/trials" / record.folder, record)


@pytest.mark.parametrize("what", ["bytes", "files"])
def test_a_report_without_room_names_the_file_and_is_whole_when_there_is(
    what: str, disk: Path, tmp_path: Path
) -> None:
    folder = write_sweep(tmp_path / "a", experiment(**TINY))
    expected = {*contents(write_report([folder], figures=FEW).parent)}
    for files in (0, 3):
        fill(disk, what)
        make_room(disk, files)
        told = refusal(lambda: write_report([folder], disk / "report", figures=FEW))
        assert told.startswith(f"{disk / 'report'}/")
        assert told.endswith(": cannot be written: No space left on device")
    make_room(disk)
    assert {*contents(write_report([folder], disk / "report", figures=FEW).parent)} == expected
