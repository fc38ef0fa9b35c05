"""What a trial is called, where its files are, and the record that is its result.

Everything below `LOGS/NAME` derives from hyperparameters here and nowhere else. A record is
written once, atomically, at the end of a trial; whether a trial has been done is decided by
`config_hash`, never by a path.
"""

import math
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.trials import Trial

# Trials


# Records


def _finite(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


Number = Annotated[float | None, BeforeValidator(_finite)]  # NaN is null


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class AttackResult(_Part):
    """Accuracy under one attack at one epsilon, over all attacked images."""

    name: str
    norm: str
    epsilon: float
    steps: int
    step_size: float
    random_start: bool
    restarts: int
    early_stop: bool
    examples: int
    clean_accuracy: Number
    accuracy: Number


class HessianResult(_Part):
    """The top eigenvalue of the Hessian of the mean cross-entropy, and how well it is known."""

    eigenvalue: Number
    residual: Number
    iterations: int
    converged: bool
    examples: int
    split: str


class Seconds(_Part):
    train: float
    attacks: float
    hessian: float


class Record(_Part):
    """The result of one trial: the keys of `record.json`. Accuracies are fractions in [0, 1]."""

    name: str
    dataset: str
    model: str
    regime: str
    regimes: tuple[str, ...]
    batch_size: int
    momentum: float
    learning_rate: float
    halve_every_epochs: int | None
    seed: int
    epochs: int
    profile: Literal["full", "quick"]
    status: Literal["completed", "diverged", "collapsed"]
    train_loss: Number
    train_accuracy: Number
    validation_accuracy: Number
    test_loss: Number
    test_accuracy: Number
    train_examples: int
    validation_examples: int
    test_examples: int
    attacks: tuple[AttackResult, ...]
    zero_gradient_fraction: Number
    hessian: HessianResult
    history: dict[str, tuple[Number, ...]]
    seconds: Seconds
    versions: dict[str, str]
    device: str
    threads: int
    onednn: bool
    replicas: int
    git_commit: str | None
    data_sha256: str
    config_hash: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]

    @property
    def settings(self) -> SGDSettings:
        return SGDSettings(self.batch_size, self.momentum, self.learning_rate, self.halve_every_epochs)

    @property
    def folder(self) -> str:
        """Where it was stored below `trials/`."""
        return Trial(self.regime, self.regimes, self.settings, self.seed).name

    def accuracy(self, attack: str, epsilon: float) -> float | None:
        """Accuracy under an attack at an epsilon; `None` if it was not measured."""
        return next((a.accuracy for a in self.attacks if (a.name, a.epsilon) == (attack, epsilon)), None)


# Files


# What is done, what is left
