"""Measuring the networks of a finished sweep: only what is missing, and nothing is trained."""

import hashlib
import json
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from tests.foreign import accuracies, letters
from tests.sweeps import numbers, swept
from tfsgd.measures.spec import Request
from tfsgd.trials import trial as trials

Run = Callable[..., tuple[int, str, str]]


def read(path: Path) -> Any:
    return json.loads(path.read_text())


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of a finished sweep of two networks on the letters."""
    root = tmp_path_factory.mktemp("finished")
    np.savez(root / "letters.npz", **letters())
    (root / "measured_nets.py").write_text(
        "import keras\n\n"
        "def small(image_shape, classes):\n"
        "    return keras.Sequential([keras.Input(image_shape), keras.layers.Flatten(), keras.layers.Dense(classes)])\n"
    )
    plan = {
        "name": "tiny", "dataset": "letters.npz", "model": "measured_nets:small", "epochs": 3, "batch_sizes": [16],
        "seeds": [0], "regimes": {"LR": {"learning_rate": 0.05, "momentum": [0.0, 0.9]}},
        "attacks": {"fgsm": {"epsilon": [0.02]}}, "hessian": {"examples": 60, "max_iterations": 5}, "export": True,
    }  # fmt: skip
    (root / "tiny.yaml").write_text(yaml.safe_dump(plan))
    return swept(root / "tiny.yaml", root / "logs")


@pytest.fixture
def logs(finished: Path, tmp_path: Path) -> Path:
    """A copy of them, with the data where the sweep found it."""
    return Path(shutil.copytree(finished, tmp_path / "logs/tiny"))


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the networks of a sweep are measured for, one after the other; nothing may be trained."""
    names: list[str] = []
    real = Request.measure_on

    def counted(request: Request, subject: Any) -> Any:
        names.append(f"{request.label} {request.epsilon}" if request.epsilon else request.label)
        return real(request, subject)

    def training(*arguments: Any) -> Any:
        raise AssertionError("nothing is to be trained")

    monkeypatch.setattr(Request, "measure_on", counted)
    monkeypatch.setattr(trials, "train_trial", training)
    return names


def records(logs: Path) -> list[Any]:
    return [read(path) for path in sorted(logs.glob("trials/*/*/record.json"))]


MORE = ("--set", "attacks.fgsm.epsilon=[0.02,0.06]", "--set", "curvature.trace={probes: 6, examples: 60}")
ALONE = ("--workers", "1")


def test_only_what_is_missing_is_measured_and_the_rest_keeps_its_bits(
    run_measure: Run, logs: Path, asked: list[str], tmp_path: Path
) -> None:
    before = records(logs)
    networks = {path: path.read_bytes() for path in logs.glob("trials/*/*/model.keras")}
    out = tmp_path / "found.json"
    code, said, err = run_measure(logs, *MORE, *ALONE, "--out", out)
    assert (code, err) == (0, "")
    assert asked == ["fgsm 0.06", "trace"] * 2
    assert "2 trained, 2 to measure" in said
    after = records(logs)
    for old, new in zip(before, after, strict=True):
        count = len(old["measurements"])
        assert json.dumps(new["measurements"][:count]) == json.dumps(old["measurements"])
        assert [m["label"] for m in new["measurements"][count:]] == ["fgsm", "trace"]
        assert new | {"measurements": []} == old | {"measurements": []}
    assert networks == {path: path.read_bytes() for path in networks}
    assert [{k: v for k, v in each.items() if k != "target"} for each in read(out)] == after
    assert (tmp_path / "found.png").exists()

    asked.clear()
    code, said, err = run_measure(logs, *MORE, *ALONE)
    assert (code, err, asked) == (0, "", [])
    assert "2 trained, 0 to measure" in said
    assert records(logs) == after


