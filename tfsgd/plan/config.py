"""A YAML config -> a frozen, valid `Experiment` -> its grid of trials' settings.

The file is read once, strictly: unknown keys, wrong types and values out of range are refused in
one line that names the key. From here on everything is typed and valid.
"""

import difflib
import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

from tfsgd.data.dataset import Splits
from tfsgd.data.load import DATASETS
from tfsgd.models import MODELS
from tfsgd.plan.regimes import SGDSettings, constant_rate, constant_ratio

Count = Annotated[int, Field(strict=True, ge=1)]
Cardinal = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, gt=0, le=1)]
Epsilon = Annotated[float, Field(strict=True, ge=0, le=1)]  # images are in [0, 1]
Momentum = Annotated[float, Field(strict=True, ge=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/-]*$", max_length=60)]


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="after")
    def _lists_hold_each_value_once(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and len(set(value)) != len(value):
                raise ValueError(f"{name}: expected each value once")
        return self


class Regime(_Block):
    """Either a constant `learning_rate` or a constant `ratio` of it to the batch size."""

    learning_rate: Positive | None = None
    ratio: Positive | None = None
    halve_every_epochs: Count | None = None
    momentum: Annotated[tuple[Momentum, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.learning_rate is None) == (self.ratio is None):
            raise ValueError("expected either learning_rate or ratio")
        return self

    def settings(self, batch_size: int, momentum: float) -> SGDSettings:
        """The SGD settings of this regime at a batch size and a momentum."""
        if self.ratio is not None:
            return constant_ratio(self.ratio, batch_size, momentum, self.halve_every_epochs)
        assert self.learning_rate is not None
        return constant_rate(self.learning_rate, batch_size, momentum, self.halve_every_epochs)


class FGSM(_Block):
    """Fast gradient sign method (Goodfellow et al. 2015), L-infinity."""

    epsilon: Annotated[tuple[Epsilon, ...], Field(min_length=1)]
    examples: Count | None = None  # of the test images; None: all


class PGD(_Block):
    """Projected gradient descent (Madry et al. 2018), L-infinity."""

    epsilon: Annotated[tuple[Epsilon, ...], Field(min_length=1)]
    steps: Count = 40
    relative_step_size: Fraction = 0.0333  # times epsilon
    random_start: Flag = True
    restarts: Count = 1
    early_stop: Flag = True
    examples: Count | None = None


class Attacks(_Block):
    fgsm: FGSM | None = None
    pgd: PGD | None = None

    @model_validator(mode="after")
    def _restarts_differ(self) -> Self:
        if self.pgd and self.pgd.restarts > 1 and not self.pgd.random_start:
            raise ValueError(
                "pgd.restarts: more than 1 needs random_start: true, else all restarts are the same"
            )
        return self


class Hessian(_Block):
    """The top eigenvalue: on which images, and when the power iteration stops."""

    examples: Count = 5_000
    split: Literal["train", "test"] = "train"
    max_iterations: Count = 100
    tolerance: Positive = 1e-2  # on the residual |Hv - eigenvalue v| / |eigenvalue|
    every_epochs: Cardinal = 0  # 0: at the end only


class Experiment(_Block):
    """One data set, one model, and the grid of SGD settings to train it with."""

    name: Name
    dataset: str
    model: str
    epochs: Count
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Cardinal, ...], Field(min_length=1)]
    regimes: Annotated[dict[Label, Regime], Field(min_length=1)]
    attacks: Attacks
    hessian: Hessian = Hessian()
    export: Flag = True
    train_examples: Count | None = None  # None: all of the split
    validation_examples: Count | None = None
    test_examples: Count | None = None
    data_dir: str | None = None
    checkpoint_every_epochs: Count = 1
    profile: Literal["full", "quick"] = "full"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        _one_of("dataset", self.dataset, DATASETS)
        _one_of("model", self.model, MODELS)
        spec = DATASETS[self.dataset]
        if MODELS[self.model].image_shape != spec.image_shape:
            fitting = [m for m, a in MODELS.items() if a.image_shape == spec.image_shape]
            raise ValueError(
                f"model: {self.model} takes images of shape {MODELS[self.model].image_shape}, {self.dataset} has "
                f"{spec.image_shape}; expected one of {', '.join(fitting)}"
            )
        for split in ("train", "validation", "test"):
            asked = getattr(self, f"{split}_examples")
            if asked is not None and asked > getattr(spec, split):
                raise ValueError(
                    f"{split}_examples: expected at most {getattr(spec, split):,}, received {asked:,}"
                )
        for batch_size in self.batch_sizes:
            if batch_size > self.examples("train"):
                raise ValueError(
                    f"batch_sizes: expected at most the {self.examples('train'):,} training images, received {batch_size:,}"
                )
        if self.hessian.examples > self.examples(self.hessian.split):
            raise ValueError(
                f"hessian.examples: expected at most the {self.examples(self.hessian.split):,} images of the "
                f"{self.hessian.split} split, received {self.hessian.examples:,}"
            )
        for kind, attack in (("fgsm", self.attacks.fgsm), ("pgd", self.attacks.pgd)):
            if attack and (attack.examples or 0) > self.examples("test"):
                raise ValueError(
                    f"attacks.{kind}.examples: expected at most the {self.examples('test'):,} test images, received {attack.examples:,}"
                )
        slugs = [slug(label) for label in self.regimes]
        if len(set(slugs)) != len(slugs):
            raise ValueError(
                f"regimes: expected labels that differ as folder names, received {', '.join(self.regimes)}"
            )
        return self

    def examples(self, split: str) -> int:
        """How many images of a split are used."""
        return getattr(self, f"{split}_examples") or getattr(DATASETS[self.dataset], split)

    def cut(self, splits: Splits) -> Splits:
        """The images, cut to the numbers that are used."""
        return Splits(
            train=splits.train.first(self.train_examples),
            validation=splits.validation.first(self.validation_examples),
            test=splits.test.first(self.test_examples),
            sha256=splits.sha256,
            source=splits.source,
        )

    def meaning(self) -> dict[str, Any]:
        """What determines a trial's numbers besides its own SGD settings and seed."""
        chosen = self.model_dump(include={"dataset", "model", "epochs", "attacks", "hessian"}, mode="json")
        return chosen | {
            f"{split}_examples": self.examples(split) for split in ("train", "validation", "test")
        }


def slug(label: str) -> str:
    """A regime's label as a folder name: LR/BS -> lr-bs."""
    return re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-")


def _one_of(key: str, value: str, allowed: dict[str, Any]) -> None:
    if value not in allowed:
        raise ValueError(
            f"{key}: expected one of {', '.join(allowed)}, received '{value}'{nearest(value, allowed)}"
        )


def nearest(word: str, allowed: Any) -> str:
    near = difflib.get_close_matches(word, list(allowed), n=1, cutoff=0.5)
    return f"; did you mean '{near[0]}'?" if near else ""


# Reading
