"""A claim in a config or in a file: which numbers of a grid are compared, and what is said of them beforehand."""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any, Literal

from pydantic import model_validator
from typing_extensions import Self

from tfsgd.fields import Block, Count, Label, Momentum, OneOrMore, Positive, Text

Kind = Literal[
    "trend", "difference", "interaction", "equivalent", "non_inferior", "below", "both", "agreement"
]
Knob = Literal["batch_size", "momentum"]
Direction = Literal["rises", "falls"]

REGIMES: dict[Kind, tuple[int, ...]] = {
    "difference": (2,),
    "interaction": (2,),
    "equivalent": (1, 2),
}  # else one
WITHIN_MARGIN: tuple[Kind, ...] = ("equivalent", "non_inferior", "below")  # the others have a direction


class Claim(Block):
    """What is said of one or two regimes of a grid.

    Attributes:
        statement: the sentence, for people.
        kind: `trend`: the metric rises or falls along the knob. `difference`: it is higher or lower under the first
            regime than under the second. `interaction`: its slope along the knob is. `equivalent`: no two levels of the
            knob, or the means of two regimes, differ by more than the margin. `non_inferior`: no level lies below the
            smallest one by more than the margin. `below`: at every setting the metric lies below the margin. `both`: two
            metrics rise, or fall, together. `agreement`: of two networks that differ in the knob
            alone, the one with the larger metric has the larger (rises) or the smaller (falls) smallest epsilon.
        metric: a column of `records.csv`; `both` has two.
        regimes: by their labels.
        expected: the direction that is claimed: `rises`, or higher; `falls`, or lower.
        knob: what is varied.
        momentum: at which batch sizes are compared, one for each regime, or one for all; by default the paper's of that
            regime, else its lowest.
        at_least: the smallest batch size that counts.
        at_most: the largest one.
        margin: points of accuracy, or a factor of what is compared on its logarithm; by default the shipped one.
        source: who says so.
    """

    statement: Text
    kind: Kind
    metric: OneOrMore[Text]
    regimes: OneOrMore[Label]
    expected: Direction | None = None
    knob: Knob = "batch_size"
    momentum: OneOrMore[Momentum] | None = None
    at_least: Count | None = None
    at_most: Count | None = None
    margin: Positive | None = None
    source: Text = ""

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        wanted = {"regimes": REGIMES.get(self.kind, (1,)), "metric": (2,) if self.kind == "both" else (1,)}
        for key, counts in wanted.items():
            if len(getattr(self, key)) not in counts:
                said = " or ".join(map(str, counts))
                raise ValueError(
                    f"{key}: expected {said} for kind '{self.kind}', received {len(getattr(self, key))}"
                )
        if self.momentum and len(self.momentum) not in (1, len(self.regimes)):
            raise ValueError(f"momentum: expected one, or one for each regime, received {len(self.momentum)}")
        has_margin = self.kind in WITHIN_MARGIN
        if has_margin and self.expected:
            raise ValueError(f"expected: kind '{self.kind}' has a margin, and no direction")
        if not has_margin and self.margin:
            raise ValueError(f"margin: kind '{self.kind}' has a direction, `expected`, and no margin")
        if not has_margin and not self.expected:
            raise ValueError(f"expected: kind '{self.kind}' needs rises or falls")
        if self.knob == "momentum" and self.momentum is not None:
            raise ValueError("momentum: it is the knob, which is varied")
        if self.kind in ("difference", "below") and self.knob != "batch_size":
            raise ValueError(f"knob: kind '{self.kind}' looks at batch sizes one by one")
        return self

    @property
    def sign(self) -> int:
        """1: rises, or is higher; -1: falls, or is lower; 0: neither is claimed."""
        return {"rises": 1, "falls": -1}.get(self.expected or "", 0)

    def momentum_of(self, regime: str) -> float | None:
        """The momentum at which a regime's batch sizes are compared, where the claim says it."""
        if self.momentum is None:
            return None
        return self.momentum[self.regimes.index(regime) if len(self.momentum) > 1 else 0]

    @property
    def sha256(self) -> str:
        """Of all that is said."""
        said: dict[str, Any] = self.model_dump(mode="json", exclude_defaults=True)
        return sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
