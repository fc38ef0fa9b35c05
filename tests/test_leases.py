"""Whose trial it is: dealt out once, and left alone by a worker that was taken for dead."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from tests.synthetic import experiment, record
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import Superseded
from tfsgd.records.record import Record
from tfsgd.sweeping import tuner
from tfsgd.sweeping.tuner import GridOracle
from tfsgd.trials import attempt as attempts
from tfsgd.trials import trial as trials
from tfsgd.trials.trial import SweepContext, run_trial


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.at: list[tuple[str, str]] = []
        self.outcomes: dict[str, str] = {}

    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        self.at.append((trial.name, doing))

    def ended(self, trial: Trial, outcome: str) -> None:
        self.outcomes[trial.name] = outcome


@pytest.fixture
def of() -> Experiment:
    regimes = {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}
    return experiment(batch_sizes=[64], seeds=[0, 1, 2, 3, 4], regimes=regimes)


@pytest.fixture
def logs(tmp_path: Path, of: Experiment) -> LogFolder:
    made = LogFolder(tmp_path / "logs")
    made.write_experiment(of)
    return made


def context(
    of: Experiment, logs: LogFolder, holder: str, splits: Any = None
) -> tuple[SweepContext, Listener]:
    listener = Listener()
    return SweepContext(of, splits, logs, listener, logs.lease(holder)), listener


def test_a_trial_that_another_worker_has_taken_is_left_alone(of: Experiment, logs: LogFolder) -> None:
    first, second = logs.lease("first"), logs.lease("second")
    one, other = grid(of)[:2]
    with pytest.raises(Superseded):
        first.hold(one)  # never taken
    first.take(one)
    first.take(other)
    first.hold(one)
    second.take(one)
    with pytest.raises(Superseded):
        first.hold(one)
    second.hold(one)
    first.hold(other)


def test_a_superseded_worker_says_nothing_more_and_notes_no_failure(
    of: Experiment, logs: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ours, listener = context(of, logs, "first")

    def run(trial: Trial, context: SweepContext) -> Record:
        context.progress(trial, 1, "before")
        logs.lease("second").take(trial)
        context.progress(trial, 2, "after")
        raise AssertionError

    monkeypatch.setattr(attempts, "run_trial", run)
    with pytest.raises(Superseded):
        attempts.attempt(grid(of)[0], ours)
    assert listener.at == [(grid(of)[0].name, "before")]
    assert listener.outcomes == {}
    assert not list(logs.path.glob("trials/*/*/failure.json"))


def test_what_a_superseded_worker_has_measured_changes_no_record(of: Experiment, logs: LogFolder) -> None:
    ours, _ = context(of, logs, "first")
    trial = grid(of)[0]
    assert ours.lease is not None
    ours.lease.take(trial)
    ours.keep(trial, record(trial, of))
    logs.lease("second").take(trial)
    stale = record(trial, of).model_copy(update={"measurements": ()})
    with pytest.raises(Superseded):
        ours.keep(trial, stale)
    [kept] = logs.records()
    assert kept == record(trial, of)


def test_in_one_process_nobody_is_superseded_and_all_is_told(
    of: Experiment, logs: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attempts, "run_trial", lambda trial, context: record(trial, of))
    listener = Listener()
    assert tuner.search(grid(of), SweepContext(of, None, logs, listener)) == {}  # type: ignore[arg-type]
    assert list(listener.outcomes) == [trial.name for trial in grid(of)]


# The oracle alone


def test_the_oracle_deals_out_every_trial_once_and_failures_do_not_end_it(of: Experiment) -> None:
    oracle = GridOracle(grid(of))
    oracle.verbose = 0
    for i, expected in enumerate(grid(of)):
        assert oracle.waiting == len(grid(of)) - i
        trial = oracle.create_trial(f"hand {i % 2}")
        assert trial.status == "RUNNING"
        assert oracle.trial_at(trial.hyperparameters) == expected
        trial.status = "FAILED"
        oracle.end_trial(trial)
    assert oracle.create_trial("hand 0").status == "STOPPED"
    assert oracle.waiting == 0


def test_the_axes_are_the_grids(of: Experiment) -> None:
    space = GridOracle(grid(of)).get_space().space
    assert [(axis.name, tuple(axis.values)) for axis in space] == [
        ("regime", ("LR",)),
        ("batch_size", (64,)),
        ("momentum", (0.0,)),
        ("learning_rate", (0.01,)),
        ("seed", (0, 1, 2, 3, 4)),
    ]


def test_the_commit_is_that_of_before_the_training(
    of: Experiment, logs: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A checkout may change while a network is trained for hours; the code that trains it does not."""
    asked: list[str] = []

    def train(*arguments: Any) -> None:
        asked.append("training")
        raise InterruptedError

    monkeypatch.setattr(trials, "provenance", lambda: asked.append("provenance"))
    monkeypatch.setattr(trials, "structure_of", lambda experiment: "0" * 64)
    monkeypatch.setattr(trials, "train", train)
    images = SimpleNamespace(sha256="0" * 64)
    with pytest.raises(InterruptedError):
        run_trial(grid(of)[0], context(of, logs, "worker", images)[0])
    assert asked == ["provenance", "training"]
