"""All records of a folder can be compared: what would make two studies of one is refused, also where nothing is left to do."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Run
from tests.own import arrays, refusal
from tests.synthetic import experiment, realistic, write_sweep
from tests.test_report import retrained
from tfsgd.plan.config import Experiment
from tfsgd.plan.reading import load_experiment, regrown
from tfsgd.plan.yaml_io import to_yaml

SMALL = {
    "name": "tiny",
    "batch_sizes": [64],
    "seeds": [0],
    "regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.0, 0.9]}},
    "attacks": {"fgsm": {"epsilon": [0.1]}},
}
ANOTHER_MOMENTUM = "trials/lr/b0064-m0.9-s0/record.json"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """A finished sweep of two trials, and its config beside it."""
    of = experiment(**SMALL)
    (tmp_path / "tiny.yaml").write_text(to_yaml(of.model_dump(mode="json", exclude_defaults=True)))
    return write_sweep(tmp_path / "logs/tiny", of)


def refused(run: Run, *arguments: Any) -> str:
    """The line in which a command is refused."""
    code, out, err = run(*arguments)
    assert (code, err.count("\n")) == (2, 1), out + err
    return err.removeprefix("error: ")


def bytes_of(folder: Path) -> dict[Path, bytes]:
    return {p: p.read_bytes() for p in folder.rglob("*") if p.is_file() and p.name != ".lock"}


@pytest.mark.parametrize("key", ["data_sha256", "model_sha256"])
@pytest.mark.parametrize("dry", [(), ("--dry-run",)])
def test_a_record_of_other_data_or_another_network_is_not_counted(
    key: str, dry: tuple[str, ...], logs: Path, run_sweep: Run, tmp_path: Path
) -> None:
    assert run_sweep(tmp_path / "tiny.yaml", *dry)[0] == 0
    retrained(logs / ANOTHER_MOMENTUM, **{key: "f" * 64})
    before = bytes_of(logs)
    line = refused(run_sweep, tmp_path / "tiny.yaml", *dry)
    assert line.startswith(f"{logs / ANOTHER_MOMENTUM}: {key}: trained ")
    assert "than lr/b0064-m0.0-s0 beside it; such trials cannot be compared, keep them in folders" in line
    assert bytes_of(logs) == before


def own(tmp_path: Path) -> tuple[Path, Experiment]:
    """A config with data of one's own, and what it is read as."""
    (tmp_path / "letter_nets.py").write_text("def small(): ...\n")
    config = tmp_path / "own.yaml"
    plan = SMALL | {"dataset": "letters.npz", "model": "letter_nets:small", "epochs": 2, "batch_sizes": [16]}
    config.write_text(to_yaml(plan))
    return config, load_experiment(config)


@pytest.mark.parametrize("more", [(), ("--dry-run",), ("--dry-run", "--set", "seeds=[1]")])
def test_own_data_that_changed_are_refused_before_the_folder_takes_them_for_its_own(
    more: tuple[str, ...], run_sweep: Run, run_measure: Run, tmp_path: Path
) -> None:
    file, changed = tmp_path / "letters.npz", arrays()["train_images"].copy()
    np.savez(file, **arrays())
    config, of = own(tmp_path)
    assert of.own_data
    sha256 = of.own_data.sha256
    logs = write_sweep(tmp_path / "logs/tiny", of, lambda trial: realistic(trial) | {"data_sha256": sha256})
    assert run_sweep(config, *more)[0] == 0
    before = bytes_of(logs)
    changed[7, 7, 7] = 1
    np.savez(file, **arrays(train_images=changed))
    line = refused(run_sweep, config, *more)
    assert f"dataset: letters.npz: its images are not those of the records in {logs}; use the same" in line
    assert bytes_of(logs) == before
    line = refused(run_measure, logs, "--set", "attacks.fgsm.epsilon=[0.2]")
    assert f"dataset: {file}: its images or labels are no longer those that it had; put back" in line


