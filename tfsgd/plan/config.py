"""A YAML config -> a frozen, valid `Experiment`: what is trained, and what is measured on it.

The file is read once, strictly: unknown keys, wrong types and values out of range are refused in
one line that names the key. From here on everything is typed and valid.
"""

import functools
import re
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import Field, SerializeAsAny, ValidationInfo, field_validator, model_validator
from typing_extensions import Self

from tfsgd.data.dataset import Dataset, Splits
from tfsgd.data.load import DATASETS, load_splits
from tfsgd.errors import RequestError
from tfsgd.fields import MOST_EPOCHS, Block, Count, Epochs, Flag, Label, Name, Seed
from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.corruption_accuracy import Corruptions
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.curvature_spec import CurvatureSpec
from tfsgd.models.paper import MODELS, Architecture
from tfsgd.plan.along import Along, Snapshots
from tfsgd.plan.claim import Claim
from tfsgd.plan.fork import Fork, Moment, misplaced
from tfsgd.plan.import_string import is_own_name
from tfsgd.plan.length import Length, steps_per_epoch
from tfsgd.plan.regimes import RULES, Regime, SGDSettings
from tfsgd.plan.specs import KINDS
from tfsgd.plan.stages import stages_of
from tfsgd.plan.user_model import UserModel, is_own_dataset, load_own_splits, with_own
from tfsgd.text import nearest

LARGEST_GRID = 100_000  # trials
FREE = ("input_gradient", "jacobian", "weights", "confidence")  # what is measured on every network
WHILE_TRAINED = "directional_sharpness"  # in `along`: known of a network that is trained, and of no other
SLOWEST, FASTEST = 1e-30, 1e30  # learning rates: single precision has them


class Budget(Block):
    """How long to train, in place of `epochs`: so many `updates`, whatever the batch size."""

    updates: Count


C = TypeVar("C", bound=CurvatureSpec)