def test_full_measures_are_taken_from_stored_networks_and_once(
    run_measure: Run, logs: Path, asked: list[str]
) -> None:
    few = [word for label in ("spectrum", "layers") for word in ("--set", f"curvature.{label}=null")]
    full = ("--set", "measures=full", *few, *ALONE)
    code, said, err = run_measure(logs / "trials/lr/b0016-m0.9-s0", *full)
    assert (code, err) == (0, "")
    assert re.search(r"\d+ more columns", said.replace("\n", " "))
    assert {"pgd-reference 0.02", "pgd-large 0.5", "minimal 0.5", "apgd-dlr 0.02"} < set(asked)
    assert {"trace", "extremes", "gauss_newton", "batch_sharpness"} < set(asked)
    found = {m["label"]: m["values"] for m in records(logs)[1]["measurements"]}
    # The network is linear, so its Hessian is its Gauss-Newton part.
    assert found["gauss_newton"]["value"] == pytest.approx(found["extremes"]["value"], rel=5e-3)
    asked.clear()
    assert run_measure(logs / "trials/lr/b0016-m0.9-s0", *full)[0] == 0
    assert asked == []


def test_an_interruption_between_two_measurements_loses_only_the_one_at_hand(
    run_measure: Run, logs: Path, asked: list[str], monkeypatch: pytest.MonkeyPatch, ctrl_c: Any
) -> None:
    counted = Request.measure_on

    def interrupted(request: Request, subject: Any) -> Any:
        found = counted(request, subject)
        if found.label == "trace":
            ctrl_c()
        return found

    monkeypatch.setattr(Request, "measure_on", interrupted)
    code, _, err = run_measure(logs, *MORE, *ALONE)
    assert code == 130
    assert err.count("\n") == 1
    assert "the same command goes on" in err
    kept = records(logs)[0]["measurements"]
    assert kept[-1]["settings"]["epsilon"] == 0.06

    asked.clear()
    monkeypatch.setattr(Request, "measure_on", counted)
    assert run_measure(logs, *MORE, *ALONE)[0] == 0
    assert asked == ["trace", "fgsm 0.06", "trace"]
    assert records(logs)[0]["measurements"][: len(kept)] == kept


def transfers(logs: Path) -> dict[tuple[str, str], Any]:
    """(victim, source) -> values."""
    names = {r["sgd"]["momentum"]: f"lr/b0016-m{r['sgd']['momentum']}-s0" for r in records(logs)}
    return {
        (names[r["sgd"]["momentum"]], m["settings"]["source"]): m["values"]
        for r in records(logs)
        for m in r["measurements"]
        if m["name"] == "transfer"
    }


