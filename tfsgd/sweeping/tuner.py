"""keras-tuner over the grid: an oracle whose truth is the records, and a tuner whose trial is ours.

keras-tuner's own state is scratch. Its `GridSearch` loses cells when it is resumed after a crash,
and it drops failed trials without a word; so which trial comes next is decided by the records, and
failures have a ledger of their own. With several workers its chief hands out trials over gRPC; a
worker that dies keeps its trial there for ever, so ours takes it back when the worker's heart stops.
"""

import contextlib
import time
import traceback
from typing import Any

import keras_tuner

from tfsgd.errors import RequestError
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.sweeping.trial import Job, Observer, outcome, run_trial
from tfsgd.training.devices import custom_gradients_forgotten

OBJECTIVE = keras_tuner.Objective("validation_accuracy", "max")
AXES = ("regime", "batch_size", "momentum", "seed")
LOST_AFTER_SECONDS = 60  # without a heartbeat: a worker on another machine is given up
RETIRE_AFTER = 25  # trials: each leaves some 4 MB of TensorFlow's graphs in a process
IDLE_SECONDS = 1  # between two questions of a worker that has nothing to do


class GridOracle(keras_tuner.Oracle):
    """Hands out the first trial of the grid that is not taken.

    Args:
        trials: those to train, in order.
        logs: where workers leave their heartbeats.
    """

    def __init__(self, trials: list[Trial], logs: LogFolder) -> None:
        self._waiting = list(trials)
        self._trials = {_key(_values(trial)): trial for trial in trials}
        self._logs = logs
        self.ended: list[tuple[str, Trial]] = []  # (worker, trial), with a record or with a failure
        self._heartbeats: dict[str, tuple[str, float]] = {}
        space = keras_tuner.HyperParameters()
        values = [_values(trial) for trial in trials]
        for axis in AXES:
            space.Choice(axis, list(dict.fromkeys(value[axis] for value in values)))
        # A failed trial is in our ledger; it must not end the search, however many follow it.
        super().__init__(OBJECTIVE, hyperparameters=space, max_consecutive_failed_trials=len(trials) + 1)

    @property
    def done(self) -> bool:
        """Whether every trial has ended."""
        return len(self.ended) == len(self._trials)

    def populate_space(self, trial_id: str) -> dict[str, Any]:
        """The next trial's place on the axes; IDLE while others are at theirs, STOPPED at the end."""
        self._take_back_lost_trials()
        if self._waiting:
            return {"status": "RUNNING", "values": _values(self._waiting.pop(0))}
        return {"status": "STOPPED" if self.done else "IDLE"}

    @keras_tuner.synchronized
    def end_trial(self, trial: Any) -> None:
        """Counts a trial as ended, once; a worker whose trial was taken back is not heard."""
        for tuner_id, ongoing in self.ongoing_trials.items():
            if ongoing.trial_id == trial.trial_id:
                self.ended.append((tuner_id, self._trials[_key(ongoing.hyperparameters.values)]))
                super().end_trial(trial)
                return

    @keras_tuner.synchronized
    def give_up(self, tuner_id: str) -> Trial | None:
        """Ends the trial of a worker that cannot finish it; returns that trial."""
        trial = self.trial_of(tuner_id)
        if trial is not None:
            del self.ongoing_trials[tuner_id]
            self.ended.append((tuner_id, trial))
        return trial

    def trial_of(self, tuner_id: str) -> Trial | None:
        """What a worker is at."""
        ongoing = self.ongoing_trials.get(tuner_id)
        return self._trials[_key(ongoing.hyperparameters.values)] if ongoing else None

    def _take_back_lost_trials(self) -> None:
        for tuner_id in list(self.ongoing_trials):
            trial = self.trial_of(tuner_id)
            if trial is not None and self._is_lost(tuner_id):
                del self.ongoing_trials[tuner_id]
                self._waiting.insert(0, trial)

    def _is_lost(self, tuner_id: str) -> bool:
        """Whether a heartbeat has stayed the same for too long, by this machine's clock alone."""
        beat = self._logs.heartbeat(tuner_id)
        if beat is None:  # a sweep of one process has none
            return False
        seen, since = self._heartbeats.get(tuner_id, ("", 0.0))
        if beat != seen:
            self._heartbeats[tuner_id] = (beat, time.monotonic())
            return False
        return time.monotonic() - since > LOST_AFTER_SECONDS


class Retired(BaseException):
    """A worker has run `RETIRE_AFTER` trials and makes room for a fresh one. No failure, so not an `Exception`."""


