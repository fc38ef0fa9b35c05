"""The legend below a figure: curves, batch sizes, and what the marks mean."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfsgd.reporting.figures.style import DARK, INK, MARKERS, PAPER, sequence
from tfsgd.reporting.paper import BAD


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


@dataclass(frozen=True)
class BatchSizePalette:
    """A colour and a marker for each batch size."""

    colours: Mapping[int, str]
    dark: Mapping[str, str]  # of the drawing

    @classmethod
    def of(cls, sizes: Sequence[int]) -> BatchSizePalette:
        pairs = sequence(len(sizes))
        return cls({b: light for b, (light, _) in zip(sizes, pairs, strict=True)}, {**DARK, **dict(pairs)})

    def marker(self, size: int) -> str:
        return MARKERS[list(self.colours).index(size) % len(MARKERS)]

    def legend(self, figure: Figure, with_markers: bool, more: Sequence[Line2D] = ()) -> None:
        """The colours, and what else there is."""
        handles = [
            handle(f"{b}", color=colour, marker=self.marker(b) if with_markers else "")
            for b, colour in self.colours.items()
        ]
        legend(figure, [*handles, *more], min(len(handles) + len(more), 4), "batch size")


# Marks


def marks(trials: pd.DataFrame, attacks: Sequence[str] = ()) -> list[Line2D]:
    """What a hollow marker, a cross and a ring mean, where there are any."""
    found = []
    if trials["undertrained"].any():
        found.append(("o", PAPER, 6.5, "under-trained"))
    bad = [status for status in sorted(BAD) if (trials["status"] == status).any()]
    if bad:
        found.append(("x", INK, 6.5, " or ".join(bad)))
    if any_fails(trials, attacks):
        found.append(("o", "none", 11, "fails a check"))
    return [
        handle(label, marker=marker, markerfacecolor=face, markersize=size, linestyle="none")
        for marker, face, size, label in found
    ]


def fails(trials: pd.DataFrame, attack: str) -> pd.Series:
    """Trials that fail a check of this attack's accuracy; none where it is empty, or where most networks fail one."""
    if not attack:
        return pd.Series(False, trials.index)
    return trials["failed_checks"].map(lambda failed: any(check.marks(attack) for check in failed))


def any_fails(trials: pd.DataFrame, attacks: Sequence[str]) -> bool:
    """Whether a completed trial fails a check of one of these attacks."""
    completed = trials[trials["status"] == "completed"]
    return any(bool(fails(completed, attack).any()) for attack in attacks)
