"""Whose trial it is: a worker that was taken for dead leaves it alone, and one that is old makes room."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic import experiment, record
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import Superseded
from tfsgd.records.record import Record
from tfsgd.sweeping import tuner, workers
from tfsgd.sweeping.trial import Job
from tfsgd.sweeping.tuner import Retired, SweepTuner
from tfsgd.sweeping.worker import RETIRED, SUPERSEDED


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


def job(of: Experiment, logs: LogFolder, holder: str, splits: Any = None) -> tuple[Job, Listener]:
    listener = Listener()
    return Job(of, splits, logs, listener, logs.lease(holder)), listener


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
    ours, listener = job(of, logs, "first")

    def run(trial: Trial, job: Job) -> Record:
        job.progress(trial, 1, "before")
        logs.lease("second").take(trial)
        job.progress(trial, 2, "after")
        raise AssertionError

    monkeypatch.setattr(tuner, "run_trial", run)
    with pytest.raises(Superseded):
        SweepTuner(grid(of), logs, ours).search(verbose=0)
    assert listener.at == [(grid(of)[0].name, "before")]
    assert listener.outcomes == {}
    assert not list(logs.path.glob("trials/*/*/failure.json"))


def test_a_worker_retires_after_its_trials_and_the_next_one_goes_on(
    of: Experiment, logs: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run(trial: Trial, job: Job) -> Record:
        ran.append(trial.name)
        if trial.seed == 1:
            raise RuntimeError("a failure counts, too")
        made = record(trial, of)
        logs.write_record(made)
        return made

    monkeypatch.setattr(tuner, "run_trial", run)
    monkeypatch.setattr(tuner, "RETIRE_AFTER", 2)
    names = [trial.name for trial in grid(of)]
    for expected in (names[:2], names[2:4]):
        ran.clear()
        left = [trial for trial in grid(of) if not logs.has_ended(trial)]
        logs.empty_scratch()
        ours, listener = job(of, logs, f"worker {expected[0]}")
        worker = SweepTuner(left, logs, ours)
        with pytest.raises(Retired):
            worker.search(verbose=0)
        assert ran == expected == list(listener.outcomes)
        assert [trial.name for _, trial in worker.oracle.ended] == expected  # the chief has heard
    assert worker.oracle.populate_space("next")["status"] == "RUNNING"
    logs.empty_scratch()
    ours, _ = job(of, logs, "last")
    SweepTuner([grid(of)[4]], logs, ours).search(verbose=0)
    assert ran[-1] == names[4]


def test_in_one_process_nobody_retires(
    of: Experiment, logs: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tuner, "run_trial", lambda trial, job: record(trial, of))
    monkeypatch.setattr(tuner, "RETIRE_AFTER", 2)
    listener = Listener()
    assert tuner.search(grid(of), Job(of, None, logs, listener)) == {}  # type: ignore[arg-type]
    assert list(listener.outcomes) == [trial.name for trial in grid(of)]


@pytest.mark.parametrize(("code", "deaths"), [(RETIRED, 0), (SUPERSEDED, 0), (1, 1), (-9, 1)])
def test_leaving_in_order_is_no_death(code: int, deaths: int, of: Experiment, logs: LogFolder) -> None:
    crew = workers.Crew(
        grid(of), logs, Listener(), size=1, data_dirs=(), joins=True,
        address=workers.Address("127.0.0.1", 1),
    )  # fmt: skip
    process = subprocess.Popen(["true"], text=True)
    process.wait()
    crew._account_for(workers._Worker(0, "w", process, trial=grid(of)[0].name), code)
    assert sum(crew._deaths.values()) == deaths
    assert crew.failures == {}