def test_every_network_against_the_perturbations_of_every_other_once(
    run_measure: Run, logs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tfsgd.networks.surrogate import Source

    loaded: list[str] = []
    init = Source.__init__

    def counted(self: Source, path: Path) -> None:
        loaded.append(path.parent.name)
        init(self, path)

    monkeypatch.setattr(Source, "__init__", counted)
    pgd = ("--set", "attacks.pgd={epsilon: [0.06]}")
    code, said, err = run_measure(logs, *pgd, "--transfer", "--out", tmp_path / "found.json")
    assert (code, err) == (0, "")
    assert sorted(loaded) == ["b0016-m0.0-s0", "b0016-m0.9-s0"]
    assert "2 of them against each other" in said
    assert (tmp_path / "found.json").is_file()
    found = transfers(logs)
    names = ["lr/b0016-m0.0-s0", "lr/b0016-m0.9-s0"]
    assert found.keys() == {(a, b) for a in names for b in names}
    table = [line.replace("│", " ").split()[2:] for line in said.splitlines() if "│" in line]
    assert table == [[f"{found[victim, source]['accuracy']:.3f}" for victim in names] for source in names]
    for (victim, source), values in found.items():
        network = logs / "trials" / source / "model.keras"
        assert values["source_sha256"] == hashlib.sha256(network.read_bytes()).hexdigest()
        assert values["accuracy"] <= values["clean_accuracy"]
        if victim == source:
            assert values["accuracy"] <= values["source_accuracy"]
    assert len({json.dumps(values) for values in found.values()}) == 4

    before = records(logs)
    loaded.clear()
    assert run_measure(logs, *pgd, "--transfer")[0] == 0
    assert (records(logs), loaded) == (before, [])
    one = logs / "trials/lr/b0016-m0.9-s0/record.json"
    raw = read(one)
    one.write_text(json.dumps(raw | {"measurements": raw["measurements"][:-1]}))
    assert run_measure(logs, *pgd, "--transfer")[0] == 0
    assert transfers(logs) == found
    assert loaded == ["b0016-m0.9-s0"]


def test_the_matrix_and_one_source_are_the_same_measurement(
    run_measure: Run, logs: Path, asked: list[str]
) -> None:
    block = "{attack: transfer, source: lr/b0016-m0.0-s0, epsilon: [0.06]}"
    code, _, err = run_measure(logs, "--set", f"attacks.from={block}", *ALONE)
    assert (code, err, asked) == (0, "", ["from 0.06"] * 2)
    single = transfers(logs)
    assert run_measure(logs, "--set", "attacks.pgd={epsilon: [0.06]}", "--transfer")[0] == 0
    assert len(transfers(logs)) == 4
    for pair, values in single.items():
        assert transfers(logs)[pair] == values


def test_transfer_is_refused_where_it_has_no_meaning(run_measure: Run, logs: Path) -> None:
    code, _, err = run_measure(logs / "trials/lr/b0016-m0.0-s0", "--transfer")
    assert (code, err.count("\n")) == (2, 1)
    assert "--transfer: expected LOGS/NAME" in err
    block = "{attack: transfer, source: lr/b0016-m0.5-s0, epsilon: [0.06]}"
    code, _, err = run_measure(logs, "--set", f"attacks.from={block}", *ALONE)
    assert (code, err.count("\n")) == (2, 1)
    assert err.startswith("error: attacks.from.source: lr/b0016-m0.5-s0: no trained trial of ")
    assert err.endswith("train it first, then measure with this attack\n")
    block = "{attack: transfer, source: gone.keras, epsilon: [0.06]}"
    code, _, err = run_measure(logs, "--set", f"attacks.from={block}", *ALONE)
    assert (code, err) == (
        2,
        f"error: attacks.from.source: {logs}/gone.keras: no such file; train it first, then measure with this attack\n",
    )
    network = logs / "trials/lr/b0016-m0.0-s0/model.keras"
    code, _, err = run_measure(network, "--dataset", "fashion_mnist", "--set", f"attacks.from={block}")
    assert (code, err) == (2, "error: attacks.from.source: gone.keras: no such file or folder\n")
    shutil.rmtree(logs / "trials/lr/b0016-m0.0-s0")
    code, _, err = run_measure(logs, "--transfer")
    assert (code, err.count("\n")) == (2, 1)
    assert "--transfer: expected 2 to 64 cells" in err


def test_two_workers_measure_what_one_does(run_measure: Run, logs: Path, tmp_path: Path) -> None:
    other = Path(shutil.copytree(logs, tmp_path / "other/tiny"))
    assert run_measure(logs, *MORE, *ALONE)[0] == 0
    code, _, err = run_measure(other, *MORE, "--workers", "2")
    assert code == 0, err

    def values(folder: Path) -> list[Any]:
        return [[(m["identity"], m["values"]) for m in r["measurements"]] for r in records(folder)]

    assert [[i for i, _ in each] for each in values(other)] == [[i for i, _ in each] for each in values(logs)]
    for ours, theirs in zip(values(logs), values(other), strict=True):
        for (_, one), (_, same) in zip(ours, theirs, strict=True):
            assert one.keys() == same.keys()
            one, same = (
                {k: v for k, v in each.items() if v is not None and not isinstance(v, str | list)}
                for each in (one, same)
            )
            assert one == pytest.approx(same, rel=1e-4)
    more = ("--set", "attacks.fgsm.epsilon=[0.02,0.09]")
    assert run_measure(other, *more, *ALONE)[0] == 0  # afterwards this process works alone


def test_one_trials_folder(run_measure: Run, logs: Path, asked: list[str]) -> None:
    folder = logs / "trials/lr/b0016-m0.9-s0"
    code, said, err = run_measure(folder, *MORE, *ALONE)
    assert (code, err, asked) == (0, "", ["fgsm 0.06", "trace"])
    assert "1 trained, 1 to measure" in said
    assert [len(r["measurements"]) for r in records(logs)] == [14, 16]


def test_a_trials_folder_that_was_copied_elsewhere_is_a_network_like_any_other(
    run_measure: Run, finished: Path, logs: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(logs / "trials/lr/b0016-m0.9-s0", tmp_path / "alone/mine"))
    before = (folder / "record.json").read_bytes()
    out = tmp_path / "found.json"
    data = finished.parent.parent / "letters.npz"
    code, _, err = run_measure(folder, "--dataset", data, "--set", "attacks.pgd=null", "--out", out)
    assert (code, err) == (0, "")
    [one] = read(out)["networks"]
    recorded = {k: v for k, v in accuracies(json.loads(before)).items() if k[0] == "fgsm"}
    assert accuracies(one)["fgsm", 0.02] == recorded["fgsm", 0.02]
    assert (folder / "record.json").read_bytes() == before


def test_a_network_that_is_gone_or_changed_is_named_and_the_others_are_measured(
    run_measure: Run, logs: Path, asked: list[str]
) -> None:
    changed = logs / "trials/lr/b0016-m0.0-s0/model.keras"
    kept = changed.read_bytes()
    changed.write_bytes(kept + b" ")
    code, _, err = run_measure(logs, *MORE, *ALONE)
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("failed: lr/b0016-m0.0-s0: ")
    assert f"{changed}: it is not the network that was trained (SHA-256)" in err
    assert asked == ["fgsm 0.06", "trace"]

    changed.unlink()
    code, _, err = run_measure(logs, *MORE, *ALONE)
    assert (code, err.count("\n")) == (1, 1)
    assert f"{changed}: the trained network is needed and not there" in err

    changed.write_bytes(kept)
    assert run_measure(logs, *MORE, *ALONE)[0] == 0
    assert [len(r["measurements"]) for r in records(logs)] == [16, 16]


KILLED = """
import os, signal, sys
from tfsgd import measure
written, replace = [], os.replace
def replaced(*names):
    written.append(names)
    if len(written) == {nth}:
        os.kill(os.getpid(), signal.SIGKILL)
    replace(*names)
os.replace = replaced
measure.main()
"""


@pytest.mark.long
def test_a_transfer_that_is_killed_goes_on_and_finds_the_same(logs: Path, tmp_path: Path) -> None:
    def transfer(of: Path, nth: int = 0) -> int:
        """The command's exit code; it is killed at its nth writing of a file."""
        code = KILLED.format(nth=nth)
        return subprocess.run(
            [sys.executable, "-c", code, str(of), "--transfer", *ALONE], capture_output=True
        ).returncode

    apart = Path(shutil.copytree(logs, tmp_path / "apart/tiny"))
    assert transfer(apart) == 0
    pairs = [len(r["measurements"]) for r in records(apart)]
    before = [len(r["measurements"]) for r in records(logs)]
    for nth in (4, 6):  # outcomes and record take turns: while a record takes the place of the one before it
        assert transfer(logs, nth) == -signal.SIGKILL
        between = [len(r["measurements"]) for r in records(logs)]
        assert sum(before) < sum(between) < sum(pairs)
        before = between
    assert transfer(logs) == 0
    assert numbers(logs) == numbers(apart)


def test_a_sweep_has_its_own_data_set(run_measure: Run, logs: Path) -> None:
    code, _, err = run_measure(logs, "--dataset", "letters.npz")
    assert (code, err.count("\n")) == (2, 1)
    assert "the networks of a sweep are measured on its own data set" in err


def test_a_folder_whose_networks_are_not_trained_yet_is_refused(run_measure: Run, logs: Path) -> None:
    shutil.rmtree(logs / "trials")
    code, _, err = run_measure(logs)
    assert (code, err.count("\n")) == (2, 1)
    assert f"{logs}: no trained network" in err
