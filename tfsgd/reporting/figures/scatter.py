"""One point a trial, or a cell: a colour a regime, a marker a momentum."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.lines import Line2D

from tfsgd.reporting.figures.curves import Curve, in_colour
from tfsgd.reporting.figures.legend import handle
from tfsgd.reporting.figures.style import MARKERS
from tfsgd.reporting.table.regime_labels import with_first_regime
from tfsgd.reporting.table.studies import Study


@dataclass(frozen=True)
class ScatterStyle:
    """The trials, each under its first regime, with a colour a regime and a marker a momentum."""

    trials: pd.DataFrame
    colours: Mapping[str, str]
    momenta: Sequence[float]

    @classmethod
    def of(cls, study: Study) -> ScatterStyle:
        trials = with_first_regime(study.trials, study.regimes)
        there = set(trials["regime"])
        colours = {r.name: colour for r, _, colour in in_colour(study.regimes) if r.name in there}
        return cls(trials, colours, sorted(trials["momentum"].unique()))

    def marker(self, momentum: float) -> str:
        return MARKERS[self.momenta.index(momentum) % len(MARKERS)]

    def curves(self, trials: pd.DataFrame, *by: str, sort: bool = True) -> Iterator[Curve]:
        """These trials, those together that look alike."""
        for _, rows in trials.groupby(["regime", "momentum", *by], sort=sort):
            first = rows.iloc[0]
            regime, momentum = str(first["regime"]), float(first["momentum"])
            yield Curve(regime, self.colours[regime], self.marker(momentum), rows)

    def handles(self) -> list[Line2D]:
        """What the legend shows."""
        regimes = [
            handle(name, color=colour, marker="o", linestyle="none") for name, colour in self.colours.items()
        ]
        return regimes + [
            handle(f"momentum {m:g}", marker=self.marker(m), linestyle="none") for m in self.momenta
        ]


def who(row: Mapping[Any, Any], of: str = "") -> str:
    """A trial, or what else a point is of, in words."""
    of = of or f"seed {row['seed']}"
    return f"{row['regime']}, batch size {row['batch_size']}, momentum {row['momentum']:g}, {of}"
