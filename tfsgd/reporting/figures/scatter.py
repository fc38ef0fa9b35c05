"""One point a trial, or a cell: a colour a regime, a marker a momentum."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from tfsgd.reporting.figures.curves import Curve, in_colour, markers
from tfsgd.reporting.figures.legend import handle, legend
from tfsgd.reporting.figures.style import MARKERS, PAPER, Drawing
from tfsgd.reporting.table.regime_labels import with_first_regime
from tfsgd.reporting.table.studies import Study

Row = Mapping[Any, Any]


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
        colours = {r.name: colour for r, _, colour in in_colour(study) if r.name in there}
        return cls(trials, colours, sorted(trials["momentum"].unique()))

    def marker(self, momentum: float) -> str:
        return MARKERS[self.momenta.index(momentum) % len(MARKERS)]

    def points(
        self,
        drawing: Drawing,
        axes: Axes,
        trials: pd.DataFrame,
        xy: tuple[str, str],
        said: Callable[[Row], str],
        sort: bool = True,
    ) -> None:
        """A point a trial.

        Args:
            drawing: gets what the points say.
            axes: of the drawing.
            trials: those of `hollow` are hollow; those of `is_bad`, if they have these columns, are crosses at the left edge.
            xy: the columns that are drawn.
            said: of a trial, on hover.
            sort: by regime and momentum; else the first trials are drawn first.
        """
        by = [key for key in ("regime", "momentum", "hollow", "is_bad") if key in trials]
        for _, rows in trials.groupby(by, sort=sort):
            first = rows.iloc[0]
            curve = Curve("", self.colours[first["regime"]], self.marker(first["momentum"]), rows)
            bad = bool(first.get("is_bad", False))
            points = [(0.0 if bad else r[xy[0]], r[xy[1]], said(r)) for r in rows.to_dict("records")]
            look: dict[str, Any] = {"markerfacecolor": PAPER if first.get("hollow", False) else curve.colour}
            if bad:
                look |= {"transform": axes.get_yaxis_transform(), "clip_on": False}
            markers(drawing, axes, curve, points, "x" if bad else curve.marker, 0.8, **look)

    def legend(self, drawing: Drawing, more: Sequence[Line2D] = ()) -> None:
        """Below the figure: regimes, momenta, and what else there is."""
        looks = {name: {"color": colour, "marker": "o"} for name, colour in self.colours.items()}
        looks |= {f"momentum {m:g}": {"marker": self.marker(m)} for m in self.momenta}
        handles = [handle(label, **look, linestyle="none") for label, look in looks.items()]
        legend(drawing.figure, [*handles, *more], 4)


def who(row: Row, of: str = "") -> str:
    """A trial, or what else a point is of, in words."""
    of = of or f"seed {row['seed']}"
    return f"{row['regime']}, batch size {row['batch_size']}, momentum {row['momentum']:g}, {of}"