class SweepTuner(keras_tuner.engine.base_tuner.BaseTuner):
    """Runs trials by `run_trial` and keeps a ledger of those that failed.

    With keras-tuner's environment variables set it is the chief, which hands out trials, or one of
    the workers; without them it does both.

    Args:
        trials: those that are not complete.
        logs: where everything is written.
        job: what they have in common; a chief has none.

    Attributes:
        failures: an error in one line for each trial that raised, by the trial's name.
    """

    def __init__(self, trials: list[Trial], logs: LogFolder, job: Job | None) -> None:
        self._trials = {_key(_values(trial)): trial for trial in trials}
        self._logs = logs
        self._job = job
        self._asked_in_vain = False
        self._run = 0  # how many trials
        self.failures: dict[str, str] = {}
        super().__init__(
            GridOracle(trials, logs), directory=str(logs.tuner_path.parent), project_name=logs.tuner_path.name
        )

    def pre_create_trial(self) -> None:
        """keras-tuner's hook: it asks again at once when there is nothing to do, so wait a little."""
        if self._asked_in_vain:
            time.sleep(IDLE_SECONDS)
        self._asked_in_vain = True

    def on_trial_begin(self, trial: Any) -> None:
        """keras-tuner's hook: there was something to do."""
        self._asked_in_vain = False
        super().on_trial_begin(trial)

    def run_trial(self, trial: Any, *fit_args: Any, **fit_kwargs: Any) -> dict[str, float]:
        """keras-tuner's hook: trains and measures one point and returns its final validation accuracy."""
        assert self._job is not None
        ours, job = self._trials[_key(trial.hyperparameters.values)], self._job
        # The objective must be a number: a diverged network is a result, and the worst one.
        accuracy = 0.0
        try:
            if job.lease:
                job.lease.take(ours)
            # A worker that died, or lost the chief, after it had written its record is handed the trial again:
            # `run_trial` then finds everything done.
            with contextlib.nullcontext() if job.lease else custom_gradients_forgotten():
                record = run_trial(ours, job)
            accuracy = record.accuracy("validation") or 0.0
            job.observe.ended(ours, outcome(record))
        except Exception as error:  # whatever it was, the other trials go on
            self._note_failure(ours, error, job.observe)
        return {OBJECTIVE.name: accuracy}

    def on_trial_end(self, trial: Any) -> None:
        """keras-tuner's hook: tells it what it did not see, that a trial of ours has failed.

        Raises:
            Retired: this worker has run its number of trials.
        """
        if self._trials[_key(trial.hyperparameters.values)].name in self.failures:
            trial.status = keras_tuner.engine.trial.TrialStatus.FAILED
        super().on_trial_end(trial)
        self._run += 1
        if self._job and self._job.lease and self._run == RETIRE_AFTER:
            raise Retired

    def _note_failure(self, trial: Trial, error: Exception, observe: Observer) -> None:
        self.failures[trial.name] = in_a_line(error)
        try:
            self._logs.write_failure(trial, in_a_line(error), traceback.format_exc())
        except OSError as second:  # a full disk, most likely: the ledger still has it
            self.failures[trial.name] += f" (and failure.json could not be written: {second})"
        observe.ended(trial, f"failed: {self.failures[trial.name]}")


def search(trials: list[Trial], job: Job) -> dict[str, str]:
    """Trains and measures the given trials in this process.

    Returns:
        The trials that failed, with an error of one line each.
    """
    tuner = SweepTuner(trials, job.logs, job)
    try:
        tuner.search(verbose=0)
    except Exception as error:  # keras-tuner could not write its own state: a full disk, most likely
        summary = f"the search was stopped by {in_a_line(error)}"
        return {trial.name: summary for trial in trials} | tuner.failures
    return tuner.failures


def in_a_line(error: Exception) -> str:
    """An error's type and the first line of what it says; a refusal speaks for itself."""
    if isinstance(error, RequestError):
        return str(error).splitlines()[0]
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _values(trial: Trial) -> dict[str, Any]:
    s = trial.settings
    return dict(zip(AXES, (trial.regime, s.batch_size, float(s.momentum), trial.seed), strict=True))


def _key(values: dict[str, Any]) -> tuple[str, int, str, int]:
    """A place on the axes; keras-tuner sends floats between processes with 32 bits."""
    return values["regime"], int(values["batch_size"]), f"{values['momentum']:.6g}", int(values["seed"])
