"""Curves against the batch size: means, seeds, intervals and bad trials."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import cycle

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from scipy import stats

from tfsgd.reporting.drawing import (
    INK,
    MAIN,
    MARKERS,
    OTHERS,
    PAPER,
    RAMPS,
    Drawing,
    Line,
    Point,
    figure_key,
    in_words,
    markers,
)
from tfsgd.reporting.paper import BAD, BASE_MOMENTUM, attack_name
from tfsgd.reporting.regimes import Regime, curves, paper_regimes, regimes_of
from tfsgd.reporting.studies import Study


def regime_lines(study: Study) -> list[Line]:
    """A line for every regime, at the momentum of the paper's figures; the paper's regimes come first."""
    regimes = regimes_of(study.trials)
    rows = curves(study.trials, regimes)
    lines = []
    for i, (regime, kind, colour) in enumerate(in_colour(regimes)):
        here = rows[rows["regime"] == regime.name]
        momentum = BASE_MOMENTUM[kind] if kind else float(here["momentum"].min())
        here = here[here["momentum"] == momentum]
        if len(here):
            lines.append(
                Line(f"{regime.name} (momentum {momentum:g})", colour, MARKERS[i % len(MARKERS)], here)
            )
    return lines


def in_colour(regimes: Sequence[Regime]) -> list[tuple[Regime, str, str]]:
    """The regimes with the one of the paper that they stand for, or "", and their colours."""
    kinds = {regime: kind for kind, regime in paper_regimes(regimes).items()}
    order = list(MAIN)
    ranked = sorted(regimes, key=lambda r: order.index(kinds[r]) if r in kinds else len(order))
    others = cycle(OTHERS)
    return [(r, kinds.get(r, ""), MAIN[kinds[r]] if r in kinds else next(others)) for r in ranked]


def momentum_lines(study: Study, kind: str) -> list[Line]:
    """A line for every momentum of one of the paper's regimes."""
    regimes = regimes_of(study.trials)
    regime = paper_regimes(regimes).get(kind)
    if regime is None:
        return []
    rows = curves(study.trials, [regime])
    momenta = sorted(rows["momentum"].unique())
    ramp = RAMPS[kind]
    return [
        Line(
            f"momentum {m:g}",
            ramp[round(i * (len(ramp) - 1) / max(len(momenta) - 1, 1))],
            MARKERS[i % len(MARKERS)],
            rows[rows["momentum"] == m],
        )
        for i, m in enumerate(momenta)
    ]


def place(study: Study) -> str:
    return f"on {study.dataset_title} with {study.model_title}"


def at(attack: str, epsilon: float) -> str:
    return f"{attack_name(attack)} accuracy at ε = {epsilon:g}"


NEEDED = ["batch_size", "seed", "status", "undertrained"]  # of a trial, beside the value that is drawn


def curve_of(
    drawing: Drawing, axes: Axes, line: Line, column: str, what: str, shift: float, dashed: bool = False
) -> None:
    """One curve: means, seeds, intervals and bad trials. `shift` multiplies the batch size."""
    if column not in line.rows:
        return
    log = column == "eigenvalue"
    rows = line.rows[NEEDED].assign(value=line.rows[column])
    good = rows[(rows["status"] == "completed") & rows["value"].notna() & ((rows["value"] > 0) | (not log))]
    style = (0, (4, 2)) if dashed else "-"
    means = [_Mean.of(cell, log) for _, cell in good.groupby("batch_size")]
    several = [mean for mean in means if mean.seeds > 1]
    axes.plot(
        [m.batch_size * shift for m in means], [m.mean for m in means], color=line.colour, linestyle=style
    )
    axes.vlines(
        [m.batch_size * shift for m in several],
        [m.low for m in several],
        [m.high for m in several],
        color=line.colour,
        linewidth=1.1,
    )
    markers(drawing, axes, line, _seed_points(line, good, what, log, shift), ".", markersize=3.5, alpha=0.65)
    for hollow in (False, True):
        points = [
            (m.batch_size * shift, m.mean, f"{line.label}, batch size {m.batch_size}: {what} {m.words(log)}")
            for m in means
            if m.undertrained == hollow
        ]
        face = PAPER if hollow else line.colour
        markers(drawing, axes, line, points, line.marker, markerfacecolor=face)
    drawing.values += [_value_row(line.label, mean, what, log) for mean in means]
    _bad_trials(drawing, axes, line, rows, what, shift, log)


def _seed_points(line: Line, rows: pd.DataFrame, what: str, log: bool, shift: float) -> list[Point]:
    several = rows.groupby("batch_size")["seed"].transform("size") > 1
    return [
        (
            row["batch_size"] * shift,
            row["value"],
            f"{line.label}, batch size {row['batch_size']}, seed {row['seed']}: {what} "
            + in_words(row["value"], log),
        )
        for row in rows[several].to_dict("records")
    ]


