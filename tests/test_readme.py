"""The README's commands are real."""

import re
import shlex
from pathlib import Path

import pytest

from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid

TEXT = Path("README.md").read_text()
COMMANDS = [line for block in re.findall(r"```sh\n(.*?)```", TEXT, re.S) for line in block.splitlines()]


@pytest.mark.parametrize("command", [c for c in COMMANDS if "tfsgd.sweep" in c])
def test_sweep_commands_have_a_grid(command: str) -> None:
    words = shlex.split(command)
    config = next(word for word in words if word.endswith(".yaml"))
    overrides = tuple(word for word, before in zip(words[1:], words, strict=False) if before == "--set")
    assert grid(load_experiment(Path(config), overrides, quick="--quick" in words))


def test_make_targets_exist() -> None:
    makefile = Path("Makefile").read_text() + "".join(p.read_text() for p in Path().glob("*/*.mk"))
    targets = {word.split()[1] for word in COMMANDS if word.startswith("make ")}
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_files_that_it_names_exist() -> None:
    for name in re.findall(r"`((?:tfsgd|configs|tests|docs|bench)/[\w./-]*)`", TEXT):
        assert Path(name).exists(), name


def test_the_regime_that_it_adds_is_one() -> None:
    override = re.search(r"--set '(regimes\.[^']+)'", TEXT)
    assert override
    experiment = load_experiment(Path("configs/fmnist_stdcnn.yaml"), (override[1],))
    assert "LR-0.1" in experiment.regimes
