"""Figures that go beyond the paper."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from tfsgd.reporting.figures.curves import (
    View,
    any_fails,
    batch_caption,
    curve_of,
    fails,
    in_colour,
    marks,
    place,
    regime_lines,
    ring,
    under,
)
from tfsgd.reporting.figures.style import (
    DASHES,
    INK,
    MARKERS,
    PAPER,
    WIDTH,
    Drawing,
    Line,
    Made,
    Sizes,
    batch_axis,
    eigenvalue_axis,
    figure_key,
    file_name,
    handles_of,
    in_words,
    markers,
    percent_axis,
    set_apart,
)
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.cell import Cell
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.regime_labels import with_first_regime
from tfsgd.reporting.table.studies import Study

MANY_TRIALS = 500  # above which one point a trial is a cloud


# Against epsilon


def epsilon_figures(study: Study) -> Made:
    """Accuracy against epsilon, one curve a batch size."""
    lines = regime_lines(study)
    if not lines or not study.attacks:
        yield "Accuracy against ε: no trial was attacked"
        return
    for attack, epsilons in study.epsilons.items():
        yield _accuracy_against_epsilon(study, lines, attack, epsilons)


def _accuracy_against_epsilon(
    study: Study, lines: Sequence[Line], attack: str, epsilons: Sequence[float]
) -> Drawing:
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    title = f"Accuracy against ε under {attack_name(attack)}, {place(study)}"
    caption = (
        "Mean over the seeds, one curve a batch size; ε = 0 is natural accuracy. The axis of ε is a square "
        "root, so that small ε can be told apart."
    )
    any_undertrained = any(line.rows["undertrained"].any() for line in lines)
    if any_undertrained:
        caption += " Dashed, with hollow markers: under-trained cells."
    sizes = Sizes.of(lines)
    drawing = Drawing(f"epsilon-{file_name(attack)}", title, caption, figure, dark=sizes.dark)
    panels = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
    columns = {0.0: "test_accuracy"} | {e: attack_column(attack, e) for e in epsilons}
    for axes, line in zip(panels, lines, strict=True):
        _epsilon_curves(drawing, axes, line, sizes, columns)
        _epsilon_axis(axes, epsilons)
        if study.paper_epsilon in epsilons:
            axes.axvline(study.paper_epsilon, color=INK, linewidth=0.8, linestyle=":")
        axes.set_title(line.two_lines)
    percent_axis(panels[0], f"{attack_name(attack)} accuracy")
    more = []
    if study.paper_epsilon in epsilons:
        more.append(Line2D([], [], color=INK, linewidth=0.8, linestyle=":", label="the paper's ε"))
    if any_undertrained:
        dashed = Line2D([], [], color=INK, linestyle=DASHES, marker="o", markerfacecolor=PAPER)
        dashed.set_label("under-trained")
        more.append(dashed)
    sizes.key(figure, with_markers=True, more=more)
    return drawing


def _epsilon_curves(
    drawing: Drawing, axes: Axes, line: Line, sizes: Sizes, columns: Mapping[float, str]
) -> None:
    """One regime's curves; `columns` has the column of each epsilon."""
    completed = line.rows[line.rows["status"] == "completed"]
    for _, cell in completed.groupby("batch_size"):
        size = int(cell["batch_size"].iloc[0])
        curve = Line(line.label, sizes.colours[size], sizes.marker(size), cell)
        means = {e: float(cell[column].mean()) for e, column in columns.items() if cell[column].notna().any()}
        undertrained = bool(cell["undertrained"].any())
        style = DASHES if undertrained else "-"
        axes.plot(list(means), list(means.values()), color=curve.colour, linestyle=style)
        says = f"{line.label}, batch size {size}, ε = "
        points = [(e, mean, f"{says}{e:g}: {in_words(mean)}") for e, mean in means.items()]
        face = PAPER if undertrained else curve.colour
        markers(drawing, axes, curve, points, curve.marker, markersize=5, markerfacecolor=face)
        for e, mean in means.items():
            row = {"curve": line.label, "batch size": str(size), "ε": f"{e:g}", "mean": in_words(mean)}
            drawing.values.append(row | {"seeds": f"{cell[columns[e]].count()}"})


