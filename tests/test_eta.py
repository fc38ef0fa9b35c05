"""The time left that a sweep tells, against one whose every second is known."""

import io
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import pytest
from rich.console import Console

from tests.synthetic import experiment
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.terminal import progress
from tfsgd.terminal.eta import Eta
from tfsgd.terminal.progress import Display


@dataclass
class Clock:
    seconds: float = 100.0

    def __call__(self) -> float:
        return self.seconds


@dataclass
class Sweep:
    """One worker, for whom an epoch takes `pace[batch size]` seconds and measuring as long as is said."""

    of: Experiment
    recorded: tuple[str, ...] = ()
    pace: dict[int, float] = field(default_factory=lambda: {16: 10.0, 1024: 4.0})
    clock: Clock = field(default_factory=Clock)

    def __post_init__(self) -> None:
        self.trials = {trial.settings.batch_size: trial for trial in grid(self.of)}
        self.left = Eta(self.trials.values(), self.epochs, self.recorded, self.clock)

    def epochs(self, trial: Trial) -> int:
        return self.of.epochs_at(trial.settings.batch_size)

    def train(self, size: int, start: int = 0, stop: int | None = None) -> None:
        for done in range(start + 1, (stop or self.epochs(self.trials[size])) + 1):
            self.clock.seconds += self.pace[size]
            self.left.reached(self.trials[size], done)

    def measure(self, size: int, seconds: float) -> None:
        for _ in range(4):
            self.clock.seconds += seconds / 4
            self.left.reached(self.trials[size], self.epochs(self.trials[size]))
        self.left.ended(self.trials[size])


def updates(**changes: object) -> Experiment:
    """Two trials of equally many updates: 2 epochs of batch size 16, 100 of 1024."""
    of = experiment(
        batch_sizes=[16, 1024], seeds=[0], epochs=None, budget={"updates": 500},
        train_examples=5_000, regimes={"LR": {"learning_rate": 0.01, "momentum": [0.0]}}, **changes,
    )  # fmt: skip
    assert [of.epochs_at(size) for size in (16, 1024)] == [2, 100]
    return of


def test_few_epochs_and_long_measuring_say_nothing_of_many_epochs() -> None:
    """Time over epochs would say (20 + 60) / 2 * 100 seconds."""
    sweep = Sweep(updates())
    assert sweep.left.seconds() == 0
    sweep.train(16)
    assert sweep.left.seconds() == pytest.approx(100 * 10)  # what is not measured yet is not known
    assert not sweep.left.is_known
    sweep.measure(16, 60)
    assert sweep.left.is_known
    assert sweep.left.seconds() == pytest.approx(100 * 10 + 60)
    sweep.train(1024, stop=1)
    assert sweep.left.seconds() == pytest.approx(99 * 4 + 60)
    sweep.train(1024, start=1)
    assert sweep.left.seconds() == pytest.approx(60)
    sweep.measure(1024, 60)
    assert sweep.left.seconds() == 0


def test_what_is_trained_already_costs_what_measuring_costs() -> None:
    of = updates()
    sweep = Sweep(of, recorded=tuple(trial.name for trial in grid(of)))
    sweep.measure(16, 8)
    assert sweep.left.seconds() == pytest.approx(8)
    sweep.clock.seconds += 2
    sweep.left.ended(sweep.trials[1024])  # shown anew, and not heard of before
    assert sweep.left.seconds() == 0


def test_shown_anew_is_not_as_long_as_trained() -> None:
    of = updates()
    name = next(trial.name for trial in grid(of) if trial.settings.batch_size == 1024)
    sweep = Sweep(of, recorded=(name,))
    sweep.train(16)
    sweep.measure(16, 60)
    assert sweep.left.seconds() == 0
    assert not sweep.left.is_known
    sweep.left.ended(sweep.trials[1024])
    assert sweep.left.is_known


def test_a_resumed_training_costs_its_rest() -> None:
    sweep = Sweep(updates())
    sweep.train(1024, start=90, stop=91)
    assert sweep.left.of(sweep.trials[1024].name) == pytest.approx(9 * 4)


def test_it_is_shared_out_among_those_at_work_and_no_shorter_than_the_longest() -> None:
    sweep = Sweep(experiment(batch_sizes=[16, 64, 256, 1024], seeds=[0], epochs=10))
    one, other, *_ = sweep.trials.values()
    sweep.clock.seconds += 5
    sweep.left.reached(one, 1)
    sweep.left.reached(other, 1)
    assert len(sweep.trials) == 4
    assert sweep.left.seconds() == pytest.approx((2 * 9 + 2 * 10) * 5 / 2)
    alone = Sweep(updates())
    alone.train(16, stop=1)
    alone.left.reached(alone.trials[1024], 1)
    assert alone.left.seconds() >= alone.left.of(alone.trials[1024].name)


def test_a_trial_that_starts_again_is_counted_from_there() -> None:
    """Its worker has died, and another one goes on from an earlier checkpoint."""
    sweep = Sweep(updates())
    sweep.train(1024, stop=50)
    sweep.train(1024, start=39, stop=40)
    assert sweep.left.of(sweep.trials[1024].name) == pytest.approx(60 * 4, rel=0.1)


def test_a_log_says_at_least_until_a_trial_has_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock, written = Clock(), io.StringIO()
    monkeypatch.setattr(progress, "Eta", partial(Eta, now=clock))
    monkeypatch.setattr(progress, "QUIET_SECONDS", -1)
    of = updates()
    small, large = sorted(grid(of), key=lambda trial: trial.settings.batch_size)
    with Display([small, large], of, LogFolder(tmp_path), Console(file=written, width=200)) as display:
        for trial, done, doing, seconds in (
            (small, 1, "loss 2.0", 10),
            (small, 2, "loss 1.0", 10),
            (small, 2, "record", 60),
        ):
            clock.seconds += seconds
            display.progress(trial, done, doing)
        display.ended(small, "completed")
        clock.seconds += 4
        display.progress(large, 1, "loss 2.0")
    lines = written.getvalue().splitlines()
    assert lines[0] == f"[0 of 2] {small.name} epoch 1 of 2, loss 2.0, at least 17 min left"
    assert lines[3:] == [
        f"[1 of 2] {small.name} completed",
        "[1 of 2] expect about 18 min and 0 MB for the 2 trials",
        f"[1 of 2] {large.name} epoch 1 of 100, loss 2.0, about 8 min left",
    ]
