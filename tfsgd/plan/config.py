"""A YAML config -> a frozen, valid `Experiment` -> its grid of trials' settings.

The file is read once, strictly: unknown keys, wrong types and values out of range are refused in
one line that names the key. From here on everything is typed and valid.
"""

import re
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator

from tfsgd.data.dataset import Dataset, Splits
from tfsgd.data.load import DATASETS
from tfsgd.fields import Block, Cardinal, Count, Flag, Label, Momentum, Name, Positive
from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.operator import CurvatureSpec
from tfsgd.models import MODELS
from tfsgd.plan.regimes import SGDSettings, constant_rate, constant_ratio
from tfsgd.plan.specs import attack, curvature_measure, nearest


class Regime(Block):
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


class Experiment(Block):
    """One data set, one model, and the grid of SGD settings to train it with."""

    code_dir: str | None = None  # where modules of one's own are looked for first; not a part of any meaning
    name: Name
    dataset: str
    model: str
    epochs: Count
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Cardinal, ...], Field(min_length=1)]
    regimes: Annotated[dict[Label, Regime], Field(min_length=1)]
    attacks: dict[Label, SerializeAsAny[AttackSpec]]
    hessian: TopEigenvalue = TopEigenvalue()
    curvature: dict[Label, SerializeAsAny[CurvatureSpec]] = Field(default_factory=dict)
    export: Flag = True
    train_examples: Count | None = None  # None: all of the split
    validation_examples: Count | None = None
    test_examples: Count | None = None
    data_dir: str | None = None
    checkpoint_every_epochs: Count = 1
    profile: Literal["full", "quick"] = "full"

    @field_validator("attacks", "curvature", mode="before")
    @classmethod
    def _typed(cls, blocks: Any, info: ValidationInfo) -> Any:
        """Each block becomes the spec that it describes."""
        if not isinstance(blocks, dict):
            return blocks
        spec = attack if info.field_name == "attacks" else curvature_measure
        code_dir = Path(info.data["code_dir"]) if info.data.get("code_dir") else None
        typed = {}
        for label, block in blocks.items():
            if block is None:
                continue  # switched off
            try:
                typed[label] = spec(label, block, code_dir)
            except ValueError as error:
                raise ValueError(f"{label}{'.' if ': ' in str(error) else ': '}{error}") from None
        return typed

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
        for key, measure in (
            ("hessian", self.hessian),
            *((f"curvature.{k}", m) for k, m in self.curvature.items()),
        ):
            self._has(f"{key}.examples", measure.examples, measure.split)
        for label, planned in self.attacks.items():
            self._has(f"attacks.{label}.examples", planned.examples or 0, "test")
        slugs = [slug(label) for label in self.regimes]
        if len(set(slugs)) != len(slugs):
            raise ValueError(
                f"regimes: expected labels that differ as folder names, received {', '.join(self.regimes)}"
            )
        return self

    @property
    def data(self) -> Dataset:
        """What is known about the data set."""
        return DATASETS[self.dataset]

    def examples(self, split: str) -> int:
        """How many images of a split are used."""
        return getattr(self, f"{split}_examples") or getattr(DATASETS[self.dataset], split)

    def cut_examples(self, split: str) -> int | None:
        """How many images of a split are used; `None`: all of them."""
        used = self.examples(split)
        return None if used == getattr(DATASETS[self.dataset], split) else used

    def cut(self, splits: Splits) -> Splits:
        """The images, cut to the numbers that are used."""
        return Splits(
            train=splits.train.first(self.train_examples),
            validation=splits.validation.first(self.validation_examples),
            test=splits.test.first(self.test_examples),
            sha256=splits.sha256,
            source=splits.source,
        )

    def _has(self, key: str, examples: int, split: str) -> None:
        if examples > self.examples(split):
            raise ValueError(
                f"{key}: expected at most the {self.examples(split):,} images of the {split} split, received {examples:,}"
            )


def slug(label: str) -> str:
    """A regime's label as a folder name: LR/BS -> lr-bs."""
    return re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-")


def _one_of(key: str, value: str, allowed: dict[str, Any]) -> None:
    if value not in allowed:
        raise ValueError(
            f"{key}: expected one of {', '.join(allowed)}, received '{value}'{nearest(value, allowed)}"
        )
