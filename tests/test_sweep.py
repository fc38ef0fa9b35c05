"""The command, as users call it: what it trains, what it never trains again, and how it refuses."""

import errno
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Config, Run, Work, mounted
from tests.synthetic import experiment, write_sweep
from tfsgd.data.dataset import Splits
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import Trial, grid
from tfsgd.plan.yaml_io import to_yaml
from tfsgd.records.folder import LogFolder, read_record
from tfsgd.sweeping import tuner
from tfsgd.trials import attempt
from tfsgd.trials.trial import SweepContext, run_trial


@pytest.fixture
def trained(work: Work) -> list[str]:
    """The names of the trials that were really trained, in order."""
    return work.trained


def read(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return found


def measured(record: dict[str, Any], kind: str) -> list[dict[str, Any]]:
    return [found for found in record["measurements"] if found["kind"] == kind]


def test_a_trial_handed_out_again_after_its_record_is_not_trained_again(
    config: Config, run_sweep: Run, splits: Splits, work: Work, tmp_path: Path
) -> None:
    """As after the death of a worker between its record and its word to the sweep."""
    path, trained = config(), work.trained
    assert run_sweep(path)[0] == 0
    assert len(trained) == 2
    experiment, told = load_experiment(path), []

    class Listener:
        def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
            raise AssertionError

        def ended(self, trial: Trial, outcome: str) -> None:
            told.append((trial.name, outcome))

    work.measured.clear()
    context = SweepContext(experiment, experiment.cut(splits), LogFolder(tmp_path / "logs/tiny"), Listener())
    assert tuner.search(grid(experiment), context) == {}
    assert len(trained) == 2
    assert work.measured == []
    assert [name for name, _ in told] == trained
    assert all("test accuracy" in outcome for _, outcome in told)


def test_the_grid_is_trained_once_and_a_grown_grid_only_where_it_grew(
    config: Config, run_sweep: Run, trained: list[str], tmp_path: Path
) -> None:
    code, out, _ = run_sweep(config())
    assert code == 0
    assert trained == ["lr/b0064-m0.0-s0", "lr/b0064-m0.9-s0"]
    assert "LR = LR/BS" in out
    assert "tensorboard --logdir" in out
    trials = tmp_path / "logs/tiny/trials"
    record = read(trials / "lr/b0064-m0.0-s0")
    assert record["regimes"] == ["LR", "LR/BS"]
    assert record["status"] in ("completed", "collapsed")
    assert [(a["label"], a["settings"]["steps"], a["examples"]) for a in measured(record, "attack")] == [
        ("fgsm", 1, 50),
        ("pgd", 2, 50),
    ]

    trained.clear()
    before = (trials / "lr/b0064-m0.0-s0/record.json").read_bytes()
    code, out, _ = run_sweep(config())
    assert (code, trained) == (0, [])
    assert "tiny: 2 trials, 2 complete, 0 to train\n" in out

    code, _, _ = run_sweep(config(), "--set", "batch_sizes=[64,100]", "--set", "seeds=[0]")
    assert code == 0
    assert trained == ["lr/b0100-m0.0-s0", "lr/b0100-m0.9-s0", "lr-bs/b0100-m0.0-s0"]
    assert (trials / "lr/b0064-m0.0-s0/record.json").read_bytes() == before


def test_a_regime_that_joins_later_is_named_in_the_record(
    config: Config, run_sweep: Run, trained: list[str], tmp_path: Path
) -> None:
    lr = {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}
    assert run_sweep(config(regimes=lr))[0] == 0
    both = {"LR/BS": {"ratio": 0.00015625, "momentum": [0.0]}} | lr
    trained.clear()
    assert run_sweep(config(regimes=both))[0] == 0
    assert trained == []
    assert read(tmp_path / "logs/tiny/trials/lr/b0064-m0.0-s0")["regimes"] == ["LR/BS", "LR"]


def test_failed_trials_are_reported_and_tried_again(
    config: Config, run_sweep: Run, work: Work, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The first four of five fail; keras-tuner alone would stop after three."""
    calls: list[str] = []

    def failing(trial: Trial, *arguments: Any) -> Any:
        calls.append(trial.name)
        if trial.seed < 4:
            raise RuntimeError("the card\nfell out")
        return run_trial(trial, *arguments)

    monkeypatch.setattr(attempt, "run_trial", failing)
    path = config(seeds=[0, 1, 2, 3, 4], regimes={"LR": {"learning_rate": 0.01, "momentum": [0.9]}})
    code, _, err = run_sweep(path)
    assert code == 1
    assert len(calls) == 5
    for seed, line in enumerate(err.strip().splitlines()[-4:]):
        assert line.startswith(f"failed: lr/b0064-m0.9-s{seed}: RuntimeError: the card fell out (")
        place = f"{tmp_path}/logs/tiny/trials/lr/b0064-m0.9-s{seed}/failure.json"
        assert line.endswith(
            f"test_sweep.py, line {line.split('line ')[1].split(')')[0]}) (traceback in {place})"
        )
    folder = tmp_path / "logs/tiny/trials/lr"
    failure = json.loads((folder / "b0064-m0.9-s0/failure.json").read_text())
    assert "Traceback" in failure["traceback"]
    assert "fell out" in failure["traceback"]
    assert (folder / "b0064-m0.9-s4/record.json").exists()

    assert work.trained == ["lr/b0064-m0.9-s4"]
    work.trained.clear()
    monkeypatch.setattr(attempt, "run_trial", run_trial)
    code, _, _ = run_sweep(path)
    assert code == 0
    assert work.trained == [f"lr/b0064-m0.9-s{seed}" for seed in range(4)]
    assert not list(folder.glob("*/failure.json"))


def test_diverged_and_collapsed_are_results(
    config: Config, run_sweep: Run, work: Work, tmp_path: Path
) -> None:
    regimes = {
        "Wild": {"learning_rate": 1e30, "momentum": [0.0]},
        "Still": {"learning_rate": 1e-9, "momentum": [0.0]},
    }
    code, out, err = run_sweep(config(regimes=regimes, export=True, epochs=2))
    assert (code, err) == (0, "")
    wild = read(tmp_path / "logs/tiny/trials/wild/b0064-m0.0-s0")
    still = read(tmp_path / "logs/tiny/trials/still/b0064-m0.0-s0")
    assert (wild["status"], still["status"]) == ("diverged", "collapsed")
    assert wild["measurements"] == []  # there is nothing to measure on it
    assert [found["values"]["value"] is not None for found in measured(still, "curvature")] == [
        True,
        True,
    ]  # λ1, and the gradient's norm
    assert [found["values"]["accuracy"] is not None for found in measured(still, "attack")] == [True, True]
    manifest = json.loads((tmp_path / "logs/tiny/trials/wild/b0064-m0.0-s0/manifest.json").read_text())
    assert (manifest["status"], manifest["test_accuracy"], manifest["attacks"]) == ("diverged", None, [])
    assert run_sweep(config(regimes=regimes, export=True, epochs=2))[0] == 0
    assert len(work.trained) == 2  # it is complete
    assert "diverged" in out
    assert "collapsed" in out


def test_records_are_the_truth_whatever_keras_tuner_remembers(
    config: Config, run_sweep: Run, trained: list[str], tmp_path: Path
) -> None:
    assert run_sweep(config())[0] == 0
    shutil.rmtree(tmp_path / "logs/tiny/trials/lr/b0064-m0.9-s0")
    trained.clear()
    assert run_sweep(config())[0] == 0
    assert trained == ["lr/b0064-m0.9-s0"]


# A logs folder that means something else


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("epochs=2", "epochs: "),
        ("train_examples=199", "train_examples: "),
        ("model=m1", "model: "),
        ("regimes.LR.learning_rate=0.02", "regimes.LR: "),
    ],
)
def test_a_config_that_changes_what_records_mean_is_refused(
    config: Config, run_sweep: Run, tmp_path: Path, override: str, key: str, finished_logs: Path
) -> None:
    shutil.copytree(finished_logs, tmp_path / "logs/tiny")
    code, _, err = run_sweep(config(), "--set", override)
    assert code == 2
    assert err.startswith(f"error: {key}")
    assert "--set name=tiny-2" in err
    assert err.count("\n") == 1


def test_records_off_the_grid_are_refused_too(
    config: Config, run_sweep: Run, tmp_path: Path, finished_logs: Path
) -> None:
    shutil.copytree(finished_logs, tmp_path / "logs/tiny")
    code, _, err = run_sweep(config(), "--set", "epochs=2", "--set", "seeds=[7]")
    assert code == 2
    assert err.startswith("error: epochs: ")


def test_other_images_are_refused(
    config: Config, run_sweep: Run, tmp_path: Path, finished_logs: Path
) -> None:
    shutil.copytree(finished_logs, tmp_path / "logs/tiny")
    for path in tmp_path.glob("logs/tiny/trials/*/*/record.json"):
        training = replace(read_record(path, {}).training, data_sha256="0" * 64)
        raw = json.loads(path.read_text())
        path.write_text(json.dumps(raw | {"data_sha256": "0" * 64, "training_hash": training.hash}))
    code, _, err = run_sweep(config(), "--set", "seeds=[1]")
    assert code == 2
    assert f"its images are not those of the records in {tmp_path}/logs/tiny" in err
    assert "--set name=tiny-2" in err
    assert err.count("\n") == 1


def test_a_network_that_is_built_otherwise_now_is_refused(
    config: Config, run_sweep: Run, tmp_path: Path, finished_logs: Path
) -> None:
    shutil.copytree(finished_logs, tmp_path / "logs/tiny")
    for path in tmp_path.glob("logs/tiny/trials/*/*/record.json"):
        training = replace(read_record(path, {}).training, model_sha256="0" * 64)
        raw = json.loads(path.read_text())
        path.write_text(json.dumps(raw | {"model_sha256": "0" * 64, "training_hash": training.hash}))
    code, _, err = run_sweep(config(), "--set", "seeds=[1]")
    assert code == 2
    assert "model: stdcnn is now built otherwise than the networks of the records in" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize("key", ["data_sha256", "epochs", "seed", "train_examples"])
def test_an_edited_record_is_refused(
    config: Config, run_sweep: Run, tmp_path: Path, finished_logs: Path, key: str
) -> None:
    shutil.copytree(finished_logs, tmp_path / "logs/tiny")
    path = tmp_path / "logs/tiny/trials/lr/b0064-m0.0-s0/record.json"
    other = {"data_sha256": "0" * 64, "epochs": 7, "seed": 7, "train_examples": 7}
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: other[key]}))
    code, _, err = run_sweep(config())
    assert code == 2
    assert f"error: {path}: no valid record: " in err
    assert "the record was edited" in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "no valid JSON"),
        ("[]", "no valid record: the whole file: expected a mapping"),
        ('{"name": "tiny"}', "no valid record: schema"),
        ('{"name": "tiny", "config_hash": "0"}', "no valid record of schema 1: 'batch_size'"),
        ('{"name": "tiny", "schema": 3}', "no valid record: schema"),
    ],
)
def test_spoiled_record_is_refused_by_name(
    config: Config, run_sweep: Run, tmp_path: Path, content: str, message: str, finished_logs: Path
) -> None:
    shutil.copytree(finished_logs, tmp_path / "logs/tiny")
    path = tmp_path / "logs/tiny/trials/lr/b0064-m0.0-s0/record.json"
    path.write_text(content)
    code, _, err = run_sweep(config())
    assert code == 2
    assert str(path) in err
    assert message in err


def test_a_record_in_the_wrong_folder_is_refused(
    config: Config, run_sweep: Run, tmp_path: Path, finished_logs: Path
) -> None:
    shutil.copytree(finished_logs, tmp_path / "logs/tiny")
    trials = tmp_path / "logs/tiny/trials/lr"
    shutil.copytree(trials / "b0064-m0.0-s0", trials / "b0064-m0.0-s9")
    code, _, err = run_sweep(config())
    assert code == 2
    assert "b0064-m0.0-s9/record.json: its content belongs to trials/lr/b0064-m0.0-s0" in err


@pytest.fixture(scope="module")
def finished_logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of a finished sweep of the tiny config."""
    import yaml

    from tests.conftest import TINY

    root = tmp_path_factory.mktemp("finished")
    (root / "config.yaml").write_text(yaml.safe_dump(TINY))
    command = [sys.executable, "-m", "tfsgd.sweep", str(root / "config.yaml"), "--logs", str(root)]
    subprocess.run([*command, "--workers", "1"], check=True, capture_output=True)
    return root / "tiny"


# The request itself


def test_wrong_requests_are_one_line_and_exit_code_2(config: Config, run_sweep: Run, tmp_path: Path) -> None:
    good = config()
    requests: list[tuple[list[Any], str]] = [
        ([], "Missing argument"),
        ([good, "--bogus"], "bogus"),
        ([good, "--set"], "--set"),
        ([good, "--set", "epochs"], "expected KEY=VALUE"),
        ([tmp_path / "none.yaml"], "no such config"),
        ([good, "--data", tmp_path / "none"], "none: expected a folder"),
        ([good, "--set", "epochs=0"], "epochs: expected greater than or equal to 1"),
        ([good, "--quick"], "--quick needs this block"),
    ]
    for arguments, message in requests:
        code, out, err = run_sweep(*arguments)
        assert (code, err.count("\n")) == (2, 1), (arguments, err)
        assert message in err
        assert "Traceback" not in out + err


def test_logs_that_cannot_be_written_are_refused_before_any_work(
    config: Config, run_sweep: Run, tmp_path: Path
) -> None:
    file = tmp_path / "file"
    file.touch()
    code, _, err = run_sweep(config(), "--logs", file)
    assert code == 2
    assert f"{file}/tiny: cannot be written to" in err


def test_dry_run_shows_the_trials_and_needs_no_data(config: Config, run_sweep: Run, tmp_path: Path) -> None:
    code, out, _ = run_sweep(config(dataset="mnist", data_dir="/nonexistent"), "--dry-run")
    assert code == 0
    assert "lr/b0064-m0.9-s0" in out
    assert (
        f"none of 2 trials has a record in {tmp_path}/logs/tiny yet; a guess: they take one worker about"
        in out
    )
    assert not (tmp_path / "logs").exists()


def test_dry_run_says_how_much_is_left_and_refuses_what_training_would(
    run_sweep: Run, tmp_path: Path
) -> None:
    of = experiment(name="tiny", batch_sizes=[64, 128], seeds=[0])
    done = next(iter(grid(of))).name
    folder = write_sweep(tmp_path / "logs" / "tiny", of, leave_out=lambda trial: trial.name != done)
    [record] = LogFolder(folder).records()
    hours = (sum(record.seconds.values()) + sum(m.seconds or 0 for m in record.measurements)) / 3600
    path = tmp_path / "config.yaml"
    path.write_text(to_yaml(of.model_dump(exclude_defaults=True)))
    left = len(grid(of)) - 1
    code, out, err = run_sweep(path, "--dry-run")
    assert (code, err) == (0, "")
    said = (
        f"1 of {left + 1} trials have a record in {tmp_path}/logs/tiny; the other {left} take one worker about "
        f"{hours * left:.1f} h, as those did"
    )
    assert out.splitlines()[-1].startswith(said)
    more = ["--set", "attacks.noise={epsilon: [0.1]}", "--set", "curvature.trace={examples: 100}"]
    code, out, err = run_sweep(path, "--dry-run", *more)
    assert (code, err) == (0, "")
    assert "to be measured on 1 of them: " in out
    assert "noise 0.1" in out
    assert "trace" in out
    code, out, err = run_sweep(path, "--dry-run", "--set", "epochs=7")
    assert (code, out) == (2, "")
    assert (
        f"epochs: {tmp_path}/logs/tiny holds trials trained with '100 epochs', this config says '7 epochs'"
        in err
    )


@pytest.mark.parametrize(
    "arguments", [["--help"], ["configs/fmnist_stdcnn.yaml", "--dry-run"], ["configs/none.yaml"]]
)
def test_tensorflow_is_not_imported_before_it_is_needed(arguments: list[str]) -> None:
    script = (
        "import sys; sys.argv[1:] = sys.argv[1].split('|')\n"
        "from tfsgd.sweep import main\n"
        "try: main()\n"
        "finally: assert not {'tensorflow', 'keras', 'keras_tuner'} & set(sys.modules), 'imported'"
    )
    done = subprocess.run([sys.executable, "-c", script, "|".join(arguments)], capture_output=True, text=True)
    assert done.returncode in (0, 2)
    assert "imported" not in done.stderr


def test_no_native_noise_and_no_traceback_in_a_real_process(finished_logs: Path, tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "tfsgd.sweep",
        str(finished_logs.parent / "config.yaml"),
        "--logs",
        str(tmp_path),
    ]
    done = subprocess.run([*command, "--set", "regimes.LR.momentum=[0.0]"], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "[1 of 1] lr/b0064-m0.0-s0 " in done.stdout
    ours = (tmp_path / "tiny/trials/lr/b0064-m0.0-s0/record.json").read_text()
    theirs = (finished_logs / "trials/lr/b0064-m0.0-s0/record.json").read_text()
    same = [json.loads(text) for text in (ours, theirs)]
    for record in same:
        for timed in (record, *record["measurements"]):
            del timed["seconds"]
    assert same[0] == same[1]  # another process, the same numbers to the last bit


@pytest.mark.parametrize(("presses", "records"), [(1, 2), (2, 1)])
def test_interrupt_keeps_what_is_finished(
    config: Config,
    run_sweep: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    ctrl_c: Any,
    presses: int,
    records: int,
) -> None:
    """In the second of three trials: the first Ctrl-C finishes it, and the second one ends it."""

    def interrupted(trial: Trial, *arguments: Any) -> Any:
        begun.append(trial.name)
        if len(begun) == 2:
            for _ in range(presses):
                ctrl_c()
                time.sleep(0.5)  # as a person does, who has read the line
        return run_trial(trial, *arguments)

    begun = list[str]()
    monkeypatch.setattr(attempt, "run_trial", interrupted)
    code, _, err = run_sweep(config(seeds=[0, 1]))
    assert code == 130
    assert "finishing the trial at hand; Ctrl-C again ends now\n" in err
    assert err.endswith("interrupted; the same command goes on from here\n")
    assert len(begun) == 2
    assert len(list((tmp_path / "logs/tiny/trials").glob("*/*/record.json"))) == records


# A disk that fills while a record is written


def test_full_disk_fails_the_trial_and_loses_nothing(
    config: Config, run_sweep: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    real = os.fsync

    def full(descriptor: int) -> None:
        if "record.json" in os.readlink(f"/proc/self/fd/{descriptor}") and "m0.9" in os.readlink(
            f"/proc/self/fd/{descriptor}"
        ):
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    code, _, err = run_sweep(config())
    assert code == 1
    assert "lr/b0064-m0.9-s0: OSError: [Errno 28] No space left on device" in err
    trials = tmp_path / "logs/tiny/trials/lr"
    assert (trials / "b0064-m0.0-s0/record.json").exists()
    assert not (trials / "b0064-m0.9-s0/record.json").exists()
    assert not list(trials.glob("*/.record.json*"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 300 KiB."""
    yield from mounted(tmp_path / "disk", "300k")


def test_really_full_disk_is_said_in_a_line(config: Config, run_sweep: Run, small_disk: Path) -> None:
    code, _, err = run_sweep(config(export=True), "--logs", small_disk)
    assert code == 1
    assert "failed: lr/b0064-m0.9-s0: " in err
    assert "space" in err.lower()
    assert "Traceback" not in err
