"""Some of a grid's trials: those with given settings, and no more than so many."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tfsgd.errors import RequestError
from tfsgd.plan.settings import plain, settings
from tfsgd.plan.trials import Trial
from tfsgd.text import cut, known_keys

KEYS = ("regime", "seed", *(setting.name for setting in settings()))


@dataclass(frozen=True)
class Selection:
    """Which trials of a grid are worked on.

    Attributes:
        conditions: each a setting -> the value that it must have; a trial must meet all of one of them. None: all trials.
        at_most: how many; `None`: all.
        shard: (2, 8): of the trials of the grid that meet the conditions the second, the tenth, ...; `None`: all.
        names: of those, once `within` knows the grid.
    """

    conditions: tuple[dict[str, str], ...] = ()
    at_most: int | None = None
    shard: tuple[int, int] | None = None
    names: frozenset[str] | None = None

    def of(self, trials: Iterable[Trial]) -> list[Trial]:
        """Those of the trials that are meant, in their order."""
        meant = [t for t in trials if not self.conditions or any(_meets(t, c) for c in self.conditions)]
        return [t for t in meant if self.names is None or t.name in self.names][: self.at_most]

    def within(self, trials: Sequence[Trial]) -> "Selection":
        """The same, which knows the whole grid: whatever is done already, a trial stays in its shard."""
        if self.shard is None:
            return self
        number, count = self.shard
        meant = Selection(self.conditions).of(trials)[number - 1 :: count]
        return replace(self, names=frozenset(trial.name for trial in meant))

    def check(self, trials: Sequence[Trial]) -> None:
        """Refuses conditions that no trial of the grid meets.

        Raises:
            RequestError: the line names the condition, and the values that there are.
        """
        for condition in self.conditions:
            for key, value in condition.items():
                there = {v for trial in trials for v in _values(trial, key)}
                if not any(_is(value, v) for v in there):
                    known = ", ".join(map(str, sorted(there, key=str)))
                    raise RequestError(
                        f"--only {key}={value}: no trial of the grid has it; expected one of {known}"
                    )
            if not Selection((condition,)).of(trials):
                said = ",".join(f"{key}={value}" for key, value in condition.items())
                raise RequestError(f"--only {said}: no trial of the grid has all of them")


def selection(only: Sequence[str], at_most: int | None, shard: str | None = None) -> Selection:
    """Reads `--only batch_size=64,momentum=0.9`, which may be given several times, and `--shard 2/8`.

    Raises:
        RequestError: it is no list of settings with values, or no shard.
    """
    return Selection(tuple(map(_condition, only)), at_most, _shard(shard) if shard else None)


def _shard(text: str) -> tuple[int, int]:
    found = re.fullmatch(r"([1-9]\d{0,4})/([1-9]\d{0,4})", text)
    if not found or int(found[1]) > int(found[2]):
        raise RequestError(
            f"--shard {cut(text)}: expected I/N such as 2/8: the second of eight, I from 1 to N"
        )
    return int(found[1]), int(found[2])


def _condition(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in text.split(","):
        key, equals, value = (word.strip() for word in part.partition("="))
        if not equals or not value:
            raise RequestError(f"--only {text}: expected KEY=VALUE,... such as batch_size=64,momentum=0.9")
        if key not in KEYS:
            raise RequestError(f"--only {text}: no setting '{key}'{known_keys(key, KEYS)}")
        if key in found:
            raise RequestError(f"--only {text}: {key} is there twice; give --only twice for either value")
        found[key] = value
    return found


def _meets(trial: Trial, condition: dict[str, str]) -> bool:
    return all(any(_is(value, v) for v in _values(trial, key)) for key, value in condition.items())


def _values(trial: Trial, key: str) -> tuple[Any, ...]:
    if key == "regime":
        return trial.regimes
    return (trial.seed if key == "seed" else plain(getattr(trial.settings, key)),)


def _is(text: str, value: Any) -> bool:
    if isinstance(value, bool) or value is None or isinstance(value, str):
        return text.lower() == ("never" if value is None else str(value).lower())
    try:
        return float(text) == float(value)
    except ValueError:
        return False