def _epsilon_axis(axes: Axes, epsilons: Sequence[float]) -> None:
    axes.set_xlim(0, 1.08 * max(epsilons) or 1)
    axes.set_xscale("function", functions=(np.sqrt, np.square))
    axes.xaxis.set_major_locator(FixedLocator([0.0, *epsilons]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda e, _: f"{e:g}"))
    axes.tick_params(axis="x", labelrotation=60)
    axes.set_xlabel("ε")


# Against the eigenvalue


def curvature_figures(study: Study) -> Made:
    """λ1 against adversarial accuracy, and against the smallest epsilon, one point a trial."""
    if not study.attacks:
        yield "λ1 against adversarial accuracy: no trial was attacked"
    for attack, epsilons in study.epsilons.items():
        views = {
            f"ε = {e:g}" + (" (the paper's)" if e == study.paper_epsilon else ""): under(attack, e)
            for e in epsilons
        }
        yield _against_curvature(study, f"{attack_name(attack)} accuracy", views)
    for attack in dict(study.searched):
        medians = {e: f"{attack_column(attack, e)}_median" for label, e in study.searched if label == attack}
        views = {
            f"up to ε = {e:g}": View(column, "median smallest ε", attack=attack, share=False)
            for e, column in medians.items()
            if study.trials[column].notna().any()
        }
        if views:
            yield _against_curvature(study, f"the smallest ε ({attack_name(attack)})", views)
        else:
            yield f"λ1 against the smallest ε ({attack_name(attack)}): of no trial half of the images are broken"


def _against_curvature(study: Study, what: str, views: Mapping[str, View]) -> Drawing:
    """A panel a view, under its title; all are of one attack."""
    first = next(iter(views.values()))
    attack, is_share = first.attack, first.share
    columns = min(2, len(views))
    rows = math.ceil(len(views) / columns)
    figure = Figure(figsize=(WIDTH, 1.0 + 2.5 * rows), layout="constrained")
    many = len(study.trials) > MANY_TRIALS
    caption = (
        f"One point a {'cell, the mean over its seeds' if many else 'trial'}, every regime and momentum; what "
        f"belongs to two regimes has the first one's colour.{' All panels have one range of accuracy.' * is_share} "
        "If λ1 explained robustness, the points would fall from left to right within every colour."
    )
    if study.trials["undertrained"].any():
        caption += " Hollow markers: under-trained."
    if (study.trials["status"] == "collapsed").any():
        caption += " Crosses at the left edge: collapsed, whatever their λ1."
    if any_fails(study.trials, [attack]):
        caption += " Rings: the trial fails a check of its robustness (see the table of trials)."
    drawing = Drawing(f"curvature-{file_name(attack)}", f"λ1 against {what}, {place(study)}", caption, figure)
    panels = figure.subplots(rows, columns, sharex=True, sharey=True, squeeze=False).ravel()
    looks = Looks.of(study)
    for axes, (name, view) in zip(panels, views.items(), strict=False):
        _curvature_points(drawing, axes, looks, view)
        axes.set_title(name)
    for axes in panels[: len(views)]:  # once all are drawn: a range that is set takes no more points in
        percent_axis(axes, "accuracy") if is_share else axes.set(ylabel="median smallest ε")
        eigenvalue_axis(axes, "x")
        if axes not in panels[len(views) - columns :]:
            axes.set_xlabel("")
    for axes in panels[len(views) :]:
        axes.set_visible(False)
    figure_key(figure, [*looks.key(), *marks(study.trials, [attack])], 4)
    return drawing


