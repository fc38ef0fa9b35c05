"""keras-tuner over the grid: an oracle whose truth is the records, and a tuner whose trial is ours.

keras-tuner's own state is scratch. Its `GridSearch` loses cells when it is resumed after a crash,
and it drops failed trials without a word; so which trial comes next is decided by the records, and
failures have a ledger of their own.
"""

import shutil
import traceback
from typing import Any

import keras_tuner

from tfsgd.config import Experiment
from tfsgd.data import Splits
from tfsgd.records import LogFolder, Trial
from tfsgd.trial import Observer, outcome, run_trial

OBJECTIVE = keras_tuner.Objective("validation_accuracy", "max")
AXES = ("regime", "batch_size", "momentum", "seed")


class GridOracle(keras_tuner.Oracle):
    """Hands out the first trial of the grid that is not taken.

    Args:
        trials: those to train, in order.
    """

    def __init__(self, trials: list[Trial]) -> None:
        self._waiting = list(trials)
        space = keras_tuner.HyperParameters()
        values = [_values(trial) for trial in trials]
        for axis in AXES:
            space.Choice(axis, list(dict.fromkeys(value[axis] for value in values)))
        # A failed trial is in our ledger; it must not end the search, however many follow it.
        super().__init__(OBJECTIVE, hyperparameters=space, max_consecutive_failed_trials=len(trials) + 1)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next trial's place on the axes; STOPPED when all are taken."""
        if not self._waiting:
            return {"status": "STOPPED"}
        return {"status": "RUNNING", "values": _values(self._waiting.pop(0))}


class SweepTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Runs trials by `run_trial` and keeps a ledger of those that failed.

    Args:
        trials: those to train.
        experiment: how.
        splits: the images, already cut to the number that the experiment asks for.
        logs: where everything is written.
        observe: told how the trials go on.

    Attributes:
        failures: an error in one line for each trial that raised, by the trial's name.
    """

    def __init__(
        self, trials: list[Trial], experiment: Experiment, splits: Splits, logs: LogFolder, observe: Observer
    ) -> None:
        self._trials = {tuple(_values(trial).values()): trial for trial in trials}
        self._experiment = experiment
        self._splits = splits
        self._logs = logs
        self._observe = observe
        self.failures: dict[str, str] = {}
        shutil.rmtree(logs.tuner_path, ignore_errors=True)
        super().__init__(
            GridOracle(trials), directory=str(logs.tuner_path.parent), project_name=logs.tuner_path.name
        )

    def run_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> dict[str, float]:
        """keras-tuner's hook: trains one point and returns its final validation accuracy."""
        ours = self._ours(trial)
        # The objective must be a number: a diverged network is a result, and the worst one.
        accuracy = 0.0
        try:
            record = run_trial(ours, self._experiment, self._splits, self._logs, self._observe)
            accuracy = record.validation_accuracy or 0.0
            self._observe.ended(ours, outcome(record))
        except Exception as error:  # whatever it was, the other trials go on
            self._note_failure(ours, error)
        return {OBJECTIVE.name: accuracy}

    def on_trial_end(self, trial: Any) -> None:
        """keras-tuner's hook: tells it what it did not see, that a trial of ours has failed."""
        if self._ours(trial).name in self.failures:
            trial.status = keras_tuner.engine.trial.TrialStatus.FAILED
        super().on_trial_end(trial)

    def _ours(self, trial: Any) -> Trial:
        return self._trials[tuple(trial.hyperparameters.values[axis] for axis in AXES)]

    def _note_failure(self, trial: Trial, error: Exception) -> None:
        summary = _in_a_line(error)
        self.failures[trial.name] = summary
        self._observe.ended(trial, f"failed: {summary}")
        try:
            self._logs.write_failure(trial, summary, traceback.format_exc())
        except OSError as second:  # a full disk, most likely: the ledger still has it
            self.failures[trial.name] += f" (and failure.json could not be written: {second})"


def search(
    experiment: Experiment, trials: list[Trial], splits: Splits, logs: LogFolder, observe: Observer
) -> dict[str, str]:
    """Trains the given trials.

    Returns:
        The trials that failed, with an error of one line each.
    """
    if not trials:
        return {}
    tuner = SweepTuner(trials, experiment, splits, logs, observe)
    try:
        tuner.search(verbose=0)
    except Exception as error:  # keras-tuner could not write its own state: a full disk, most likely
        summary = f"the search was stopped by {_in_a_line(error)}"
        return {trial.name: summary for trial in trials} | tuner.failures
    return tuner.failures


def _in_a_line(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _values(trial: Trial) -> dict[str, Any]:
    s = trial.settings
    return dict(zip(AXES, (trial.regime, s.batch_size, float(s.momentum), trial.seed), strict=True))
