"""What the values of a config and of a record may be: numbers with their ranges, labels, and blocks of them.

Every count has an upper bound that the code can hold and a person could mean: what is recorded is what ran.
Learning rates and momenta are those that single precision tells from 0, 1 and infinity.
"""

import re
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator
from typing_extensions import Self


def _without_sign(value: float) -> float:
    """-0.0 is 0.0, also in the name of a folder."""
    return value + 0.0


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("expected printable characters")
    return text


def _below_one_in_single_precision(momentum: float) -> float:
    if momentum > 0.9999999:
        raise ValueError(f"expected at most 0.9999999, received {momentum!r}")
    return momentum


Count = Annotated[int, Field(strict=True, ge=1, le=1_000_000_000)]  # of images
MOST_EPOCHS = 100_000
Epochs = Annotated[int, Field(strict=True, ge=1, le=MOST_EPOCHS)]
EpochsOrNever = Annotated[int, Field(strict=True, ge=0, le=MOST_EPOCHS)]
Products = Annotated[int, Field(strict=True, ge=1, le=10_000)]  # with a Hessian
Seed = Annotated[int, Field(strict=True, ge=0, lt=2**32)]
Positive = Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)]
Rate = Annotated[float, Field(strict=True, ge=1e-30, le=1e30)]
Temperature = Annotated[float, Field(strict=True, ge=1e-6, le=1e6)]  # what float32's logits can be divided by
Fraction = Annotated[float, Field(strict=True, gt=0, le=1)]
Tolerance = Fraction  # on a residual relative to the value: beyond 1 any vector passes
Epsilon = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False), AfterValidator(_without_sign)]
Momentum = Annotated[
    float,
    Field(strict=True, ge=0, lt=1),
    AfterValidator(_below_one_in_single_precision),
    AfterValidator(_without_sign),
]
Finite = Annotated[float, Field(strict=True, allow_inf_nan=False)]
Seconds = Annotated[float, Field(strict=True, ge=0, allow_inf_nan=False)]
Flag = Annotated[bool, Field(strict=True)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", max_length=100)]
Text = Annotated[str, Field(strict=True, max_length=200), AfterValidator(_printable)]
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


_SAYS = {
    "string_pattern_mismatch": "expected letters, digits, '.', '_' or '-', beginning with a letter or digit",
    "too_short": "expected at least one entry",
    "tuple_type": "expected a list",
    "dict_type": "expected a mapping",
    "model_type": "expected a mapping",
    "model_attributes_type": "expected a mapping",
    "dataclass_type": "expected a mapping",
    "int_type": "expected a whole number",
    "int_from_float": "expected a whole number",
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected a text",
    "missing": "missing",
    "extra_forbidden": "unknown key",
    "unexpected_keyword_argument": "unknown key",
}


def expectation(item: Mapping[str, Any]) -> str:
    """What an entry of pydantic's `ValidationError.errors()` says, in the words of this project.

    It begins with what was expected; for a validator of one's own it is what that says.
    """
    if item["type"] == "value_error":
        return str(item["ctx"]["error"])
    said = _SAYS.get(item["type"]) or re.sub(
        r"^(Input|String|Tuple|List|Dictionary|Value) should (be|have) ", "expected ", item["msg"]
    )
    for bound in item.get("ctx", {}).values():
        if isinstance(bound, float):  # pydantic writes out all zeros
            said = re.sub(r"(?<= )\d[\d.]*$", f"{bound:g}", said)
    return said[:1].lower() + said[1:]