class Measuring(Block):
    """A data set, and what is measured on networks for it."""

    code_dir: str | None = None  # the config's folder, where a name in it stands for code or data beside it
    # The names of code of one's own that a person has given: these alone are imported. No folder of results says so.
    own_code: tuple[str, ...] = Field(default=(), exclude=True)
    own_data: Dataset | None = None  # what was found where `dataset` is no shipped one
    dataset: str
    attacks: dict[Label, SerializeAsAny[AttackSpec]]
    hessian: TopEigenvalue = TopEigenvalue()
    curvature: dict[Label, SerializeAsAny[CurvatureSpec]] = Field(default_factory=dict)
    corruptions: Corruptions | None = None
    train_examples: Count | None = None  # None: all of the split
    validation_examples: Count | None = None
    test_examples: Count | None = None
    data_dir: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _knows_its_own(cls, raw: Any, info: ValidationInfo) -> Any:
        where = {
            key: value for key, value in (info.context or {}).items() if key in ("folder", "data_folder")
        }
        return with_own(raw, **where) if isinstance(raw, dict) else raw

    @field_validator("attacks", "curvature", mode="before")
    @classmethod
    def _typed(cls, blocks: Any, info: ValidationInfo) -> Any:
        """Each block becomes the spec that it describes; one that is null is switched off."""
        if not isinstance(blocks, dict):
            return blocks
        code_dir = Path(info.data["code_dir"]) if info.data.get("code_dir") else None
        typed = {}
        for label, block in blocks.items():
            try:
                if block is not None:
                    typed[label] = KINDS[str(info.field_name)].spec(
                        label, block, code_dir, info.data.get("own_code", ())
                    )
            except ValueError as error:
                raise ValueError(f"{label}{'.' if ': ' in str(error) else ': '}{error}") from None
        return typed

    @field_validator("attacks", "curvature")
    @classmethod
    def _labels(cls, blocks: dict[str, Any], info: ValidationInfo) -> dict[str, Any]:
        """Each names one column; what was recorded under other rules can still be read."""
        if (info.context or {}).get("recorded"):
            return blocks
        for label, spec in blocks.items():
            if problem := KINDS[str(info.field_name)].label_problem(label, spec):
                raise ValueError(problem)
            epsilons = getattr(spec, "epsilon", ())
            if len({f"{epsilon:g}" for epsilon in epsilons}) < len(epsilons):
                raise ValueError(f"{label}.epsilon: expected values that differ in their first six digits")
        return blocks

    @model_validator(mode="after")
    def _images_suffice(self) -> Self:
        if not is_own_dataset(self.dataset):
            _one_of("dataset", self.dataset, DATASETS, "FILE.npz, FOLDER/, tfds:NAME or module:function")
        for split in ("train", "validation", "test"):
            asked = getattr(self, f"{split}_examples")
            if asked is not None and asked > getattr(self.data, split):
                raise ValueError(
                    f"{split}_examples: expected at most {getattr(self.data, split):,}, received {asked:,}"
                )
        hessian, curvature = self._fitted(self.hessian), map(self._fitted, self.curvature.values())
        object.__setattr__(self, "hessian", hessian)
        object.__setattr__(self, "curvature", dict(zip(self.curvature, curvature, strict=True)))
        self._has("hessian.examples", self.hessian.examples, self.hessian.split)
        for label, measure in self.curvature.items():
            self._has(f"curvature.{label}.examples", measure.examples, measure.split)
            if measure.attacked and (unfit := measure.attacked.unfit(self.data.classes)):
                raise ValueError(f"curvature.{label}.attacked.{unfit}")
        if self.hessian.attacked:
            raise ValueError(
                "hessian.attacked: expected none: λ1 at perturbed images is a block of curvature, measure: top_eigenvalue"
            )
        if self.corruptions:
            self._has("corruptions.examples", self.corruptions.examples or 0, "test")
            if unfit := self.corruptions.unfit(self.dataset):
                raise ValueError(f"corruptions.{unfit}")
        for label, planned in self.attacks.items():
            self._has(f"attacks.{label}.examples", planned.examples or 0, "test")
            if unfit := planned.unfit(self.data.classes):
                raise ValueError(f"attacks.{label}.{unfit}")
        return self

    @functools.cached_property
    def requests(self) -> dict[int, list[Any]]:
        """What it asks for, by seed; filled by `tfsgd.plan.requests.requests_of`."""
        return {}

    def model_copy(self, **changes: Any) -> Self:
        """Pydantic's; what a copy asks for is derived anew."""
        copy = super().model_copy(**changes)
        copy.__dict__.pop("requests", None)
        return copy

    @property
    def user_model(self) -> UserModel | None:
        """The model that it names, if that is one's own: its module may have the layers of a stored network."""
        model: Any = getattr(self, "model", None)
        if not is_own_name(model):
            return None
        code_dir = Path(self.code_dir) if self.code_dir else None
        return UserModel(model, code_dir, model in self.own_code)

    @property
    def data(self) -> Dataset:
        """What is known of the data set, whether it is shipped or one's own."""
        return self.own_data or DATASETS[self.dataset]

    def splits(self, data_folder: Path | None = None) -> Splits:
        """The images, cut to the numbers that are used.

        Args:
            data_folder: to look in before the config's own `data_dir`; see `load_splits`.

        Raises:
            RequestError: they cannot be found, or are not what they should be.
        """
        data_dirs = (data_folder, Path(self.data_dir) if self.data_dir else None)
        if self.own_data is None:
            return self.cut(load_splits(self.dataset, data_dirs))
        code_dir = Path(self.code_dir) if self.code_dir else None
        return self.cut(load_own_splits(self.own_data, code_dir, data_dirs, self.own_code))

    def examples(self, split: str) -> int:
        """How many images of a split are used."""
        return getattr(self, f"{split}_examples") or getattr(self.data, split)

    def cut_examples(self, split: str) -> int | None:
        """How many images of a split are used; `None`: all of them."""
        used = self.examples(split)
        return None if used == getattr(self.data, split) else used

    def cut(self, splits: Splits) -> Splits:
        """The images, cut to the numbers that are used."""
        return Splits(
            train=splits.train.first(self.train_examples),
            validation=splits.validation.first(self.validation_examples),
            test=splits.test.first(self.test_examples),
            sha256=splits.sha256,
            source=splits.source,
        )

    def _fitted(self, spec: C) -> C:
        """With as many images as its split has, where it asks for its default and there are fewer."""
        most = self.examples(spec.split)
        if "examples" in spec.model_fields_set or spec.examples <= most:
            return spec
        return spec.model_copy(update={"examples": most})

    def _has(self, key: str, examples: int, split: str) -> None:
        if examples > self.examples(split):
            raise ValueError(
                f"{key}: expected at most the {self.examples(split):,} images of the {split} split, received {examples:,}"
            )


