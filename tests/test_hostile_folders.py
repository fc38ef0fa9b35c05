"""A logs folder in which something is in the way, or may not be read: said in a line, and nothing is trained in its place."""

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import TINY, Run
from tests.hostile import counted, ran, said, write
from tests.synthetic import write_sweep
from tfsgd.data import load
from tfsgd.data.load import data_folders, load_splits
from tfsgd.plan.config import Experiment
from tfsgd.plan.yaml_io import to_yaml
from tfsgd.records.preflight import read_text, refuse_unwritable
from tfsgd.reporting.table.studies import read_studies

ONE = TINY | {"regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}}
TRIAL = "trials/lr/b0064-m0.0-s0"
WHAT = "folders with something in the way"
BARRED = "folders and files that may not be read"


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    """LOGS/NAME with the record of its one trial, and beside it `config.yaml`."""
    write(tmp_path / "config.yaml", to_yaml(ONE))
    return write_sweep(tmp_path / "tiny", Experiment.model_validate(ONE))


def run_barred(sweep: Path, *options: str) -> tuple[int, str, str]:
    config = sweep.parent / "config.yaml"
    return ran(BARRED, "tfsgd.sweep", config, "--logs", sweep.parent, *options, barred=True)


def folder(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.mkdir(parents=True)
    (path / "x").touch()


def file(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    write(path, "x")


def fifo(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def dangling(path: Path) -> None:
    path.unlink()
    path.symlink_to("/nonexistent/record.json")


IN_THE_WAY: list[tuple[str, Callable[[Path], None], str]] = [
    (".lock", folder, "cannot be opened: Is a directory"),
    ("experiment.yaml", folder, "expected a file, found a folder; move it away"),
    ("experiment.yaml", fifo, "expected a file, found what is not a regular file"),
    ("tuner", file, "expected a folder, found a file; move it away"),
    ("trials", file, "expected a folder, found a file"),
    ("trials/lr", file, "expected a folder, found a file"),
    ("trials/lr/b0064-m0.0-s1", file, "expected a folder, found a file"),
    ("trials/lr/b0064-m0.0-s1/outcomes.npz", folder, "expected a file, found a folder"),
    (f"{TRIAL}/record.json", folder, "found a folder"),
    (f"{TRIAL}/record.json", fifo, "found what is not a regular file"),
    (f"{TRIAL}/record.json", dangling, "cannot be read: No such file or directory"),
]


@pytest.mark.parametrize(
    ("name", "put", "message"), IN_THE_WAY, ids=[f"{n} {p.__name__}" for n, p, _ in IN_THE_WAY]
)
def test_what_is_in_the_way_is_named_before_anything_is_trained(
    sweep: Path, name: str, put: Callable[[Path], None], message: str, run_sweep: Run
) -> None:
    put(sweep / name)
    config = sweep.parent / "config.yaml"
    code, out, err = counted(WHAT, run_sweep(config, "--logs", sweep.parent, "--set", "seeds=[0,1]"))
    assert (code, err.count("\n")) == (2, 1)
    assert str(sweep / name) in err
    assert message in err
    assert "images:" not in out  # nothing was loaded


DENIED: list[tuple[str, int, str]] = [
    ("", 0o000, "Permission denied"),
    ("", 0o555, "cannot be written to: Permission denied"),
    (".lock", 0o000, "cannot be opened: Permission denied"),
    ("experiment.yaml", 0o000, "cannot be read: Permission denied"),
    ("trials", 0o000, "Permission denied; nothing is trained in"),
    ("trials/lr", 0o000, "Permission denied; nothing is trained in"),
    ("trials/lr", 0o555, "cannot be read and written: Permission denied; nothing is trained in its place"),
    (TRIAL, 0o000, "Permission denied; nothing is trained in"),
    (f"{TRIAL}/record.json", 0o000, "cannot be read: Permission denied"),
]


@pytest.mark.parametrize(("name", "mode", "message"), DENIED, ids=[f"{n} {m:o}" for n, m, _ in DENIED])
def test_what_may_not_be_read_is_said_to_be_that(sweep: Path, name: str, mode: int, message: str) -> None:
    (sweep / ".lock").touch()
    denied = sweep / name
    denied.chmod(mode)
    try:
        code, out, err = run_barred(sweep, "--set", "seeds=[0,1]")
    finally:
        denied.chmod(0o755)
    assert (code, err.count("\n")) == (2, 1)
    assert str(denied) in err
    assert message in err
    assert "images:" not in out
    assert len(list(sweep.glob("trials/*/*"))) == 1


def test_a_report_does_not_leave_out_what_it_may_not_read(sweep: Path) -> None:
    (sweep / TRIAL).chmod(0)
    try:
        code, _, err = ran(BARRED, "tfsgd.report", sweep, barred=True)
    finally:
        (sweep / TRIAL).chmod(0o755)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{sweep / TRIAL}/failure.json: cannot be looked for: Permission denied" in err


@pytest.mark.parametrize("size", ["4k,nr_inodes=4", "8k", "12k"])
def test_a_disk_that_is_full_before_the_first_trial_is_said_in_a_line(
    tmp_path: Path, size: str, run_sweep: Run
) -> None:
    """A real file system: where it fills differs with its size."""
    path, disk = write(tmp_path / "config.yaml", to_yaml(ONE)), tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    try:
        code, _, err = counted(WHAT, run_sweep(path, "--logs", disk))
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith(f"error: {disk}/tiny")
    assert "No space left on device" in err


# Raw data


def test_data_that_may_not_be_read_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = next(path for path in (load.DEBIAN_FOLDER, *data_folders(())) if path.is_dir())
    for path in source.rglob("*.gz"):
        (tmp_path / "fashion-mnist").mkdir(exist_ok=True)
        shutil.copy(path, tmp_path / "fashion-mnist")
    real = Path.open

    def denied(path: Path, *arguments: Any, **options: Any) -> Any:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("gzip.open", denied)
    line = said(BARRED, lambda: load_splits("fashion_mnist", (tmp_path,)))
    assert line.endswith("train-images-idx3-ubyte.gz: cannot be read: Permission denied")
    monkeypatch.setattr(Path, "is_file", denied)
    line = said(BARRED, lambda: load_splits("fashion_mnist", (tmp_path,)))
    assert "train-images-idx3-ubyte: cannot be read: Permission denied" in line
    assert real is Path.open


@pytest.mark.parametrize("name", ["x" * 5_000, "a\0b", "/dev/null", "/nonexistent"])
def test_a_data_folder_that_cannot_be_one(name: str, tmp_path: Path) -> None:
    assert said("options", lambda: data_folders((Path(name),)))


# Options are checked before anything is loaded or written, whatever is left to do


@pytest.mark.parametrize(
    "more", [["--dry-run"], [], ["--set", "attacks={}"]], ids=["dry run", "to train", "fewer"]
)
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--data", "/nonexistent"], "--data /nonexistent: expected a folder with data sets, found none"),
        (["--data", "/dev/null"], "--data /dev/null: expected a folder with data sets, found none"),
        (["--workers", "0"], "'--workers'"),
        (["--workers", "1000000000"], "'--workers': expected less than or equal to 1024"),
        (["--logs", ""], "--logs: expected a value, found an empty one"),
        (["--data="], "--data: expected a value, found an empty one"),
        (["--logs", "/dev/null"], "cannot be written to"),
        (["--logs", "x" * 5_000], "cannot be written to: File name too long"),
    ],
)
def test_options_are_checked_first(
    tmp_path: Path, options: list[str], message: str, more: list[str], run_sweep: Run
) -> None:
    path = write(tmp_path / "config.yaml", to_yaml(ONE))
    code, out, err = counted("options", run_sweep(path, *options, *more))
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert message in err
    assert len(err) < 600
    assert not (tmp_path / "logs").exists()


def test_a_folder_for_results_is_judged_without_writing(tmp_path: Path) -> None:
    assert said("options", lambda: refuse_unwritable(tmp_path / "a/b/c")) == ""
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    assert "file is not a folder" in said("options", lambda: refuse_unwritable(tmp_path / "file/x"))


def test_measure_refuses_what_is_no_folder(sweep: Path, run_measure: Run) -> None:
    for arguments in ([sweep, "--data", "/nonexistent"], ["x" * 5_000]):
        code, _, err = counted("options", run_measure(*arguments))
        assert (code, err.count("\n")) == (2, 1)
        assert len(err) < 600


def test_a_huge_file_is_no_record(tmp_path: Path) -> None:
    with (tmp_path / "record.json").open("wb") as sparse:
        sparse.truncate(10**12)
    with pytest.raises(ValueError, match=r"found a file of 1,000,000,000,000 bytes"):
        read_text(tmp_path / "record.json")


def test_nothing_was_wrong_with_the_folder_itself(sweep: Path) -> None:
    """The same folder without an attempt on it is read."""
    [study] = read_studies([sweep])
    assert len(study.trials) == 1
