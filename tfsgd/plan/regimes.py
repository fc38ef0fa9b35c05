"""The settings of SGD, and the regimes that choose them: the paper's three (Section 2) and others like them.

`LR` keeps the learning rate constant, `LR/BS` keeps its ratio to the batch size constant, and
`Benchmark` (Yao et al. 2018) halves it after every five epochs. What a regime is follows from its
keys in the config, not from its name.

A new setting is a field of `SGDSettings` with a default and its `Setting`, and a key of `Regime`. Whatever
shows, names, stores or compares settings takes them from `settings`.
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from tfsgd.fields import Block, Count, Epochs, Flag, LabelSmoothing, Momentum, OneOrMore, Rate, Strength


@dataclass(frozen=True)
class Setting:
    """How a setting of SGD is called, shown, drawn and compared.

    Attributes:
        name: of the field, and of the key in a config and a record.
        default: its value where no config gives one; `MISSING`: every config gives one.
        title: in sentences and on axes.
        meaning: in one line.
        unit: of its values; empty: none.
        heading: the title of a narrow column; empty: `title`.
        form: Python's format of a value.
        scale: of an axis.
        parts_cells: whether trials that differ in it are never averaged.
        folder: how a trial's folder tells a value other than the default; empty: the regime tells it.
    """

    name: str
    default: Any
    title: str
    meaning: str
    unit: str = ""
    heading: str = ""
    form: str = "g"
    scale: Literal["linear", "log2", "log10"] = "linear"
    parts_cells: bool = True
    folder: str = "{name}{value:g}"

    @property
    def is_required(self) -> bool:
        """Whether it has no default."""
        return self.default is MISSING

    def text(self, of: "SGDSettings") -> str:
        """Its value, for a person."""
        value = getattr(of, self.name)
        return "never" if value is None else format(value, self.form)


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

    def learning_rate_at(self, epoch: int) -> float:
        """Learning rate in an epoch, counted from 0: halved after every `halve_every_epochs`."""
        if self.halve_every_epochs is None:
            return self.learning_rate
        return float(self.learning_rate * 0.5 ** (epoch // self.halve_every_epochs))


@functools.cache
def settings(kind: Any = SGDSettings) -> tuple[Setting, ...]:
    """Every setting of SGD, in the order in which they are shown; `kind` is the class that has them."""
    return tuple(Setting(name=f.name, default=f.default, **f.metadata) for f in fields(kind))


def settings_in_use(of: Sequence[SGDSettings]) -> list[Setting]:
    """What to show of these: the settings without a default, and those in which one of them differs from it."""
    kind: Any = type(of[0]) if of else SGDSettings
    return [
        s for s in settings(kind) if s.is_required or any(getattr(one, s.name) != s.default for one in of)
    ]


def told(of: SGDSettings) -> dict[str, Any]:
    """What a record says of them: a setting that came later only where it is used, so that no record changes."""
    known = ((s, getattr(of, s.name)) for s in settings(type(of)))
    return {s.name: value for s, value in known if value != s.default or s.name == "halve_every_epochs"}


class Regime(Block):
    """Either a constant `learning_rate` or a constant `ratio` of it to the batch size."""

    learning_rate: Rate | None = None
    ratio: Rate | None = None
    halve_every_epochs: Epochs | None = None
    momentum: Annotated[tuple[Momentum, ...], Field(min_length=1)]
    weight_decay: OneOrMore[Strength] = (0.0,)
    nesterov: Flag = False
    label_smoothing: OneOrMore[LabelSmoothing] = (0.0,)

    @model_validator(mode="after")
    def _one_rule(self) -> Self:
        if (self.learning_rate is None) == (self.ratio is None):
            raise ValueError("expected either learning_rate or ratio")
        if self.nesterov and 0.0 in self.momentum:
            raise ValueError("nesterov: expected momenta above 0, received 0.0 among them")
        return self

    @property
    def size(self) -> int:
        """How many settings it has at each batch size: one for each value of its lists."""
        return math.prod(len(value) for _, value in self if isinstance(value, tuple))

    def rate(self, batch_size: int) -> float:
        """The learning rate in the first epoch: 0.01, or 0.00015625 x batch size."""
        if self.ratio is None:
            assert self.learning_rate is not None
            return self.learning_rate
        # 12 digits: settings that are equal on paper are equal here, whatever the rounding.
        return float(f"{self.ratio * batch_size:.12g}")

    def settings(self, batch_size: int) -> Iterator[SGDSettings]:
        """The SGD settings at a batch size, one for each value of its lists."""
        keys = [(key, value) for key, value in self if key not in ("learning_rate", "ratio")]
        axes = [
            [(key, one) for one in (value if isinstance(value, tuple) else (value,))] for key, value in keys
        ]
        for chosen in itertools.product(*axes):
            yield SGDSettings(batch_size=batch_size, learning_rate=self.rate(batch_size), **dict(chosen))
