"""keras-tuner over the grid: an oracle that deals out its trials, each once, and tuners that have them run.

keras-tuner's own state is not written: its `GridSearch` loses trials when it is resumed after a crash, and
it drops failed ones without a word. Which trials there are to run is decided by the records, and what became
of each is told by whoever ran it.
"""

import contextlib
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import keras_tuner

from tfsgd import interrupts
from tfsgd.plan.settings import plain, settings_in_use
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.records.preflight import is_gone, refuse_gone
from tfsgd.trials.attempt import attempt
from tfsgd.trials.outcome import TrialOutcome
from tfsgd.trials.trial import SweepContext

if TYPE_CHECKING:
    from tfsgd.sweeping.worker_pool import WorkerPool

OBJECTIVE = keras_tuner.Objective("validation_accuracy", "max")

LOOK_SECONDS = 0.05  # between two looks at the threads

Runner = Callable[[Trial], TrialOutcome]  # trains and measures a trial, wherever that is


class GridOracle(keras_tuner.Oracle):
    """Deals out the trials of a grid, in order.

    It writes nothing. keras-tuner's lock around the three methods below has no `finally`: one write to a full
    disk would leave it held, and every other thread waiting.

    Args:
        trials: those to run.
    """

    def __init__(self, trials: list[Trial]) -> None:
        self._waiting = _places(trials)
        self._of = dict(zip(map(_key, self._waiting), trials, strict=True))
        space = keras_tuner.HyperParameters()
        for axis in dict.fromkeys(axis for place in self._waiting for axis in place):
            space.Choice(axis, list(dict.fromkeys(place[axis] for place in self._waiting)))
        # A failed trial must not end the search, however many follow it.
        super().__init__(OBJECTIVE, hyperparameters=space, max_consecutive_failed_trials=len(trials) + 1)

    @property
    def waiting(self) -> int:
        """How many trials are not dealt out yet."""
        return len(self._waiting)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """keras-tuner's hook: the next trial's place on the axes."""
        with contextlib.suppress(IndexError):  # of none that waits; it may be stopped at any moment
            return {"status": "RUNNING", "values": self._waiting.pop(0)}
        return {"status": "STOPPED"}

    def stop(self) -> None:
        """Deals out no more."""
        self._waiting.clear()

    def trial_at(self, hyperparameters: keras_tuner.HyperParameters) -> Trial:
        """The trial at a place on the axes."""
        return self._of[_key(hyperparameters.values)]

    def save(self) -> None:
        """keras-tuner's hook: nothing to keep."""

    def _save_trial(self, trial: Any) -> None:
        """keras-tuner's hook: nothing to keep."""


class GridTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Takes trials from the oracle, one after the other, and has them run.

    Args:
        oracle: shared by all tuners of a search.
        run: of one trial; it returns when the trial has ended.
        folder: keras-tuner wants one; nothing is written there.
        name: unlike every other tuner's of the search.
    """

    def __init__(self, oracle: GridOracle, run: Runner, folder: str, name: str = "tuner") -> None:
        self._run = run
        self._has_failed = False
        super().__init__(oracle, directory=folder, project_name=".")
        self.tuner_id = name

    def run_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> dict[str, float]:
        """keras-tuner's hook: runs one point and returns its final validation accuracy."""
        outcome = self._run(self.oracle.trial_at(trial.hyperparameters))
        self._has_failed = outcome.error is not None
        # The objective must be a number: a diverged network is a result, and the worst one.
        return {OBJECTIVE.name: outcome.accuracy}

    def on_trial_end(self, trial: Any) -> None:
        """keras-tuner's hook: tells it what it did not see, that a trial has failed."""
        if self._has_failed:
            trial.status = keras_tuner.engine.trial.TrialStatus.FAILED
        super().on_trial_end(trial)

    def save(self) -> None:
        """keras-tuner's hook: nothing to keep."""


def search(trials: list[Trial], context: SweepContext) -> dict[str, str]:
    """Trains and measures the given trials in this process, one after the other.

    Returns:
        The trials that failed, with an error of one line each.

    Raises:
        RequestError: the logs folder was removed meanwhile.
        KeyboardInterrupt: the user asked for no more trials; the one at hand was finished.
    """
    failures: dict[str, str] = {}

    def run(trial: Trial) -> TrialOutcome:
        with interrupts.finishing(lambda: 1):
            outcome = attempt(trial, context)
        if interrupts.is_stopping() or is_gone(
            context.logs.path
        ):  # keras-tuner would swallow what is raised here
            oracle.stop()
        if outcome.error is not None:
            failures[trial.name] = outcome.error
        context.callbacks.ended(trial, outcome.said)
        return outcome

    oracle = GridOracle(trials)
    GridTuner(oracle, run, str(context.logs.tuner_path)).search(verbose=0)
    refuse_gone(context.logs.path)
    interrupts.stop()
    return failures


def search_on_workers(trials: list[Trial], pool: "WorkerPool", logs: LogFolder) -> dict[str, str]:
    """Has the given trials trained and measured by workers, one in each of as many threads.

    Returns:
        The trials that failed, with an error of one line each.

    Raises:
        RequestError: no worker can start.
        KeyboardInterrupt: the user asked for no more trials; those at hand were finished.
    """
    oracle, threads = GridOracle(trials), list[threading.Thread]()
    with interrupts.finishing(lambda: pool.at_hand):
        while oracle.waiting or any(thread.is_alive() for thread in threads):
            at_work = sum(thread.is_alive() for thread in threads)
            for _ in range(min(pool.size - at_work, oracle.waiting)):
                tuner = GridTuner(oracle, pool.run, str(logs.tuner_path), f"thread {len(threads)}")
                threads.append(
                    threading.Thread(target=_search, args=(tuner,), name=tuner.tuner_id, daemon=True)
                )
                threads[-1].start()
            time.sleep(LOOK_SECONDS)  # and not in a join, which would not hear Ctrl-C
            interrupts.check()
            pool.check()
            if interrupts.is_stopping():
                oracle.stop()
                pool.begin_no_more()
    interrupts.stop()
    return pool.failures


def _search(tuner: GridTuner) -> None:
    with contextlib.suppress(SystemExit):  # the pool is over, or begins no more
        tuner.search(verbose=0)


def _places(trials: list[Trial]) -> list[dict[str, Any]]:
    """Each trial's place on the axes. keras-tuner knows no `None`: 0 stands for it."""
    axes = [s.name for s in settings_in_use([trial.settings for trial in trials])]
    places = []
    for trial in trials:
        values = {axis: plain(getattr(trial.settings, axis)) for axis in axes}
        known = {axis: 0 if value is None else value for axis, value in values.items()}
        places.append({"regime": trial.regime, **known, "seed": trial.seed})
    return places


def _key(place: dict[str, Any]) -> frozenset[tuple[str, Any]]:
    return frozenset(place.items())
