"""The command `barriers` and its figure: against `tfsgd.barrier`, once for each pair, and what it refuses."""

import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import tfsgd
from tests.foreign import letters
from tests.sweeps import swept
from tests.synthetic import experiment
from tfsgd.measures.landscape_slice import Slice
from tfsgd.networks import slices
from tfsgd.plan.trials import grid
from tfsgd.records.folder import LogFolder
from tfsgd.reporting.figures.registry import draw
from tfsgd.reporting.table.studies import read_studies
from tfsgd.trials import barrier_pairs

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of two regimes with two seeds on the letters, by a network of one hidden layer."""
    root = tmp_path_factory.mktemp("made")
    np.savez(root / "letters.npz", **letters())
    (root / "hidden_nets.py").write_text(
        "import keras\n\n"
        "def hidden(image_shape, classes):\n"
        "    layers = keras.layers\n"
        "    return keras.Sequential([keras.Input(image_shape), layers.Flatten(), layers.Dense(32, 'relu'), layers.Dense(classes)])\n"
    )
    plan = {
        "name": "tiny", "dataset": "letters.npz", "model": "hidden_nets:hidden", "epochs": 6, "batch_sizes": [16], "seeds": [0, 1],
        "regimes": {"LR": {"learning_rate": 0.05, "momentum": [0.0]}, "Fast": {"learning_rate": 0.1, "momentum": [0.0]}},
        "attacks": {}, "hessian": {"examples": 60, "max_iterations": 5}, "export": True,
    }  # fmt: skip
    (root / "tiny.yaml").write_text(yaml.safe_dump(plan, sort_keys=False))
    return swept(root / "tiny.yaml", root / "logs")


@pytest.fixture
def logs(made: Path, tmp_path: Path) -> Path:
    shutil.copytree(made.parent.parent, tmp_path / "copy")
    return tmp_path / "copy/logs/tiny"


@pytest.fixture
def run_barriers(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    from tfsgd import barriers

    monkeypatch.setattr(barriers, "send_native_logs_to", lambda path: None)

    def call(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["barriers", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            barriers.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


FEW = ("--examples", "100", "--points", "5")


def test_each_pair_is_that_of_the_function_and_is_computed_once(
    logs: Path, run_barriers: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, out, err = run_barriers(logs, *FEW)
    assert (code, err) == (0, "")
    assert "4 trained, 4 stored that have learnt, 4 pairs" in out
    assert "[4 of 4]" in out
    found = json.loads((logs / "barriers.json").read_text())
    assert sorted((one["between"], *one["trials"]) for one in found) == [
        ("regimes", "lr/b0016-m0.0-s0", "fast/b0016-m0.0-s0"),
        ("regimes", "lr/b0016-m0.0-s1", "fast/b0016-m0.0-s1"),
        ("seeds", "fast/b0016-m0.0-s0", "fast/b0016-m0.0-s1"),
        ("seeds", "lr/b0016-m0.0-s0", "lr/b0016-m0.0-s1"),
    ]
    train = LogFolder(logs).read_experiment().splits().train.first(100)
    images = train.images.astype(np.float32) / 255
    for one in found:
        networks = [tfsgd.load_network(logs / "trials" / name / "model.keras") for name in one["trials"]]
        line = tfsgd.barrier(*networks, images, train.labels, points=5)
        assert one["barrier"] == pytest.approx(line.barrier, rel=1e-5, abs=1e-7)
        np.testing.assert_allclose(one["losses"], line.losses, rtol=1e-5)
        np.testing.assert_allclose(one["accuracies"], line.accuracies)
    assert max(one["barrier"] for one in found) > 0.01

    computed = []

    def counted(*arguments: Any) -> Slice:
        computed.append(arguments)
        return slices.between(*arguments)

    monkeypatch.setattr(barrier_pairs, "between", counted)
    assert run_barriers(logs, *FEW)[0] == 0
    assert not computed
    (logs / "barriers.json").write_text(json.dumps(found[1:]))  # as an interruption leaves it
    assert run_barriers(logs, *FEW)[0] == 0
    assert len(computed) == 1
    assert json.loads((logs / "barriers.json").read_text()) == found
    assert run_barriers(logs, "--examples", "50", "--points", "5")[0] == 0  # other images are other barriers
    assert len(computed) == 5


def test_the_figure_has_a_row_for_each_regime_and_pair(logs: Path, run_barriers: Run) -> None:
    [study] = read_studies([logs])
    assert "they were not computed" in draw(study, names=["barriers"])[1][0]
    assert run_barriers(logs, *FEW)[0] == 0
    [drawing], undrawn = draw(study, names=["barriers"])
    assert undrawn == []
    known = json.loads((logs / "barriers.json").read_text())
    means = {(row["between"], row["pairs"]): float(row["barrier"]) for row in drawing.values}
    between = np.mean([one["barrier"] for one in known if one["between"] == "regimes"])
    assert means.pop(("LR – Fast, γ = 0", "2")) == pytest.approx(between, abs=1e-3)
    assert {key for key, _ in means} == {"LR, γ = 0: seeds", "Fast, γ = 0: seeds"}
    assert "barriers" not in {one.name for one in draw(study)[0]}
    (logs / "barriers.json").write_text("[{}]")
    assert "no valid list of barriers; remove it" in draw(study, names=["barriers"])[1][0]


def test_a_trial_of_two_regimes_stands_in_both_rows() -> None:
    """At batch size 64 LR and LR/BS are one trial."""
    of = experiment(batch_sizes=[64], seeds=[0, 1])
    done: Any = [(trial, None) for trial in grid(of)]
    pairs = barrier_pairs.pairs_of(done)
    seeds = [pair for pair in pairs if pair.between == "seeds"]
    assert len(seeds) == 5  # four momenta, and Benchmark
    regimes = [(pair.one[0], pair.other[0]) for pair in pairs if pair.between == "regimes"]
    assert [(a.regimes, b.regimes, a.seed == b.seed) for a, b in regimes] == [
        (("LR", "LR/BS"), ("Benchmark",), True)
    ] * 2
    assert {a.settings.momentum for a, _ in regimes} == {0.9}


def test_what_cannot_be_compared_is_refused_in_a_line(logs: Path, run_barriers: Run, tmp_path: Path) -> None:
    def refused(*arguments: Any) -> str:
        code, _, err = run_barriers(*arguments)
        assert (code, err.count("\n")) == (2, 1)
        return err

    assert "expected LOGS/NAME with an experiment.yaml" in refused(tmp_path)
    assert "--examples: expected at most the" in refused(logs, "--examples", "100000")
    (logs / "barriers.json").write_text("{")
    assert "no valid list of barriers; remove it" in refused(logs, *FEW)
    (logs / "barriers.json").unlink()
    network = logs / "trials/lr/b0016-m0.0-s0/model.keras"
    network.write_bytes(network.read_bytes()[:-1])
    assert "it is not the network that was trained" in refused(logs, *FEW)
    for each in (logs / "trials").rglob("model.keras"):
        if each != network:
            each.unlink()
    assert "found none among 1 stored network" in refused(logs, *FEW)
