"""How long a sweep still takes, as far as this run can tell from what it has seen."""

import time
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass

from tfsgd.plan.trials import Trial


@dataclass
class _TrialProgress:
    """A trial that somebody works on.

    Attributes:
        since: when it was last heard of.
        done: of its epochs.
        measured: the seconds since its last epoch.
    """

    size: int
    epochs: int
    is_recorded: bool
    since: float
    done: int
    measured: float = 0.0


class _Pace:
    """Seconds for one of what was counted."""

    def __init__(self) -> None:
        self.seconds, self.count = 0.0, 0

    def add(self, seconds: float, count: int) -> None:
        self.seconds += seconds
        self.count += count

    @property
    def value(self) -> float | None:
        return self.seconds / self.count if self.count else None


class Eta:
    """Seconds until all trials have ended.

    A trial costs its epochs, at the pace of those of its batch size, or of all while there are none; and then as long
    as measuring took in those that have ended. One that has a record is measured alone, or shown anew, and costs what
    others like it did. All that is shared out among as many as were under way at once.

    Args:
        trials: that are to be trained or measured.
        epochs: of a trial.
        recorded: the names of those that are trained already.
        now: the seconds on a clock.
    """

    def __init__(
        self,
        trials: Iterable[Trial],
        epochs: Callable[[Trial], int],
        recorded: Collection[str],
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self._epochs, self._recorded, self._now = epochs, recorded, now
        self._waiting: dict[str, Trial] = {}
        self._counts = {True: 0, False: 0}  # of those that wait, by whether there is a record
        self._to_train: dict[int, int] = defaultdict(int)  # epochs of those that wait, by batch size
        for trial in trials:
            self._waiting[trial.name] = trial
            self._count(trial, 1)
        self._under_way: dict[str, _TrialProgress] = {}
        self._of_size: dict[int, _Pace] = defaultdict(_Pace)  # an epoch
        self._of_any = _Pace()
        self._measured = {True: _Pace(), False: _Pace()}
        self._last_end = now()
        self._at_once = 1

    def reached(self, trial: Trial, epochs_done: int) -> None:
        """A trial has so many epochs behind it; with all of them it is measured."""
        one = self._under_way.get(trial.name) or self._begin(trial, epochs_done)
        self._charge(one, max(epochs_done - one.done, 0))
        one.done = epochs_done

    def ended(self, trial: Trial) -> None:
        """Its record is there, or it has failed; what was only shown anew was not heard of before."""
        if trial.name in self._waiting:
            self._begin(trial, self._epochs(trial))
        one = self._under_way.pop(trial.name)
        self._charge(one)
        if one.done == one.epochs:
            self._measured[one.is_recorded].add(one.measured, 1)
        self._last_end = self._now()

    @property
    def is_known(self) -> bool:
        """Whether of every kind of trial that there is one has ended; else measuring takes longer than is told."""
        kinds = {one.is_recorded for one in self._under_way.values()}
        kinds |= {kind for kind, count in self._counts.items() if count}
        return all(self._measured[kind].count for kind in kinds)

    def seconds(self) -> float:
        """Of all trials."""
        each = [self.of(name) for name in self._under_way]
        training = sum(epochs * self._pace(size) for size, epochs in self._to_train.items())
        measuring = sum(count * self._measuring(kind) for kind, count in self._counts.items())
        return max([(sum(each) + training + measuring) / self._at_once, *each])

    def of(self, name: str) -> float:
        """Of a trial that is under way."""
        one = self._under_way[name]
        measuring = max(self._measuring(one.is_recorded) - one.measured, 0)
        return (one.epochs - one.done) * self._pace(one.size) + measuring

    def _pace(self, size: int) -> float:
        """Seconds an epoch."""
        return self._of_size[size].value or self._of_any.value or 0.0

    def _measuring(self, is_recorded: bool) -> float:
        """Seconds from the last epoch to the end; of those under way, as long as none has ended."""
        alike = (one.measured for one in self._under_way.values() if one.is_recorded == is_recorded)
        return self._measured[is_recorded].value or max(alike, default=0.0)

    def _begin(self, trial: Trial, epochs_done: int) -> _TrialProgress:
        """It is first heard of after its first epoch here, or when it is measured, if it is trained."""
        if self._waiting.pop(trial.name, None):
            self._count(trial, -1)
        is_recorded, epochs = trial.name in self._recorded, self._epochs(trial)
        done = epochs if is_recorded else epochs_done - 1
        one = _TrialProgress(trial.settings.batch_size, epochs, is_recorded, self._last_end, done)
        self._under_way[trial.name] = one
        self._at_once = max(self._at_once, len(self._under_way))
        return one

    def _charge(self, one: _TrialProgress, epochs: int = 0) -> None:
        """What has passed since it was last heard of goes to its training, of so many epochs, or to its measuring."""
        seconds = self._now() - one.since
        one.since += seconds
        if one.done < one.epochs:
            self._of_size[one.size].add(seconds, epochs)
            self._of_any.add(seconds, epochs)
        else:
            one.measured += seconds

    def _count(self, trial: Trial, sign: int) -> None:
        is_recorded = trial.name in self._recorded
        self._counts[is_recorded] += sign
        if not is_recorded:
            self._to_train[trial.settings.batch_size] += sign * self._epochs(trial)
