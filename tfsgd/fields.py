"""What the values of a config may be: numbers with their ranges, labels, and blocks of them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self

Count = Annotated[int, Field(strict=True, ge=1)]
Cardinal = Annotated[int, Field(strict=True, ge=0)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Fraction = Annotated[float, Field(strict=True, gt=0, le=1)]
Epsilon = Annotated[float, Field(strict=True, ge=0, le=1)]  # images are in [0, 1]
Momentum = Annotated[float, Field(strict=True, ge=0, lt=1)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Label = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._/-]*$", max_length=60)]


class Block(BaseModel):
    """A mapping of a config: frozen, and no key but its own."""

    model_config = ConfigDict(frozen=True, extra="forbid", protected_namespaces=())

    @model_validator(mode="after")
    def _lists_hold_each_value_once(self) -> Self:
        for name, value in self:
            if isinstance(value, tuple) and len(set(value)) != len(value):
                raise ValueError(f"{name}: expected each value once")
        return self
