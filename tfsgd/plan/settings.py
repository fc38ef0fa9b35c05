"""What is to be known of each setting of SGD: whatever shows, names, stores or compares settings takes them from here."""

import functools
from collections.abc import Sequence
from dataclasses import MISSING, dataclass, fields
from typing import Any, Literal

from tfsgd.plan.regimes import SGDSettings


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

    @property
    def is_beyond(self) -> bool:
        """Whether it belongs to a rule that the paper has not: records and tables have it only where it is used."""
        return not self.is_required and self.name != "halve_every_epochs"

    def text(self, of: SGDSettings) -> str:
        """Its value, for a person."""
        value = plain(getattr(of, self.name))
        return (
            "never" if value is None else str(value) if isinstance(value, str) else format(value, self.form)
        )


def plain(value: Any) -> Any:
    """A value of a setting where there can be no list."""
    return ",".join(map(str, value)) if isinstance(value, tuple) else value


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
    """What a record says of them."""
    kind: Any = type(of)
    known = ((s, getattr(of, s.name)) for s in settings(kind))
    return {s.name: value for s, value in known if value != s.default or not s.is_beyond}
