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

from tfsgd.reporting.figures.style import (
    DASHES,
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
    handles_of,
    in_words,
    markers,
)
from tfsgd.reporting.paper import BAD, BASE_MOMENTUM, attack_name
from tfsgd.reporting.statistics import student_interval
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.regime_labels import Regime, paper_regimes
from tfsgd.reporting.table.studies import Study


def regime_lines(study: Study) -> list[Line]:
    """A line for every regime, at the momentum of the paper's figures; the paper's regimes come first.

    A regime that was not trained at that momentum, or is not the paper's, is shown at its smallest one.
    """
    rows = study.by_regime
    lines = []
    for i, (regime, kind, colour) in enumerate(in_colour(study.regimes)):
        here = rows[rows["regime"] == regime.name]
        momenta = sorted(here["momentum"].unique())
        if momenta:
            base = BASE_MOMENTUM.get(kind)
            momentum = base if base in momenta else momenta[0]
            label = f"{regime.name} (momentum {momentum:g})"
            lines.append(Line(label, colour, MARKERS[i % len(MARKERS)], here[here["momentum"] == momentum]))
    return lines


def is_as_the_paper(study: Study) -> bool:
    """Whether a regime of the paper was trained at the momentum of its figures."""
    rows = study.by_regime
    momenta = [
        (rows[rows["regime"] == r.name]["momentum"], BASE_MOMENTUM[kind])
        for kind, r in paper_regimes(study.regimes).items()
    ]
    return any((there == base).any() for there, base in momenta)


def in_colour(regimes: Sequence[Regime]) -> list[tuple[Regime, str, str]]:
    """The regimes with the one of the paper that they stand for, or "", and their colours."""
    kinds = {regime: kind for kind, regime in paper_regimes(regimes).items()}
    order = list(MAIN)
    ranked = sorted(regimes, key=lambda r: order.index(kinds[r]) if r in kinds else len(order))
    others = cycle(OTHERS)
    return [(r, kinds.get(r, ""), MAIN[kinds[r]] if r in kinds else next(others)) for r in ranked]


def momentum_lines(study: Study, kind: str) -> list[Line]:
    """A line for every momentum of one of the paper's regimes."""
    regime = paper_regimes(study.regimes).get(kind)
    if regime is None:
        return []
    rows = study.by_regime[study.by_regime["regime"] == regime.name]
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


def momentum_stem(kind: str) -> str:
    """Of the names of figures of one regime's momenta."""
    return f"momentum-{kind.lower().replace('/', '')}"


def place(study: Study) -> str:
    return f"on {study.dataset_title} with {study.model_title}"


def at(attack: str, epsilon: float) -> str:
    return f"{attack_name(attack)} accuracy at ε = {epsilon:g}"


NEEDED = ["batch_size", "seed", "status", "undertrained"]  # of a trial, beside the value that is drawn


@dataclass(frozen=True)
class View:
    """What a curve shows of the trials.

    Attributes:
        column: of the table of trials.
        what: it is, in words.
        dashed: how it is drawn.
        attack: the label of the attack whose accuracy it is: points whose trials fail a check of it get a ring.
        share: a fraction, shown in %; else a number.
        is_log: averaged on its logarithm.
    """

    column: str
    what: str
    dashed: bool = False
    attack: str = ""
    share: bool = True
    is_log: bool = False

    def words(self, value: float) -> str:
        return in_words(value, self.is_log or not self.share)


NATURAL = View("test_accuracy", "natural accuracy")
LAMBDA = View("eigenvalue", "λ1", is_log=True)


def under(attack: str, epsilon: float) -> View:
    """The accuracy under an attack."""
    return View(attack_column(attack, epsilon), at(attack, epsilon), dashed=True, attack=attack)