@dataclass(frozen=True)
class Looks:
    """The trials, each under its first regime, with a colour a regime and a marker a momentum."""

    trials: pd.DataFrame
    colours: Mapping[str, str]
    momenta: Sequence[float]

    @classmethod
    def of(cls, study: Study) -> "Looks":
        regimes = study.regimes
        trials = with_first_regime(study.trials, regimes)
        there = set(trials["regime"])
        colours = {r.name: colour for r, _, colour in in_colour(regimes) if r.name in there}
        return cls(trials, colours, sorted(trials["momentum"].unique()))

    def marker(self, momentum: float) -> str:
        return MARKERS[self.momenta.index(momentum) % len(MARKERS)]

    def key(self) -> list[Line2D]:
        regimes = [
            Line2D([], [], color=colour, marker="o", linestyle="none", label=name)
            for name, colour in self.colours.items()
        ]
        return regimes + [
            Line2D([], [], color=INK, marker=self.marker(m), linestyle="none", label=f"momentum {m:g}")
            for m in self.momenta
        ]


def _curvature_points(drawing: Drawing, axes: Axes, looks: Looks, view: View) -> None:
    column = view.column
    shown = looks.trials[looks.trials["eigenvalue"] > 0].dropna(subset=[column])
    doubtful = shown[fails(shown, view.attack) & (shown["status"] == "completed")]
    ring(axes, list(zip(doubtful["eigenvalue"], doubtful[column], strict=True)))
    shown = shown.assign(who=[f"seed {seed}" for seed in shown["seed"]])
    if len(looks.trials) > MANY_TRIALS:
        shown = _cell_means(shown, column)
    alike = ["regime", "momentum", "undertrained", shown["status"] != "completed"]
    for (regime, momentum, undertrained, is_bad), rows in shown.groupby(alike):
        colour = looks.colours[regime]
        texts = [_said(row, view) for row in rows.to_dict("records")]
        axes.plot(
            [0.0] * len(rows) if is_bad else rows["eigenvalue"],
            rows[column],
            "x" if is_bad else looks.marker(momentum),
            color=colour,
            markerfacecolor=PAPER if undertrained else colour,
            markersize=5,
            gid=drawing.says(*texts),
            linestyle="none",
            transform=axes.get_yaxis_transform() if is_bad else axes.transData,
            clip_on=not is_bad,
        )


def _said(row: Mapping[Any, Any], view: View) -> str:
    return (
        f"{row['regime']}, batch size {row['batch_size']}, momentum {row['momentum']:g}, {row['who']}: "
        f"λ1 {row['eigenvalue']:.3g}, {view.what} {view.words(row[view.column])}"
    )


def _cell_means(trials: pd.DataFrame, column: str) -> pd.DataFrame:
    """The means of the cells over their seeds, of λ1 on its logarithm; trials of another status by themselves."""
    keys = [*Cell._fields, "status"]
    log = trials.assign(eigenvalue=np.log(trials["eigenvalue"]), seeds=1)
    how = {"eigenvalue": "mean", column: "mean", "undertrained": "any", "seeds": "sum"}
    means = log.groupby(keys, as_index=False).agg(how)
    return means.assign(
        eigenvalue=np.exp(means["eigenvalue"]), who=[f"mean of {n} seeds" for n in means["seeds"]]
    )


# Over training


def gap_figures(study: Study) -> Made:
    """The gap between train and test accuracy against the batch size."""
    lines = [
        Line(
            x.label, x.colour, x.marker, x.rows.assign(gap=x.rows["train_accuracy"] - x.rows["test_accuracy"])
        )
        for x in regime_lines(study)
    ]
    if not lines:
        return
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    title = f"Train accuracy, and its gap to test accuracy, {place(study)}"
    views = [View("train_accuracy", "train accuracy"), View("gap", "train minus test accuracy")]
    drawing = Drawing("gap", title, batch_caption(lines, views), figure)
    left, right = figure.subplots(1, 2)
    for line, shift in set_apart(lines):
        for axes, view in zip((left, right), views, strict=True):
            curve_of(drawing, axes, line, view, shift)
    for axes, label in ((left, "train accuracy"), (right, "train minus test")):
        batch_axis(axes, lines)
        percent_axis(axes, label, share=label == "train accuracy")
    figure_key(figure, handles_of(lines), 3)
    yield drawing