class MeasuringConfig(Measuring):
    """A config for `measure` that is none of a sweep: a data set, and whatever else it says."""

    model: str | None = None  # its module may have layers of networks from elsewhere


class Experiment(Measuring):
    """One data set, one model, and the grid of SGD settings to train it with; and what is measured."""

    name: Name
    model: str
    epochs: Epochs | None = None
    budget: Budget | None = None
    snapshots: Snapshots | None = None
    along: Along | None = None
    fork: Fork | None = None
    keep_checkpoints: tuple[Moment, ...] = ()  # after so many epochs or updates, to go on from by `fork`
    batch_sizes: Annotated[tuple[Count, ...], Field(min_length=1)]
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)]
    order_seeds: tuple[
        Seed, ...
    ] = ()  # of the batches and augmentation, each with each of `seeds`; none: the same
    regimes: Annotated[dict[Label, Regime], Field(min_length=1)]
    claims: dict[Label, Claim] = Field(default_factory=dict)
    export: Flag = True
    checkpoint_every_epochs: Epochs = 1
    profile: Literal["full", "quick"] = "full"

    @field_validator("batch_sizes", mode="before")
    @classmethod
    def _with_full(cls, sizes: Any, info: ValidationInfo) -> Any:
        """`full` is all training images that are used: gradient descent."""
        known = info.data.get("own_data") or DATASETS.get(info.data.get("dataset", ""))
        if not isinstance(sizes, list | tuple) or "full" not in sizes or known is None:
            return sizes
        return [
            (info.data.get("train_examples") or known.train) if size == "full" else size for size in sizes
        ]

    @field_validator("regimes", mode="before")
    @classmethod
    def _asked(cls, regimes: Any) -> Any:
        """A regime that is null is switched off."""
        if not isinstance(regimes, dict):
            return regimes
        return {label: regime for label, regime in regimes.items() if regime is not None}

    @model_validator(mode="after")
    def _fits(self, info: ValidationInfo) -> Self:
        gone = not is_own_name(self.model) and self.model not in MODELS
        if gone and not (info.context or {}).get("recorded"):
            _one_of("model", self.model, MODELS, "module:function")
        takes = None if gone else self.architecture.image_shape
        if takes is not None and takes != self.data.image_shape:
            fitting = [m for m, a in MODELS.items() if a.image_shape == self.data.image_shape]
            raise ValueError(
                f"model: {self.model} takes images of shape {takes}, {self.dataset} has {self.data.image_shape}; "
                f"expected {'one of ' if fitting else ''}{', '.join(fitting) or 'a model of your own, module:function'}"
            )
        for batch_size in self.batch_sizes:
            if batch_size > self.examples("train"):
                raise ValueError(
                    f"batch_sizes: expected at most the {self.examples('train'):,} training images, received {batch_size:,}"
                )
        if (self.epochs is None) == (self.budget is None):
            both = "received both; --set KEY=null takes one away" if self.budget else "received neither"
            raise ValueError(f"epochs, budget: expected one of them, {both}")
        longest = max(map(self.epochs_at, self.batch_sizes))
        if longest > MOST_EPOCHS:
            raise ValueError(
                f"budget.updates: expected at most {MOST_EPOCHS:,} epochs of every batch size, found {longest:,}"
            )
        for label, regime in self.regimes.items():
            shortest = min(map(self.epochs_at, self.batch_sizes))
            if unfit := regime.unfit(shortest, self.batch_sizes, self.examples("train")):
                raise ValueError(f"regimes.{label}.{unfit}")
            if self.budget and (block := next((b for b in RULES if getattr(regime, b)), None)):
                raise ValueError(
                    f"regimes.{label}.{block}: expected epochs beside it, received budget.updates"
                )
        self._has_one_loss()
        self._forks_inside()
        if self.along:
            known = ("hessian", *FREE, WHILE_TRAINED, *self.attacks, *self.curvature)
            for label in self.along.measures:
                _one_of("along.measures", label, dict.fromkeys(known))
        roles = [regime.plays for regime in self.regimes.values() if regime.plays]
        if len(set(roles)) < len(roles):
            raise ValueError(f"regimes: plays: expected each once, received {', '.join(roles)}")
        for key, claim in self.claims.items():
            for label in claim.regimes:
                _one_of(f"claims.{key}.regimes", label, self.regimes)
        self._is_of_a_size()
        slugs = [slug(label) for label in self.regimes]
        if len(set(slugs)) != len(slugs):
            raise ValueError(
                f"regimes: expected labels that differ as folder names, received {', '.join(self.regimes)}"
            )
        return self

    def _forks_inside(self) -> None:
        if self.budget and (self.fork or self.keep_checkpoints):
            raise ValueError("fork, keep_checkpoints: expected epochs beside them, received budget.updates")
        if self.fork or self.keep_checkpoints:
            settings = [
                s for r in self.regimes.values() for size in self.batch_sizes for s in r.settings(size)
            ]
            trainings = [stages_of(s, self.length, self.examples("train")) for s in settings]
            if problem := misplaced(self.fork, self.keep_checkpoints, trainings):
                raise ValueError(problem)

    def _has_one_loss(self) -> None:
        """λ1 is that of the loss which is descended, unless the config says otherwise."""
        losses = {regime.loss for regime in self.regimes.values()}
        if len(losses) > 1:
            raise ValueError(
                f"regimes: loss: expected the same in all, since λ1 is that of the loss, received {', '.join(sorted(losses))}"
            )
        if "loss" not in self.hessian.model_fields_set:
            object.__setattr__(self, "hessian", self.hessian.model_copy(update={"loss": losses.pop()}))

    def _is_of_a_size(self) -> None:
        per_size = sum(regime.size for regime in self.regimes.values())
        trials = len(self.seeds) * max(len(self.order_seeds), 1) * len(self.batch_sizes) * per_size
        if trials > LARGEST_GRID:
            raise ValueError(
                f"seeds x batch_sizes x momenta: expected a grid of at most {LARGEST_GRID:,} trials, found {trials:,}"
            )
        for label, regime in self.regimes.items():
            rates = [regime.rate(size) for size in self.batch_sizes]
            if not SLOWEST <= min(rates) <= max(rates) <= FASTEST:
                key = "ratio" if regime.ratio else "scale"
                raise ValueError(
                    f"regimes.{label}.{key}: expected learning rates from {SLOWEST:g} to {FASTEST:g}, "
                    f"found {min(rates):g} to {max(rates):g}"
                )

    @property
    def architecture(self) -> Architecture | UserModel:
        """What builds the network, whether it is shipped or one's own; nothing is imported before `build`."""
        if self.user_model:
            return self.user_model
        if self.model not in MODELS:  # recorded by an installation that has it
            raise RequestError(
                f"model: this installation has no '{self.model}'; expected the tfsgd that trained it"
            )
        return MODELS[self.model]

    @property
    def uses_own_code(self) -> bool:
        """Whether code of one's own builds, attacks or measures its networks."""
        return bool(self.user_model or self.own_code)

    @property
    def has_code(self) -> bool:
        """Whether its network can be built: one's own needs code that a person has named."""
        return not is_own_name(self.model) or self.model in self.own_code

    @property
    def length(self) -> Length:
        """How long each trial trains."""
        return Length("updates", self.budget.updates) if self.budget else Length("epochs", self.epochs or 0)

    def steps(self, batch_size: int) -> int:
        """Updates of an epoch."""
        return steps_per_epoch(self.examples("train"), batch_size)

    def epochs_at(self, batch_size: int) -> int:
        """How many epochs are begun at a batch size."""
        return self.length.epochs(self.steps(batch_size))

    def epochs_of(self, settings: SGDSettings) -> int:
        """How many epochs a training with these settings begins, the adversarial ones too."""
        return self.epochs_at(settings.batch_size) + settings.adversarial_epochs

    def build(self) -> Any:
        """The network with fresh weights, a `keras.Model`."""
        return self.architecture.build(self.data.image_shape, self.data.classes)


def slug(label: str) -> str:
    """A regime's label as a folder name: LR/BS -> lr-bs."""
    return re.sub(r"[^a-z0-9.]+", "-", label.lower()).strip("-")


def _one_of(key: str, value: str, allowed: dict[str, Any], own: str = "") -> None:
    if value not in allowed:
        question = nearest(value, allowed) or (own and f"; one of your own is {own}")
        raise ValueError(f"{key}: expected one of {', '.join(allowed)}, received '{value}'{question}")