def curve_of(drawing: Drawing, axes: Axes, line: Line, view: View, shift: float = 1.0) -> None:
    """One curve: means, seeds, intervals and bad trials. `shift` multiplies the batch size."""
    if view.column not in line.rows:
        return
    rows = line.rows[NEEDED].assign(
        value=line.rows[view.column].astype(float), ringed=fails(line.rows, view.attack)
    )
    good = rows[
        (rows["status"] == "completed") & rows["value"].notna() & ((rows["value"] > 0) | (not view.is_log))
    ]
    style = DASHES if view.dashed else "-"
    trained = rows.groupby("batch_size").size()
    means = [_Mean.of(cell, view, int(trained[size])) for size, cell in good.groupby("batch_size")]
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
    markers(drawing, axes, line, _seed_points(line, good, view, shift), ".", markersize=3.5, alpha=0.65)
    for hollow in (False, True):
        points = [
            (m.batch_size * shift, m.mean, f"{line.label}, batch size {m.batch_size}: {view.what} {m.words}")
            for m in means
            if m.undertrained == hollow
        ]
        face = PAPER if hollow else line.colour
        markers(drawing, axes, line, points, line.marker, markerfacecolor=face)
    ring(axes, [(m.batch_size * shift, m.mean) for m in means if m.ringed])
    for m in means:
        if m.seeds < m.trained:
            axes.annotate(
                f"{m.seeds} of {m.trained}", (m.batch_size * shift, m.mean), (0, 8), textcoords="offset points",
                color=line.colour, fontsize=8, ha="center", zorder=6,
            )  # fmt: skip
    drawing.values += [_value_row(line.label, mean, view) for mean in means]
    _bad_trials(drawing, axes, line, rows, view, shift)


def fails(trials: pd.DataFrame, attack: str) -> pd.Series:
    """Trials that fail a check of this attack's accuracy, or, where it is empty, none."""
    if not attack:
        return pd.Series(False, trials.index)
    return trials["failed_checks"].map(lambda failed: any(check.concerns(attack) for check in failed))


def ring(axes: Axes, points: Sequence[tuple[float, float]]) -> None:
    """Around points whose trials fail a check."""
    if points:
        x, y = zip(*points, strict=True)
        axes.plot(x, y, "o", color=INK, markerfacecolor="none", markersize=11, markeredgewidth=0.9)


def _seed_points(line: Line, rows: pd.DataFrame, view: View, shift: float) -> list[Point]:
    several = rows.groupby("batch_size")["seed"].transform("size") > 1
    return [
        (
            row["batch_size"] * shift,
            row["value"],
            f"{line.label}, batch size {row['batch_size']}, seed {row['seed']}: {view.what} "
            + view.words(row["value"]),
        )
        for row in rows[several].to_dict("records")
    ]


def _bad_trials(
    drawing: Drawing, axes: Axes, line: Line, rows: pd.DataFrame, view: View, shift: float
) -> None:
    """A cross at its value, or at the bottom: λ1 of a network that has learnt nothing only stretches its axis."""
    bad = rows[(rows["status"] != "completed") | ((rows["value"] <= 0) & view.is_log)]
    for row in bad.to_dict("records"):
        value = float(row["value"])
        shown = value >= 0 and view.share and not view.is_log
        text = f"{line.label}, batch size {row['batch_size']}, seed {row['seed']}: {row['status']}"
        axes.plot(
            row["batch_size"] * shift,
            value if shown else 0.0,
            "x",
            color=line.colour,
            transform=axes.transData if shown else axes.get_xaxis_transform(),
            gid=drawing.says(
                f"{text}, {view.what} {view.words(value) if math.isfinite(value) else 'has no value'}"
            ),
            clip_on=False,
            markeredgewidth=2,
        )
        drawing.values.append(
            {
                "curve": line.label,
                "batch size": str(row["batch_size"]),
                "what": view.what,
                "mean": f"{row['status']}, not in the mean",
                "95 % interval": "",
                "seeds": f"seed {row['seed']}",
            }
        )


