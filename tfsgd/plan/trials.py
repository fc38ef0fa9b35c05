"""The grid: SGD settings and seeds, what each trial is called, and what makes two of them the same."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from typing import Any

from tfsgd.plan.config import Experiment, slug
from tfsgd.plan.regimes import SGDSettings


@dataclass(frozen=True)
class Trial:
    """One point of the grid: SGD settings and a seed, and the regimes that they belong to."""

    regime: str  # the label under which it is stored: the first of `regimes`
    regimes: tuple[str, ...]
    settings: SGDSettings
    seed: int

    @property
    def name(self) -> str:
        """Its folder below `trials/`, such as `lr-bs/b0064-m0.9-s0`."""
        s = self.settings
        return f"{slug(self.regime)}/b{s.batch_size:04d}-m{s.momentum}-s{self.seed}"

    def config_hash(self, experiment: Experiment) -> str:
        """SHA-256 of everything that determines the trial's numbers: not labels, axes or paths."""
        return hash_of(experiment.meaning(), self.settings, self.seed)


def hash_of(meaning: dict[str, Any], settings: SGDSettings, seed: int) -> str:
    what = json.dumps([meaning, asdict(settings), seed], sort_keys=True)
    return hashlib.sha256(what.encode()).hexdigest()


def grid(experiment: Experiment) -> list[Trial]:
    """The trials of an experiment, seed by seed.

    Settings that are equal in several regimes (LR and LR/BS at batch size 64) are one trial, which
    names all of them and is stored under the first.
    """
    trials: dict[tuple[SGDSettings, int], Trial] = {}
    for seed in experiment.seeds:
        for label, regime in experiment.regimes.items():
            for batch_size in experiment.batch_sizes:
                for momentum in regime.momentum:
                    settings = regime.settings(batch_size, momentum)
                    known = trials.get((settings, seed), Trial(label, (), settings, seed))
                    trials[settings, seed] = replace(known, regimes=(*known.regimes, label))
    return list(trials.values())
