"""The legend below a figure: curves, batch sizes, and what the marks mean."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import matplotlib
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfsgd.reporting.figures.style import INK, PAPER
from tfsgd.reporting.paper import BAD, COMMON, attack_name


def handle(label: str, **style: Any) -> Line2D:
    """An item of the legend."""
    return Line2D([], [], **{"color": INK, "label": label, **style})


def legend(figure: Figure, handles: Sequence[Line2D], columns: int, title: str | None = None) -> None:
    """The legend below the figure, in fewer columns where so many are wider than the figure."""
    for count in range(columns, 0, -1):
        key = figure.legend(
            handles=list(handles),
            loc="outside lower center",
            ncols=count,
            title=title,
            handlelength=2.4,
            columnspacing=1.2,
        )
        if count == 1 or key.get_window_extent().width <= figure.bbox.width:
            return
        key.remove()


# Marks


@dataclass(frozen=True)
class Marks:
    """What marks tell the shown networks apart: hollow, crosses, rings. What most of them carry is said instead.

    Attributes:
        hollow: under-trained ones are.
        rings: attacks; networks that fail a check of one have a ring.
        bad: what crosses stand for, in words; empty: there is none.
        said: what most carry, in sentences.
    """

    hollow: bool
    rings: frozenset[str]
    bad: str
    said: str

    @classmethod
    def of(cls, trials: pd.DataFrame, attacks: Sequence[str | None] = (), by: Sequence[str] = ()) -> Marks:
        """Of these networks, those together that have one marker: the same values of `by`."""
        completed = trials[trials["status"] == "completed"]

        def share(flags: pd.Series) -> float:
            keys = [completed[name] for name in by]
            marked = flags.groupby(keys).transform("any") if keys and len(flags) else flags
            return float(marked.mean()) if len(flags) else 0.0

        failing = {attack: fails(completed, attack) for attack in dict.fromkeys(attacks) if attack}
        rings = {attack: share(flags) for attack, flags in failing.items()}
        under = share(completed["undertrained"])
        checks = "fail a check of their {} accuracy (see the table of trials)"
        most = [(failing[a], checks.format(attack_name(a))) for a, of in rings.items() if of > COMMON]
        most += [(completed["undertrained"], "are under-trained")] * (under > COMMON)
        said = [f"{int(of.sum())} of {len(completed)} networks {what}." for of, what in most]
        return cls(
            hollow=0 < under <= COMMON,
            rings=frozenset(attack for attack, of in rings.items() if 0 < of <= COMMON),
            bad=" or ".join(status for status in sorted(BAD) if (trials["status"] == status).any()),
            said=" ".join(said),
        )

    def ringed(self, trials: pd.DataFrame, attack: str | None) -> pd.Series:
        """Those that have a ring."""
        return fails(trials, attack if attack in self.rings else None)

    def undertrained(self, trials: pd.DataFrame) -> pd.Series:
        """Those that are hollow."""
        return trials["undertrained"] & self.hollow

    @property
    def caption(self) -> str:
        """What hollow markers and rings mean, and what most networks carry."""
        hollow = "Hollow: under-trained." * self.hollow
        rings = "Rings: a network fails a check of its robustness (see the table of trials)."
        return " ".join(filter(None, (hollow, rings * bool(self.rings), self.said)))

    def handles(self) -> list[Line2D]:
        """What the legend says of them."""
        size = matplotlib.rcParams["lines.markersize"]
        found = [("o", PAPER, size, "under-trained")] * self.hollow
        found += [("x", INK, size, self.bad)] * bool(self.bad)
        found += [("o", "none", 1.7 * size, "fails a check")] * bool(self.rings)
        return [
            handle(label, marker=marker, markerfacecolor=face, markersize=width, linestyle="none")
            for marker, face, width, label in found
        ]


def fails(trials: pd.DataFrame, attack: str | None) -> pd.Series:
    """Trials that fail a check of this attack's accuracy; none where there is none."""
    failed = trials["failed_checks"]
    return failed.map(lambda of: bool(attack) and any(check.concerns(attack or "") for check in of)).astype(
        bool
    )
