"""What is measured in the course of a training: when it is asked for, right, and without a change to the training."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.conftest import Config, Run
from tests.test_checkpoint import Killed, everything, killer
from tests.test_train import experiment, small
from tfsgd.data.dataset import Splits
from tfsgd.errors import RequestError
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.plan.along import Along
from tfsgd.plan.length import Length
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.requests import along_requests
from tfsgd.plan.stages import stages_of
from tfsgd.records.folder import LogFolder
from tfsgd.reporting.page.page import write_report
from tfsgd.training.train import Trained, train

SETTINGS = SGDSettings(64, 0.9, 0.05)  # 300 images: 5 updates an epoch
MEASURES = ["hessian", "minimal", "weights"]


def asked(**rhythm: Any) -> Any:
    attacks = {"minimal": {"epsilon": [0.5], "steps": 5, "examples": 20}}
    return experiment(epochs=2, attacks=attacks, along={"measures": MEASURES, "examples": 20, **rhythm})


def trained(splits: Splits, folder: Path, *kill: Any, **rhythm: Any) -> Trained:
    return train(SETTINGS, 3, asked(**rhythm), small(splits), folder, "a" * 64, *kill)


@pytest.mark.parametrize(
    ("rhythm", "updates"),
    [
        ({"every_epochs": 1}, [5, 10]),
        ({"every_updates": 4}, [4, 8]),
        ({"at_updates": [1, 2, 4, 10, 99]}, [1, 2, 4, 10]),
    ],
    ids=str,
)
def test_when_it_is_measured(rhythm: Any, updates: list[int], splits: Splits, tmp_path: Path) -> None:
    """And the training is the one that it is without."""
    found = trained(splits, tmp_path / "with", **rhythm)
    assert found.along["update"] == tuple(updates)
    assert {*found.along} == {"update", "hessian", "minimal 0.5", "weights"}
    plain = train(SETTINGS, 3, experiment(epochs=2), small(splits), tmp_path / "without", "a" * 64)
    for ours, theirs in zip(found.network.get_weights(), plain.network.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)
    assert found.history["loss"] == plain.history["loss"]


def test_the_last_moment_is_the_trained_network(splits: Splits, tmp_path: Path) -> None:
    found = trained(splits, tmp_path, every_epochs=2)
    images = small(splits)
    for request in along_requests(asked(every_epochs=2), 3):
        value = request.measure_on(MeasuredNetwork(found.network, images, 64)).headline
        [on_the_way] = found.along[request.title]
        assert on_the_way == pytest.approx(value, rel=1e-6)


def test_it_goes_on_after_an_interruption(splits: Splits, tmp_path: Path) -> None:
    whole = trained(splits, tmp_path / "whole", every_updates=2)
    with pytest.raises(Killed):
        trained(splits, tmp_path / "cut", killer(1), every_updates=2)
    resumed = trained(splits, tmp_path / "cut", every_updates=2)
    assert everything(resumed) == everything(whole)
    assert resumed.along == whole.along
    assert len(whole.along["update"]) == 5
    with pytest.raises(Killed):
        trained(splits, tmp_path / "other", killer(1), every_updates=2)
    assert trained(splits, tmp_path / "other", every_updates=1).along["update"] == tuple(range(1, 11))


def test_only_epochs_with_moments_inside_are_slow() -> None:
    along = Along(measures=("hessian",), at_updates=(1, 4, 9))
    stages = stages_of(SGDSettings(64, 0.9, 0.05), Length("epochs", 5), 256, along)
    assert [(s.until, s.is_watched) for s in stages] == [(1, True), (2, False), (3, True), (5, False)]
    whole = Along(measures=("hessian",), every_epochs=1)
    assert len(stages_of(SGDSettings(64, 0.9, 0.05), Length("epochs", 5), 256, whole)) == 1


def test_it_is_recorded_shown_and_asked_for_in_vain_later(
    config: Config, run_sweep: Run, tmp_path: Path
) -> None:
    attacks = {"minimal": {"epsilon": [0.5], "steps": 5, "examples": 20}}
    along = {"measures": ["hessian", "minimal"], "at_updates": [1, 2], "examples": 20}
    regimes = {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}
    path = config(attacks=attacks, along=along, regimes=regimes, train_examples=256)
    code, _, err = run_sweep(path)
    assert (code, err) == (0, "")
    [record] = LogFolder(tmp_path / "logs/tiny").records()
    assert record.along["update"] == (1, 2)
    assert all(value is not None for value in record.along["minimal 0.5"])
    assert record.seconds["along"] > 0
    page = write_report([tmp_path / "logs/tiny"], figures=["along"])
    assert (page.parent / "figures/along.png").exists()
    code, _, err = run_sweep(path, "--set", "along.measures=[hessian, weights]")
    assert code == 0
    assert "along: not all of it was measured on the way in 1 trained trial" in err


WRONG: list[tuple[dict[str, Any], str]] = [
    ({"measures": ["hessain"], "every_epochs": 1}, "along.measures: expected one of hessian, input_gradient"),
    (
        {"measures": ["hessian"]},
        "along: expected one of every_epochs, every_updates and at_updates, received 0",
    ),
    ({"measures": ["hessian"], "every_epochs": 1, "at_updates": [1]}, "and at_updates, received 2"),
    ({"measures": [], "every_epochs": 1}, "along.measures: expected at least one entry"),
    ({"measures": ["hessian"], "at_updates": [0]}, "expected greater than or equal to 1, received 0"),
]


@pytest.mark.parametrize(("block", "message"), WRONG, ids=[m[:30] for _, m in WRONG])
def test_wrong_blocks_are_refused(block: dict[str, Any], message: str, config: Config) -> None:
    with pytest.raises(RequestError) as refused:
        load_experiment(config(along=block))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)