def test_epochs_do_not_become_updates_even_where_they_are_as_many(
    logs: Path, run_sweep: Run, tmp_path: Path
) -> None:
    updates = 100 * 860  # ⌈55,000 / 64⌉ an epoch
    more = ("--set", "epochs=null", "--set", f"budget.updates={updates}", "--set", "seeds=[0,1]")
    line = refused(run_sweep, tmp_path / "tiny.yaml", *more)
    assert line.startswith(
        f"budget.updates: {logs} holds trials trained with '100 epochs', this config says '86,000 updates'; keep both"
    )


def test_a_sweep_does_not_go_on_with_what_quick_has_begun(logs: Path, run_sweep: Run, tmp_path: Path) -> None:
    write_sweep(tmp_path / "logs/tiny-quick", experiment(**SMALL | {"profile": "quick"}))
    line = refused(run_sweep, tmp_path / "tiny.yaml", "--set", "name=tiny-quick", "--dry-run")
    assert line.startswith(
        f"profile (--quick): {logs}-quick holds trials trained with 'quick', this config says 'full'; keep both with"
    )


@pytest.mark.parametrize(
    "override", ["profile=quick", "code_dir=/nowhere", "own_data=null", "own_data.train=3"]
)
def test_what_the_tool_sets_is_not_set_by_hand_of_a_stored_sweep(
    override: str, logs: Path, run_sweep: Run, run_measure: Run
) -> None:
    before, key = bytes_of(logs), override.partition("=")[0]
    for line in (
        refused(run_measure, logs, "--set", override),
        refused(run_sweep, logs / "experiment.yaml", "--set", override),
    ):
        assert line.startswith(f"--set {key}: it is set by ")
    assert bytes_of(logs) == before


def test_what_trainings_that_are_over_have_not_is_said(
    logs: Path, run_sweep: Run, run_measure: Run, tmp_path: Path
) -> None:
    plain = ("--set", "export=false")
    code, _, err = run_sweep(tmp_path / "tiny.yaml", *plain)
    assert (code, err) == (0, "")
    code, _, err = run_sweep(tmp_path / "tiny.yaml", "--set", "hessian.every_epochs=1")
    assert code == 0
    told = (
        "in 2 trained trials (lr/b0064-m0.0-s0, ...); remove a trial's folder to train it again, or keep both"
    )
    assert [line.partition(" with --set")[0] for line in err.splitlines()] == [
        f"warning: hessian.every_epochs=1: λ1 was not taken so often {told}",
        f"warning: export=true: no network was kept {told}",
    ]


def test_a_stored_sweep_has_its_own_data_set_and_eigenvalue_and_says_so(logs: Path, tmp_path: Path) -> None:
    config, said = tmp_path / "tiny.yaml", list[str]()
    stored = logs / "experiment.yaml"
    assert regrown(stored, config, (), None, said.append) == regrown(stored, None, (), None)
    assert said == []
    config.write_text(config.read_text() + "hessian: {examples: 100, every_epochs: 1}\n")
    more = regrown(stored, config, (), None, said.append)
    assert more.hessian.examples == 5000
    assert said == [
        f"--config {config}: its hessian.examples does not count, λ1 is that of {logs}; --set hessian.examples=100 "
        "would measure it"
    ]
    regrown(stored, config, ("hessian.examples=100",), None, said.append)
    assert len(said) == 1
    config.write_text(config.read_text().replace("fashion_mnist", "mnist"))
    told = refusal(lambda: regrown(stored, config, (), None))
    assert told.startswith(
        f"--config {config}: dataset: mnist: the networks of {logs} are measured on their own"
    )


def test_snapshots_are_by_the_loss_on_as_many_images(run_sweep: Run, tmp_path: Path) -> None:
    of = experiment(**SMALL | {"snapshots": {"train_loss": [0.5], "examples": 1000}})
    config = tmp_path / "tiny.yaml"
    config.write_text(to_yaml(of.model_dump(mode="json", exclude_defaults=True)))
    logs = write_sweep(
        tmp_path / "logs/tiny", of, lambda trial: realistic(trial) | {"snapshots": {0.5: None}}
    )
    assert run_sweep(config, "--dry-run")[0] == 0
    line = refused(run_sweep, config, "--set", "snapshots.examples=2000", "--set", "seeds=[1]")
    assert line.startswith(
        f"snapshots.examples: {logs} holds snapshots by the loss on 1,000 training images, this config says 2,000; keep"
    )
