"""However a command ends, it says so in one line: signals, a reader that has gone, a full disk, closed streams."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import typer

from tests.conftest import TINY
from tests.hostile import SURVIVED, ran, write
from tests.synthetic import write_sweep
from tfsgd import command
from tfsgd.plan.config import Experiment
from tfsgd.plan.yaml_io import to_yaml
from tfsgd.records.folder import LogFolder, read_record
from tfsgd.terminal.progress import console

SCRIPT = """
import os, signal, sys, time
from tfsgd import command
number = getattr(signal, sys.argv.pop())
def work() -> None:
    os.kill(os.getpid(), number)
    time.sleep(1)
    print("went on")
command.run(work, "sweep", interrupted="interrupted; the same command goes on from here")
"""
REFUSED = b": expected ASCII or UTF-8, in a locale that has it; rename it, or set LC_ALL=C.UTF-8\n"
GOES_ON = "interrupted; the same command goes on from here\n"


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_end_a_command_as_ctrl_c_does(name: str) -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT, name], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr.lstrip("\n") == GOES_ON
    SURVIVED["ends"] += 1


def test_a_signal_in_the_middle_of_a_dataclass_ends_a_command_with_its_code(tmp_path: Path) -> None:
    """Python executes its text: a KeyboardInterrupt from there would end the process by SIGINT."""
    (tmp_path / "told.py").write_text(
        SCRIPT.replace(
            "os.kill(os.getpid(), number)", 'exec("import os; os.kill(os.getpid(), number); time.sleep(0)")'
        )
    )
    done = subprocess.run(
        [sys.executable, "-m", "told", "SIGTERM"], cwd=tmp_path, capture_output=True, text=True
    )
    assert (done.returncode, done.stdout, done.stderr) == (130, "", GOES_ON)


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_signals_end_a_command_that_is_still_imported(name: str, tmp_path: Path) -> None:
    """A signal in the middle of an import, from a module that stands before the one it is called as."""
    write(tmp_path / "typer.py", f"import os, signal\nos.kill(os.getpid(), signal.{name})\n")
    environment = os.environ | {"PYTHONPATH": f"{tmp_path}{os.pathsep}{os.getcwd()}"}
    code, out, err = ran("ends", "tfsgd.sweep", "--help", env=environment)
    assert (code, out, err) == (130, "", "interrupted\n")


def test_what_nohup_ignores_stays_ignored() -> None:
    done = subprocess.run(["nohup", sys.executable, "-c", SCRIPT, "SIGHUP"], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "went on\n")
    SURVIVED["ends"] += 1


def one_trial(tmp_path: Path, **changes: Any) -> list[str]:
    """The command of a sweep of one trial in one process."""
    one = TINY | {"regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}} | changes
    path = write(tmp_path / "config.yaml", to_yaml(one))
    return ["tfsgd.sweep", str(path), "--logs", str(tmp_path), "--workers", "1"]


def test_a_sweep_that_is_terminated_says_that_it_goes_on_from_there(tmp_path: Path) -> None:
    command = [sys.executable, "-m", *one_trial(tmp_path, epochs=10_000)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        while not list((tmp_path / "tiny").glob("trials/*/*/checkpoint/epoch-*.npz")):
            assert sweep.poll() is None
            time.sleep(0.05)
        sweep.send_signal(signal.SIGTERM)
        _, err = sweep.communicate(timeout=60)
    assert (sweep.returncode, err.lstrip("\n")) == (130, GOES_ON)
    assert list((tmp_path / "tiny").glob("trials/*/*/checkpoint/epoch-*.npz"))
    SURVIVED["ends"] += 1


def test_with_workers_too_a_lost_output_ends_a_sweep(tmp_path: Path) -> None:
    command = [sys.executable, "-m", *one_trial(tmp_path, epochs=10_000, seeds=[0, 1])[:-1], "2"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        assert sweep.stdout is not None
        assert any(line.startswith("[0 of 2]") for line in sweep.stdout)
        sweep.stdout.close()
        _, err = sweep.communicate(timeout=90)
    assert (sweep.returncode, err) == (130, f"nobody reads the output: {GOES_ON}")


def test_a_sweep_whose_reader_goes_ends_in_a_line_and_loses_nothing(tmp_path: Path) -> None:
    """As `sweep | head -3`, in the middle of a training; its end is what is not read any more."""
    command = [sys.executable, "-m", *one_trial(tmp_path, epochs=2)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as sweep:
        assert sweep.stdout is not None
        assert sweep.stderr is not None
        assert any(line.startswith("[0 of 1]") for line in sweep.stdout)
        sweep.stdout.close()
        err = sweep.stderr.read()
    assert (sweep.returncode, err) == (130, f"nobody reads the output: {GOES_ON}")
    [path] = (tmp_path / "tiny").glob("trials/*/*/record.json")
    assert read_record(path, {}).status in ("completed", "collapsed")
    SURVIVED["ends"] += 1


@pytest.fixture
def finished(tmp_path: Path) -> list[Any]:
    """The command of a sweep that is complete."""
    command = one_trial(tmp_path)
    of = Experiment.model_validate(TINY | {"regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}})
    write_sweep(tmp_path / "tiny", of)
    assert list(LogFolder(tmp_path / "tiny").records())
    return [*command, "--set", "attacks={}"]


@pytest.mark.parametrize("arguments", [["--dry-run"], []], ids=["dry run", "complete"])
def test_a_full_disk_under_standard_output_is_said_in_a_line(
    finished: list[Any], arguments: list[str]
) -> None:
    with open("/dev/full", "w") as full:
        code, _, err = ran("ends", *finished, *arguments, stdout=full)
    assert (code, err) == (2, f"error: standard output: No space left on device: {GOES_ON}")


def test_a_full_disk_under_the_help_is_said_in_a_line() -> None:
    with open("/dev/full", "w") as full:
        code, _, err = ran("ends", "tfsgd.sweep", "--help", stdout=full)
    assert (code, err.count("\n")) == (2, 1)
    assert "No space left on device" in err


@pytest.mark.parametrize("closed", [0, 1, 2])
def test_a_closed_stream_is_nobodys_file(finished: list[Any], closed: int, tmp_path: Path) -> None:
    """Else the next file that is opened would have its number, and be written to by whatever prints."""
    code, out, err = ran("ends", *finished, preexec_fn=lambda: os.close(closed))
    assert code == 0
    assert ("tiny: 1 trial," in out) == (closed != 1)
    assert err == ""
    for path in tmp_path.rglob("*"):
        if path.is_file():
            assert "tiny: 1 trial," not in path.read_text(errors="replace")


def test_messages_stay_on_standard_error_however_often_native_logs_are_sent_away(tmp_path: Path) -> None:
    script = (
        "import os, pathlib, sys\n"
        "from tfsgd.terminal.progress import send_native_logs_to as send\n"
        "for name in 'ab': send(pathlib.Path(name)); print('said', file=sys.stderr); os.write(2, b'native')\n"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "said\nsaid\n")
    assert [(tmp_path / name).read_text() for name in "ab"] == ["native", "native"]


# Locales


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_what_a_locale_lacks_is_said_in_other_words(
    encoding: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    app = typer.Typer()
    app.command()(lambda: console().print("λ1 at ε ≤ 0.3 of 日"))
    shown = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
    monkeypatch.setattr(sys, "stdout", shown)
    monkeypatch.setattr(sys, "argv", ["sweep"])
    assert command.outcome(app, "sweep", "interrupted") == 0
    assert shown.buffer.getvalue() == b"lambda1 at epsilon <= 0.3 of ?\n"


@pytest.mark.parametrize(
    ("name", "locale"),
    [
        (b"logs\xff", {}),
        ("größe".encode(), {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}),
    ],
    ids=["no UTF-8", "ASCII alone"],
)
def test_a_name_that_tensorflow_would_take_for_another_is_refused(
    name: bytes, locale: dict[str, str]
) -> None:
    called = [sys.executable.encode(), b"-m", b"tfsgd.report", name]
    done = subprocess.run(called, capture_output=True, env=os.environ | locale)
    assert (done.returncode, done.stdout) == (2, b"")
    shown = name.decode("ascii", "surrogateescape").encode("ascii", "backslashreplace")
    assert done.stderr == b"error: " + shown + REFUSED
    SURVIVED["ends"] += 1


def test_a_current_folder_that_tensorflow_would_take_for_another_is_refused(tmp_path: Path) -> None:
    folder = os.fsencode(tmp_path) + b"/\xfcber"
    os.mkdir(folder)
    called = [sys.executable, "-m", "tfsgd.report", "logs"]
    environment = os.environ | {"PYTHONPATH": os.getcwd()}
    done = subprocess.run(called, capture_output=True, cwd=folder, env=environment)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr == b"error: " + os.fsencode(tmp_path) + rb"/\udcfcber" + REFUSED