@dataclass(frozen=True)
class _Mean:
    """Mean and 95 % interval of a cell over its seeds (Student's t); of the logarithm for λ1."""

    view: View
    batch_size: int
    mean: float
    low: float
    high: float
    seeds: int
    trained: int  # of the seeds, and those that diverged or collapsed
    undertrained: bool
    ringed: bool  # a trial of it fails a check

    @classmethod
    def of(cls, cell: pd.DataFrame, view: View, trained: int) -> "_Mean":
        values = cell["value"].to_numpy(dtype=float)
        numbers = np.log(values) if view.is_log else values
        mean, count = float(numbers.mean()), len(numbers)
        ends = [mean, *map(float, student_interval(numbers) if count > 1 else (mean, mean))]
        mean, low, high = [math.exp(end) for end in ends] if view.is_log else ends
        size = int(cell["batch_size"].iloc[0])
        undertrained, ringed = bool(cell["undertrained"].any()), bool(cell["ringed"].any())
        return cls(view, size, mean, low, high, count, trained, undertrained, ringed)

    @property
    def words(self) -> str:
        interval = f" [{self.view.words(self.low)}, {self.view.words(self.high)}]" if self.seeds > 1 else ""
        return f"{self.view.words(self.mean)}{interval}, {self.count} {'seed' if self.trained == 1 else 'seeds'}{self.notes}"

    @property
    def count(self) -> str:
        """Of how many seeds it is the mean; with those that were trained, where some have learnt nothing."""
        return str(self.seeds) if self.seeds == self.trained else f"{self.seeds} of {self.trained}"

    @property
    def notes(self) -> str:
        return (", under-trained" if self.undertrained else "") + (", fails a check" if self.ringed else "")


def _value_row(label: str, mean: _Mean, view: View) -> dict[str, str]:
    interval = f"{view.words(mean.low)} to {view.words(mean.high)}" if mean.seeds > 1 else "one seed"
    return {
        "curve": label,
        "batch size": str(mean.batch_size),
        "what": view.what,
        "mean": view.words(mean.mean) + mean.notes,
        "95 % interval": interval,
        "seeds": mean.count,
    }


def legend(figure: Figure, lines: Sequence[Line], views: Sequence[View]) -> None:
    """Below the figure: the lines, what is solid and dashed where both are there, and the marks."""
    handles = handles_of(lines)
    dashed = [view for view in views if view.dashed]
    if dashed:
        handles.append(Line2D([], [], color=INK, label="natural"))
        handles.append(Line2D([], [], color=INK, linestyle=DASHES, label=attack_name(dashed[0].attack)))
    rows = pd.concat([line.rows for line in lines])
    figure_key(figure, [*handles, *marks(rows, [view.attack for view in views])], 3)


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
        Line2D([], [], color=INK, marker=m, markerfacecolor=face, markersize=s, linestyle="none", label=label)
        for m, face, s, label in found
    ]


def any_fails(trials: pd.DataFrame, attacks: Sequence[str]) -> bool:
    """Whether a completed trial fails a check of one of these attacks."""
    completed = trials[trials["status"] == "completed"]
    return any(bool(fails(completed, attack).any()) for attack in attacks)


def batch_caption(lines: Sequence[Line], views: Sequence[View]) -> str:
    """How to read curves against the batch size: what of it these have."""
    rows = pd.concat([line.rows for line in lines])
    said = []
    if rows.groupby([rows["regime"], "batch_size", "momentum"]).size().max() > 1:
        logarithm = "; for λ1 on its logarithm" if any(view.is_log for view in views) else ""
        said.append(
            "Lines: mean over the seeds. Small points: single seeds, where they are few. Bars: 95 % interval of the mean "
            f"(Student's t over seeds{logarithm}), cut at 0 and 100 %."
        )
    if any(view.dashed for view in views):
        said.append("Dashed: adversarial accuracy.")
    if rows["undertrained"].any():
        said.append("Hollow markers: under-trained cells.")
    if rows["status"].isin(BAD).any():
        where = ", for λ1 at the bottom whatever its value" if any(view.is_log for view in views) else ""
        said.append(
            f"Crosses: diverged or collapsed trials, not in the mean{where}; numbers: how many of a cell's networks are in it."
        )
    if any_fails(rows, [view.attack for view in views]):
        said.append("Rings: a trial of the cell fails a check of its robustness (see the table of trials).")
    if len(lines) > 1:
        said.append("Curves are set apart a little sideways.")
    return " ".join(said)
