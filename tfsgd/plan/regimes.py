"""The settings of SGD, and the regimes that choose them: the paper's three (Section 2) and others like them.

`LR` keeps the learning rate constant, `LR/BS` keeps its ratio to the batch size constant, and
`Benchmark` (Yao et al. 2018) halves it after every five epochs. What a regime is follows from its
keys in the config, not from its name.

A new setting is a field of `SGDSettings` with a default and what `tfsgd.plan.settings` says of it, and a key of `Regime`.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator
from typing_extensions import Self

from tfsgd.fields import (
    Block,
    Count,
    Epochs,
    EpochsOrNever,
    Flag,
    Fraction,
    LabelSmoothing,
    Momentum,
    OneOrMore,
    Rate,
    Seed,
    Strength,
    Text,
    problems,
)  # fmt: skip
from tfsgd.plan.optimizers import SGD, OptimizerName, checked
from tfsgd.plan.schedule import Shape, annealed, stepped, warmup
from tfsgd.plan.stages import Attack, Factor, GrowBatch, Then, grown
from tfsgd.text import known_keys, shown

Loss = Literal["cross_entropy", "mse"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class SGDSettings:
    """Everything that Algorithm 1 of the paper needs besides the network and the images.

    The metadata of a field are the attributes of its `Setting`.
    """

    __pydantic_config__ = ConfigDict(extra="forbid")  # as a part of a record, which checks its numbers

    batch_size: Count = field(
        metadata=dict(title="batch size", meaning="of one step of SGD", unit="images", heading="batch", form="d",
                      scale="log2", folder="b{value:04d}")
    )  # fmt: skip
    momentum: Momentum = field(
        metadata=dict(title="momentum", meaning="coefficient gamma of v <- gamma v - gradient", form="", folder="m{value}")
    )  # fmt: skip
    learning_rate: Rate = field(
        metadata=dict(title="learning rate", meaning="eta of theta <- theta + eta v, in the first epoch", heading="rate",
                      scale="log10", folder="")
    )  # fmt: skip
    halve_every_epochs: Epochs | None = field(
        default=None,
        metadata=dict(title="halved every", meaning="after which the learning rate is halved; empty: never",
                      unit="epochs", heading="halved", form="d", folder="")
    )  # fmt: skip

    weight_decay: Strength = field(
        default=0.0,
        metadata=dict(title="weight decay", meaning="lambda of theta <- theta - eta lambda theta, beside each step",
                      folder="wd{value}")
    )  # fmt: skip
    nesterov: Flag = field(
        default=False,
        metadata=dict(title="Nesterov", meaning="whether theta <- theta + eta (gamma v - gradient), in place of eta v",
                      form="", folder="nesterov")
    )  # fmt: skip
    label_smoothing: LabelSmoothing = field(
        default=0.0,
        metadata=dict(title="label smoothing", meaning="share of each label that is dealt out to all classes alike",
                      heading="smoothing", form="", folder="ls{value}")
    )  # fmt: skip
    loss: Loss = field(
        default="cross_entropy",
        metadata=dict(title="loss", meaning="that SGD descends: cross_entropy, or mse: half the squared distance of the logits "
                      "from the one-hot label", form="", folder="{value}")
    )  # fmt: skip
    schedule: Shape = field(
        default="constant",
        metadata=dict(title="schedule", meaning="how the learning rate falls: constant (or halved), cosine, linear, step",
                      form="", folder="{value}")
    )  # fmt: skip
    step_epochs: tuple[Epochs, ...] = field(
        default=(),
        metadata=dict(title="steps after", meaning="after which the learning rate is multiplied by the step factor",
                      unit="epochs", heading="steps", folder="{value}")
    )  # fmt: skip
    step_factor: Fraction = field(
        default=0.1, metadata=dict(title="step factor", meaning="on the learning rate at each step", folder="x{value}")
    )  # fmt: skip
    warmup_epochs: EpochsOrNever = field(
        default=0,
        metadata=dict(title="warmup", meaning="in which the learning rate rises linearly", unit="epochs", form="d",
                      folder="warmup{value}")
    )  # fmt: skip

    sam: Strength = field(
        default=0.0,
        metadata=dict(title="SAM", meaning="rho of sharpness-aware minimization: the gradient is that at theta + rho g / |g|",
                      form="", folder="sam{value}")
    )  # fmt: skip
    adaptive: Flag = field(
        default=False,
        metadata=dict(title="adaptive", meaning="whether SAM scales its ascent by the weights (ASAM)", form="",
                      folder="adaptive")
    )  # fmt: skip

    optimizer: OptimizerName = field(
        default=SGD,
        metadata=dict(title="optimizer", meaning="Keras's name of the rule of a step; sgd: the paper's Algorithm 1",
                      form="", folder="{value}")
    )  # fmt: skip
    optimizer_arguments: Text = field(
        default="",
        metadata=dict(title="with", meaning="the optimizer's arguments other than by Keras's default", form="",
                      folder="{value}")
    )  # fmt: skip

    grow_every_epochs: Epochs | None = field(
        default=None,
        metadata=dict(title="batch grows every", meaning="after which the batch size is multiplied; empty: never",
                      unit="epochs", heading="grows", form="d", folder="grow{value}")
    )  # fmt: skip
    grow_factor: Factor = field(
        default=2,
        metadata=dict(title="growth", meaning="on the batch size, each time that it grows", form="d", folder="by{value}")
    )  # fmt: skip
    grow_up_to: Count | None = field(
        default=None,
        metadata=dict(title="grows to", meaning="the largest batch size to which it grows", unit="images", form="d",
                      scale="log2", folder="to{value}")
    )  # fmt: skip
    ghost_batch: Count | None = field(
        default=None,
        metadata=dict(title="ghost batch", meaning="images of a batch that BatchNorm takes its moments over; empty: all",
                      unit="images", heading="ghost", form="d", folder="ghost{value}")
    )  # fmt: skip
    adversarial_epochs: EpochsOrNever = field(
        default=0,
        metadata=dict(title="adversarial epochs", meaning="after the others, on images that are attacked", unit="epochs",
                      heading="then", form="d", folder="then{value}")
    )  # fmt: skip
    adversarial_attack: Attack = field(
        default="",
        metadata=dict(title="adversarial attack", meaning="on the images of the adversarial epochs", heading="attack",
                      form="", folder="{value}")
    )  # fmt: skip
    adversarial_epsilon: Strength = field(
        default=0.0,
        metadata=dict(title="adversarial epsilon", meaning="L-infinity, of the attack on training images", heading="eps",
                      folder="eps{value}")
    )  # fmt: skip

    order_seed: Seed | None = field(
        default=None,
        metadata=dict(title="order seed", meaning="of the order of the batches and augmentation; empty: the seed", heading="order",
                      form="d", folder="order{value}", parts_cells=False)
    )  # fmt: skip
    precision: Precision = field(
        default="float32",
        metadata=dict(title="precision", meaning="of a step's layers; weights, loss and all that is measured are float32",
                      form="", folder="{value}")
    )  # fmt: skip

    @property
    def is_constant(self) -> bool:
        """Whether the learning rate is the same in all epochs."""
        return self.halve_every_epochs is None and self.schedule == "constant" and not self.warmup_epochs

    @property
    def is_algorithm_1(self) -> bool:
        """Whether a step is the paper's, up the gradient of the cross-entropy; the rate may change."""
        return self.optimizer == SGD and not (
            self.weight_decay
            or self.nesterov
            or self.label_smoothing
            or self.sam
            or self.ghost_batch
            or self.adversarial_epochs
        )

    def batch_size_at(self, epoch: int) -> int:
        """Batch size in an epoch, counted from 0."""
        if self.grow_every_epochs is None:
            return self.batch_size
        return grown(
            self.batch_size,
            epoch // self.grow_every_epochs,
            self.grow_factor,
            self.grow_up_to or self.batch_size,
        )

    def learning_rate_at(self, epoch: int, epochs: int) -> float:
        """Learning rate in an epoch, counted from 0, of so many."""
        factor = warmup(epoch, self.warmup_epochs)
        if self.halve_every_epochs is not None:
            factor *= 0.5 ** (epoch // self.halve_every_epochs)
        elif self.schedule == "step":
            factor *= stepped(epoch, self.step_epochs, self.step_factor)
        elif self.schedule != "constant":
            factor *= annealed(self.schedule, epoch, epochs, self.warmup_epochs)
        return float(self.learning_rate * factor)


OF_THE_RATE = (
    "learning_rate",
    "ratio",
    "scale",
    "base_batch_size",
    "schedule",
)  # keys; no settings as they stand
RULES: dict[str, type[Block]] = {
    "grow_batch": GrowBatch,
    "then": Then,
}  # keys, each of which is several settings


class StepDecay(Block):
    """After each of the epochs in `step` the rate is multiplied by `factor`."""

    step: Annotated[tuple[Epochs, ...], Field(min_length=1)]
    factor: Annotated[float, Field(strict=True, gt=0, lt=1)] = 0.1


class Regime(Block):
    """A `learning_rate` at all batch sizes, or at `base_batch_size` with a `scale`; or a `ratio` to the batch size."""

    learning_rate: Rate | None = None
    ratio: Rate | None = None
    scale: Literal["linear", "sqrt"] | None = None
    base_batch_size: Count | None = None
    halve_every_epochs: Epochs | None = None
    schedule: Literal["cosine", "linear"] | StepDecay | None = None
    warmup_epochs: EpochsOrNever = 0
    momentum: tuple[Momentum, ...] = ()
    optimizer: Any = None
    weight_decay: OneOrMore[Strength] = (0.0,)
    nesterov: Flag = False
    label_smoothing: OneOrMore[LabelSmoothing] = (0.0,)
    loss: Loss = "cross_entropy"
    sam: OneOrMore[Strength] = (0.0,)
    adaptive: Flag = False
    grow_batch: GrowBatch | None = None
    ghost_batch: Count | None = None
    precision: OneOrMore[Precision] = ("float32",)
    then: Then | None = None
    plays: Literal["LR", "LR/BS", "Benchmark"] | None = (
        None  # for which regime of the paper it stands in the claims
    )

    @field_validator("schedule", mode="before")
    @classmethod
    def _known_schedule(cls, value: Any) -> Any:
        if isinstance(value, dict):
            try:
                return StepDecay.model_validate(value)
            except ValidationError as error:
                known = functools.partial(known_keys, allowed=StepDecay.model_fields)
                raise ValueError(
                    "; ".join(problems(error, lambda location: known(str(location[-1]))))
                ) from None
        if value not in (None, "cosine", "linear") and not isinstance(value, StepDecay):
            raise ValueError(
                f"expected cosine, linear or {{step: [EPOCH, ...], factor: 0.1}}, received {shown(value)}"
            )
        return value

    @field_validator("optimizer")
    @classmethod
    def _known_optimizer(cls, value: Any) -> Any:
        if value is not None:
            checked(value)
        return value

    @model_validator(mode="after")
    def _steps(self) -> Self:
        """SGD with its momenta, or another optimizer, which has its own."""
        if self.optimizer is None and not self.momentum:
            raise ValueError(
                "momentum: expected at least one entry"
                if "momentum" in self.model_fields_set
                else "momentum: missing"
            )
        if self.optimizer is not None:
            for key in ("momentum", "nesterov", "weight_decay"):
                if key in self.model_fields_set and getattr(self, key) not in ((0.0,), False):
                    raise ValueError(
                        f"{key}: expected none beside optimizer, whose arguments hold what it has of it"
                    )
            object.__setattr__(self, "momentum", (0.0,))
        return self

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.learning_rate is None) == (self.ratio is None):
            raise ValueError("expected either learning_rate or ratio")
        if self.nesterov and 0.0 in self.momentum:
            raise ValueError("nesterov: expected momenta above 0, received 0.0 among them")
        if self.loss == "mse" and any(self.label_smoothing):
            raise ValueError("label_smoothing: expected none beside loss: mse")
        if self.adaptive and not any(self.sam):
            raise ValueError("adaptive: expected a sam above 0 beside it")
        if self.schedule is not None and self.halve_every_epochs is not None:
            raise ValueError("schedule: expected none beside halve_every_epochs, which is one")
        if (self.scale is None) != (self.base_batch_size is None):
            given, missing = ("scale", "base_batch_size") if self.scale else ("base_batch_size", "scale")
            raise ValueError(f"{missing}: missing; {given} needs it")
        if self.scale is not None and self.ratio is not None:
            raise ValueError(
                "scale: expected learning_rate beside it, received ratio, which scales by itself"
            )
        return self

    def unfit(self, epochs: int, batch_sizes: Sequence[int], examples: int) -> str:
        """Why it has no meaning in so many epochs over so many images, beginning with the key; empty: it has."""
        if grow := self.grow_batch:
            if grow.every_epochs >= epochs:
                return f"grow_batch.every_epochs: expected fewer than the {epochs} of the training, received {grow.every_epochs}"
            if not max(batch_sizes) < grow.up_to <= examples:
                return (
                    f"grow_batch.up_to: expected more than the largest batch size, {max(batch_sizes):,}, and at most the "
                    f"{examples:,} training images, received {grow.up_to:,}"
                )
        if self.ghost_batch and self.ghost_batch >= max(batch_sizes):
            return f"ghost_batch: expected less than the largest batch size, {max(batch_sizes):,}, received {self.ghost_batch:,}"
        if self.warmup_epochs >= epochs:
            return f"warmup_epochs: expected fewer than the {epochs} of the training, received {self.warmup_epochs}"
        if isinstance(self.schedule, StepDecay) and max(self.schedule.step) >= epochs:
            return f"schedule.step: expected epochs before the last of {epochs}, received {max(self.schedule.step)}"
        return ""

    @property
    def size(self) -> int:
        """How many settings it has at each batch size: one for each value of its lists."""
        return math.prod(len(value) for _, value in self if isinstance(value, tuple))

    def rate(self, batch_size: int) -> float:
        """The learning rate in the first epoch: 0.01, or 0.00015625 x batch size."""
        if self.ratio is not None:
            rate = self.ratio * batch_size
        else:
            assert self.learning_rate is not None
            if self.base_batch_size in (None, batch_size):
                return self.learning_rate
            times = batch_size / self.base_batch_size
            rate = self.learning_rate * (times if self.scale == "linear" else math.sqrt(times))
        # 12 digits: settings that are equal on paper are equal here, whatever the rounding.
        return float(f"{rate:.12g}")

    def settings(self, batch_size: int) -> Iterator[SGDSettings]:
        """The SGD settings at a batch size, one for each value of its lists."""
        keys = [(key, value) for key, value in self if key not in (*OF_THE_RATE, *RULES, "plays")]
        axes = [
            [(key, one) for one in (value if isinstance(value, tuple) else (value,))] for key, value in keys
        ]
        blocks = {k: v for block in RULES if (of := getattr(self, block)) for k, v in of.as_settings.items()}
        for chosen in itertools.product(*axes):
            own = dict(chosen) | blocks
            own["adaptive"] = self.adaptive and own["sam"] > 0
            if self.optimizer is None:
                del own["optimizer"]
            else:
                own["optimizer"], own["optimizer_arguments"] = checked(self.optimizer)
            yield SGDSettings(
                batch_size=batch_size, learning_rate=self.rate(batch_size), **self._falling, **own
            )

    @property
    def _falling(self) -> dict[str, Any]:
        if isinstance(self.schedule, StepDecay):
            return {
                "schedule": "step",
                "step_epochs": tuple(sorted(self.schedule.step)),
                "step_factor": self.schedule.factor,
            }
        return {"schedule": self.schedule} if self.schedule else {}
