"""What the values of a config and of a record may be: numbers with their ranges, labels, and blocks of them.

Every count has an upper bound that the code can hold and a person could mean: what is recorded is what ran.
Learning rates and momenta are those that single precision tells from 0, 1 and infinity.
"""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from typing_extensions import Self

from tfsgd.text import cut, shown


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


def _seen_in_single_precision(value: float) -> float:
    if 0 < value < 1e-30:
        raise ValueError(f"expected 0, or at least 1e-30, received {value!r}")
    return value


def _listed(value: Any) -> Any:
    """One value is a list of one."""
    return value if isinstance(value, list | tuple) else [value]


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
LabelSmoothing = Momentum
Strength = Annotated[  # of what is added to SGD; 0: it is not
    float,
    Field(strict=True, ge=0, le=1e30),
    AfterValidator(_seen_in_single_precision),
    AfterValidator(_without_sign),
]
T = TypeVar("T")
OneOrMore = Annotated[tuple[T, ...], BeforeValidator(_listed), Field(min_length=1)]  # a value, or a list
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


UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")  # pydantic's words for a key that is unknown
_SAYS = {
    "string_pattern_mismatch": "expected letters, digits, '.', '_' or '-', beginning with a letter or digit",
    "too_short": "expected at least one entry",
    "tuple_type": "expected a list",
    **dict.fromkeys(
        ("dict_type", "model_type", "model_attributes_type", "dataclass_type"), "expected a mapping"
    ),
    **dict.fromkeys(("int_type", "int_from_float"), "expected a whole number"),
    "float_type": "expected a number",
    "bool_type": "expected true or false",
    "string_type": "expected a text",
    "missing": "missing",
    **dict.fromkeys(UNKNOWN, "unknown key"),
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


def problems(
    error: ValidationError,
    hint: Callable[[tuple[int | str, ...]], str] = lambda location: "",
    found: str = "received",
    in_lists: bool = False,
) -> list[str]:
    """What is wrong with a block, a line each: the key, what was expected, what came instead. Unknown keys come first.

    Args:
        error: pydantic's.
        hint: ends the line of an unknown key, by its location.
        found: the word before what came instead.
        in_lists: say which entry of a list it is; else its value tells.
    """
    items = sorted(error.errors(), key=lambda item: item["type"] not in UNKNOWN)
    # A list is "too short" for pydantic where its entries are wrong.
    wrong_lists = {item["loc"][:-1] for item in items if item["loc"] and item["type"] != "too_short"}
    said = []
    for item in items:
        location = [str(p) for p in item["loc"] if p != "[key]" and (in_lists or not isinstance(p, int))]
        key = ".".join(cut(part) if part == part.strip() else shown(part) for part in location)
        problem = expectation(dict(item))
        if item["type"] == "too_short" and item["loc"] in wrong_lists:
            continue
        if item["type"] in UNKNOWN:
            problem += hint(item["loc"])
        elif item["type"] not in ("missing", "value_error"):
            problem += f", {found} {shown(item['input'])}"
        begins_with_key = item["type"] == "value_error" and re.match(r"[\w./-]+: ", problem)
        said.append(f"{key}{'.' if begins_with_key else ': '}{problem}" if key else problem)
    return list(dict.fromkeys(said))
