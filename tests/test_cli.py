"""The command `tfsgd`: its subcommands are the modules' commands under another name."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tfsgd import __version__

WITHOUT_TENSORFLOW = (
    "import sys; sys.argv = ['/usr/bin/tfsgd', *sys.argv[1:]]\n"
    "from tfsgd.cli import main\n"
    "try: main()\n"
    "finally: assert not {'tensorflow', 'keras', 'keras_tuner'} & set(sys.modules), 'imported'"
)


def run(*arguments: str, folder: Path) -> tuple[int, str, str]:
    """Calls the command as its script does, in a folder outside the checkout."""
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_TENSORFLOW, *arguments],
        capture_output=True,
        text=True,
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(Path.cwd())},
    )
    return done.returncode, done.stdout, done.stderr


def test_help_names_every_command(tmp_path: Path) -> None:
    code, out, err = run("--help", folder=tmp_path)
    assert (code, err) == (0, "")
    for name in ("sweep", "measure", "report", "barriers"):
        assert f"  {name} " in out


def test_version(tmp_path: Path) -> None:
    assert run("--version", folder=tmp_path) == (0, f"tfsgd {__version__}\n", "")


def test_a_dry_run_of_a_shipped_config_from_any_folder(tmp_path: Path) -> None:
    code, out, err = run("sweep", "fmnist_stdcnn", "--quick", "--dry-run", folder=tmp_path)
    assert (code, err) == (0, "")
    assert "lr-bs/b0128-m0.9-s0" in out
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("name", ["sweep", "report"])
def test_usage_is_spelled_as_it_was_called(name: str, tmp_path: Path) -> None:
    code, out, err = run(name, "--help", folder=tmp_path)
    assert (code, err) == (0, "")
    assert f"Usage: tfsgd {name} " in out
    assert "python -m" not in out
    done = subprocess.run([sys.executable, "-m", f"tfsgd.{name}", "--help"], capture_output=True, text=True)
    assert f"Usage: python -m tfsgd.{name} " in done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected a command: sweep, measure, report, barriers, export. See tfsgd --help."),
        (["swep"], "swep"),
        (["--bogus"], "bogus"),
        (["sweep"], "Missing argument 'config'. See tfsgd sweep --help."),
        (["sweep", "fmnist_stdcn"], "did you mean 'fmnist_stdcnn'"),
        (["sweep", "fmnist_stdcnn", "--set", "epoch=1"], "did you mean 'epochs'"),
        (["report", "none"], "none"),
    ],
)
def test_refusals_are_one_line(arguments: list[str], message: str, tmp_path: Path) -> None:
    code, out, err = run(*arguments, folder=tmp_path)
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert err.startswith("error: ")
    assert message in err


def test_interrupt_is_said_and_ends_with_130(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], ctrl_c: Callable[[], None]
) -> None:
    from tfsgd import command

    def interrupted() -> None:
        ctrl_c()

    monkeypatch.setattr(sys, "argv", ["tfsgd"])
    with pytest.raises(SystemExit) as ended:
        command.run(interrupted, "sweep", interrupted="stopped; go on")
    assert ended.value.code == 130
    assert "stopped; go on" in capsys.readouterr().err