def _bad_trials(
    drawing: Drawing, axes: Axes, line: Line, rows: pd.DataFrame, what: str, shift: float, log: bool
) -> None:
    """A cross at its value, or at the bottom: λ1 of a network that has learnt nothing only stretches its axis."""
    bad = rows[(rows["status"] != "completed") | ((rows["value"] <= 0) & log)]
    for row in bad.to_dict("records"):
        value = float(row["value"])
        shown = value >= 0 and not log
        text = f"{line.label}, batch size {row['batch_size']}, seed {row['seed']}: {row['status']}"
        axes.plot(
            row["batch_size"] * shift,
            value if shown else 0.0,
            "x",
            color=line.colour,
            transform=axes.transData if shown else axes.get_xaxis_transform(),
            gid=drawing.says(
                f"{text}, {what} {in_words(value, log) if math.isfinite(value) else 'has no value'}"
            ),
            clip_on=False,
            markeredgewidth=2,
        )
        drawing.values.append(
            {
                "curve": line.label,
                "batch size": str(row["batch_size"]),
                "what": what,
                "mean": f"{row['status']}, not in the mean",
                "95 % interval": "",
                "seeds": f"seed {row['seed']}",
            }
        )


@dataclass(frozen=True)
class _Mean:
    """Mean and 95 % interval of a cell over its seeds (Student's t); of the logarithm for λ1."""

    batch_size: int
    mean: float
    low: float
    high: float
    seeds: int
    undertrained: bool

    @classmethod
    def of(cls, cell: pd.DataFrame, log: bool) -> "_Mean":
        values = cell["value"].to_numpy(dtype=float)
        numbers = np.log(values) if log else values
        mean, half, count = float(numbers.mean()), 0.0, len(numbers)
        if count > 1:
            half = float(stats.t.ppf(0.975, count - 1)) * float(numbers.std(ddof=1)) / math.sqrt(count)
        ends = [mean, mean - half, mean + half]
        mean, low, high = [math.exp(end) for end in ends] if log else ends
        size = int(cell["batch_size"].iloc[0])
        return cls(size, mean, low, high, count, bool(cell["undertrained"].any()))

    def words(self, log: bool) -> str:
        interval = f" [{in_words(self.low, log)}, {in_words(self.high, log)}]" if self.seeds > 1 else ""
        seeds = f"{self.seeds} {'seed' if self.seeds == 1 else 'seeds'}"
        return (
            f"{in_words(self.mean, log)}{interval}, {seeds}{', under-trained' if self.undertrained else ''}"
        )


def _value_row(label: str, mean: _Mean, what: str, log: bool) -> dict[str, str]:
    interval = f"{in_words(mean.low, log)} to {in_words(mean.high, log)}" if mean.seeds > 1 else "one seed"
    return {
        "curve": label,
        "batch size": str(mean.batch_size),
        "what": what,
        "mean": in_words(mean.mean, log) + (", under-trained" if mean.undertrained else ""),
        "95 % interval": interval,
        "seeds": str(mean.seeds),
    }


def legend(figure: Figure, lines: Sequence[Line], attack: str) -> None:
    handles = [Line2D([], [], color=line.colour, marker=line.marker, label=line.label) for line in lines]
    handles.append(Line2D([], [], color=INK, label="natural"))
    if attack:
        handles.append(Line2D([], [], color=INK, linestyle=(0, (4, 2)), label=attack_name(attack)))
    figure_key(figure, [*handles, *marks(pd.concat([line.rows for line in lines]))], 3)


def marks(trials: pd.DataFrame) -> list[Line2D]:
    """What a hollow marker and a cross mean, where there are any."""
    found = []
    if trials.loc[trials["status"] == "completed", "undertrained"].any():
        found.append(("o", PAPER, "under-trained"))
    bad = [status for status in sorted(BAD) if (trials["status"] == status).any()]
    if bad:
        found.append(("x", INK, " or ".join(bad)))
    return [
        Line2D([], [], color=INK, marker=marker, markerfacecolor=face, linestyle="none", label=label)
        for marker, face, label in found
    ]


BATCH_CAPTION = (
    "Lines: mean over the seeds. Small points: single seeds, where they are few. Bars: 95 % interval of the mean (Student's t "
    "over seeds; for λ1 on its logarithm). Solid: natural accuracy and λ1; dashed: adversarial accuracy. "
    "Hollow markers: under-trained cells. Crosses: diverged or collapsed trials, not in the mean, for λ1 at the "
    "bottom whatever its value. Curves are set apart a little sideways."
)
