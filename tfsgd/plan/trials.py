"""The grid: SGD settings and seeds, what each trial is called, and what determines its trained network."""

import hashlib
import itertools
import json
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

from tfsgd.plan.config import Experiment, slug
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.settings import plain, settings

BATCH_ORDER = (
    1  # rises when seed and epoch begin to mean another order of the batches, or another augmentation
)


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
        kind: Any = type(self.settings)
        values = ((s, getattr(self.settings, s.name)) for s in settings(kind))
        told = (
            s.folder.format(name=s.name, value=_in_a_path(value)) for s, value in values if value != s.default
        )
        return f"{slug(self.regime)}/{'-'.join(filter(None, told))}-s{self.seed}"


@dataclass(frozen=True)
class Training:
    """Everything that determines a trained network.

    Attributes:
        dataset: its name in the config.
        data_sha256: of all its images and labels in canonical order.
        model: its name in the config.
        model_sha256: of the network's structure.
        train_examples: how many training images are used; `None`: all.
        epochs: over them.
        settings: of SGD.
        seed: initialization, order of the batches, augmentation and dropout derive from it.
        batch_order: the version of how they do.
        rest: updates of the last epoch, where the training ends inside it; 0: all epochs are whole.
        fork: SHA-256 of the checkpoint that it began with; empty: it began with fresh weights.
    """

    dataset: str
    data_sha256: str
    model: str
    model_sha256: str
    train_examples: int | None
    epochs: int
    settings: SGDSettings
    seed: int
    batch_order: int = BATCH_ORDER
    rest: int = 0
    fork: str = ""

    @property
    def hash(self) -> str:
        """SHA-256 of it. Values that are the default do not enter: a new optional one changes no hash."""
        what: dict[str, Any] = asdict(self) | {"settings": _unusual(self.settings)}
        if self.batch_order == 1:
            del what["batch_order"]
        for key in ("rest", "fork"):
            if not what[key]:
                del what[key]
        if self.train_examples is None:
            del what["train_examples"]
        return hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()


def training_of(trial: Trial, experiment: Experiment, data_sha256: str, model_sha256: str) -> Training:
    """What determines the network of a trial, on these images and with this structure."""
    return Training(
        dataset=experiment.dataset,
        data_sha256=data_sha256,
        model=experiment.model,
        model_sha256=model_sha256,
        train_examples=experiment.cut_examples("train"),
        epochs=experiment.epochs_of(trial.settings),
        settings=trial.settings,
        seed=trial.seed,
        rest=experiment.length.rest(experiment.steps(trial.settings.batch_size)),
        fork=(experiment.fork.sha256 or "") if experiment.fork else "",
    )


def grid(experiment: Experiment) -> list[Trial]:
    """The trials of an experiment, seed by seed.

    Settings that are equal in several regimes (LR and LR/BS at batch size 64) are one trial, which
    names all of them and is stored under the first.
    """
    trials: dict[tuple[SGDSettings, int], Trial] = {}
    for seed, order in itertools.product(experiment.seeds, experiment.order_seeds or (None,)):
        for label, regime in experiment.regimes.items():
            for batch_size in experiment.batch_sizes:
                for sgd in regime.settings(batch_size):
                    sgd = replace(sgd, order_seed=None if order == seed else order)
                    known = trials.get((sgd, seed), Trial(label, (), sgd, seed))
                    trials[sgd, seed] = replace(known, regimes=(*known.regimes, label))
    return list(trials.values())


def _in_a_path(value: Any) -> Any:
    """`module:name` has no colon there: not every file system has one."""
    return value.replace(":", ".") if isinstance(value, str) else plain(value)


def _unusual(sgd: SGDSettings) -> dict[str, Any]:
    return {f.name: value for f in fields(sgd) if (value := getattr(sgd, f.name)) != f.default}
