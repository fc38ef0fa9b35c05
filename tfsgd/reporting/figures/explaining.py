"""Figures of what may explain robustness: the Hessian's spectrum, the smallest ε, and how sure the networks are."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfsgd.records.record import Record
from tfsgd.reporting.figures.curves import (
    View,
    batch_caption,
    curve_of,
    legend,
    momentum_lines,
    momentum_stem,
    place,
    regime_lines,
)
from tfsgd.reporting.figures.style import (
    INK,
    PAPER,
    WIDTH,
    Drawing,
    Line,
    Made,
    Sizes,
    batch_axis,
    figure_key,
    file_name,
    handles_of,
    log_axis,
    markers,
    percent_axis,
    set_apart,
)
from tfsgd.reporting.paper import MOMENTUM_FIGURES, attack_name
from tfsgd.reporting.statistics import Array
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study

# Spectral density

SMOOTHING = 0.006  # standard deviation of the Gaussian, as a share of the axis
POINTS = 600  # along the axis
FLOOR = 1e-6  # of the highest density: below it nothing is known


def spectrum_figures(study: Study) -> Made:
    """The density of the Hessian's eigenvalues, a panel a regime, a curve a batch size."""
    labels = sorted(
        {m.label for record in study.records for m in record.measurements if _has_nodes(m.values)}
    )
    lines = regime_lines(study)
    if not labels or not lines:
        yield "The density of the Hessian's eigenvalues: it was not measured (curvature: spectrum)"
        return
    for label in labels:
        yield from _spectrum(study, lines, label)


def _has_nodes(values: dict[str, object]) -> bool:
    return bool(values.get("nodes")) and "weights" in values


def _quadratures(record: Record, label: str) -> Iterator[tuple[Array, Array]]:
    """Nodes and weights of each probe."""
    found = next((m for m in record.measurements if m.label == label and _has_nodes(m.values)), None)
    if found:
        for nodes, weights in zip(found.values["nodes"], found.values["weights"], strict=True):
            yield np.array(nodes, dtype=float), np.array(weights, dtype=float)


def _spectrum(study: Study, lines: Sequence[Line], label: str) -> Made:
    by_folder = dict(zip(study.trials["folder"], study.records, strict=True))
    found = {
        (line.label, int(size)): [
            q for folder in cell["folder"] for q in _quadratures(by_folder[folder], label)
        ]
        for line in lines
        for size, cell in line.rows[line.rows["status"] == "completed"].groupby("batch_size")
    }
    found = {key: quadratures for key, quadratures in found.items() if quadratures}
    if not found:
        yield "The density of the Hessian's eigenvalues: no trial of the regimes' curves has it"
        return
    ends = [end for quadratures in found.values() for nodes, _ in quadratures for end in nodes[[0, -1]]]
    low, high = min(ends), max(ends)
    width = SMOOTHING * (high - low or 1.0)
    axis = np.linspace(low - 5 * width, high + 5 * width, POINTS)
    sizes = Sizes.of(lines)
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    caption = (
        "Stochastic Lanczos quadrature, the mean over probes and seeds, one curve a batch size. Each node is "
        f"smoothed by a Gaussian of width {width:.2g}. The bumps at the right are the largest eigenvalues."
    )
    title = f"Density of the Hessian's eigenvalues, {place(study)}"
    drawing = Drawing(f"spectrum-{file_name(label)}", title, caption, figure, dark=sizes.dark)
    shown = [line for line in lines if any(who == line.label for who, _ in found)]
    panels = figure.subplots(1, len(shown), sharex=True, sharey=True, squeeze=False)[0]
    densities = {key: density(quadratures, axis, width) for key, quadratures in found.items()}
    bottom = FLOOR * max(float(d.max()) for d in densities.values())
    for axes, line in zip(panels, shown, strict=True):
        for (who, size), values in densities.items():
            if who == line.label:
                _density_curve(drawing, axes, (axis, values, bottom), (who, size), sizes.colours[size])
        axes.set_title(line.two_lines)
        axes.set_xlabel("eigenvalue")
    log_axis(panels[0])
    panels[0].set_ylabel("density")
    sizes.key(figure, with_markers=False)
    yield drawing


def density(quadratures: Sequence[tuple[Array, Array]], axis: Array, width: float) -> Array:
    """Mean over (nodes, weights) of the weighted Gaussians around the nodes, at the points of the axis."""
    total = np.zeros_like(axis)
    for nodes, weights in quadratures:
        bells = np.exp(-0.5 * ((axis[:, None] - nodes) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        total += bells @ weights
    return total / len(quadratures)


def _density_curve(
    drawing: Drawing, axes: Axes, curve: tuple[Array, Array, float], whose: tuple[str, int], colour: str
) -> None:
    axis, values, bottom = curve
    label, size = whose
    text = f"{label}, batch size {size}"
    seen = np.where(values >= bottom, values, np.nan)
    axes.plot(axis, seen, color=colour, linewidth=1.3, gid=drawing.says(text))
    middle = float(np.interp(0.5, np.cumsum(values) / values.sum(), axis))
    row = {"curve": label, "batch size": f"{size}", "median eigenvalue": f"{middle:.2g}"}
    reach = axis[values >= bottom]
    drawing.values.append(row | {"from": f"{reach[0]:.3g}", "to": f"{reach[-1]:.3g}"})


# The smallest epsilon that breaks an image


QUARTILES = ("lower_quartile", "median", "upper_quartile")


def smallest_epsilon_figures(study: Study) -> Made:
    """Median and quartiles, over the images, of the smallest ε that breaks each."""
    lines = regime_lines(study)
    if not study.searched or not lines:
        yield "The smallest ε for each image: it was not measured (attacks: minimal)"
        return
    for key in study.searched:
        yield _smallest(study, lines, key)
        for kind in MOMENTUM_FIGURES:
            several = momentum_lines(study, kind)
            if len(several) > 1:
                yield _smallest(study, several, key, kind)


@dataclass(frozen=True)
class _Quartiles:
    """Of a cell, means over its seeds; `None`: in some seed so many images hold out at the bound."""

    batch_size: int
    seeds: int
    lower: float | None
    median: float | None
    upper: float | None

    @classmethod
    def of(cls, cell: pd.DataFrame, stem: str) -> "_Quartiles":
        columns = [cell[f"{stem}_{name}"].astype(float) for name in QUARTILES]
        means = [None if column.isna().any() else float(column.mean()) for column in columns]
        return cls(int(cell["batch_size"].iloc[0]), len(cell), *means)


def _smallest(study: Study, lines: Sequence[Line], key: tuple[str, float], momenta_of: str = "") -> Drawing:
    attack, bound = key
    stem = attack_column(attack, bound)
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    whose = f"momenta of {momenta_of}, " if momenta_of else ""
    title = (
        f"Smallest ε that breaks an image, {whose}{place(study)}, {attack_name(attack)} up to ε = {bound:g}"
    )
    name = f"smallest-{file_name(attack)}-{bound:g}"
    drawing = Drawing(f"{name}-{momentum_stem(momenta_of)}" if momenta_of else name, title, "", figure)
    axes = figure.subplots()
    censored = hollow = False
    for line, shift in set_apart(lines):
        rows = line.rows[(line.rows["status"] == "completed") & line.rows[f"{stem}_censored"].notna()]
        cells = [_Quartiles.of(cell, stem) for _, cell in rows.groupby("batch_size")]
        censored |= any(None in (q.lower, q.median, q.upper) for q in cells)
        hollow |= any(q.median is None for q in cells)
        _quartile_curve(drawing, axes, line, cells, (shift, bound))
    drawing.caption = (
        "Markers: the median over the images, mean over the seeds; bars: from the lower to the upper quartile. An "
        "image that is misclassified unchanged counts as 0."
    )
    if censored:
        drawing.caption += (
            f" Where a quartile is not reached at ε = {bound:g}, the bar ends there, and a median that is not stands "
            "there with a hollow marker: it is larger than shown."
        )
    batch_axis(axes, lines)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("smallest ε")
    handles = handles_of(lines)
    if hollow:
        label = f"median above {bound:g}"
        handles.append(
            Line2D([], [], color=INK, marker="o", markerfacecolor=PAPER, linestyle="none", label=label)
        )
    figure_key(figure, handles, 3)
    return drawing


def _quartile_curve(
    drawing: Drawing, axes: Axes, line: Line, cells: Sequence[_Quartiles], at: tuple[float, float]
) -> None:
    shift, bound = at
    known = [(q.batch_size * shift, q.median) for q in cells if q.median is not None]
    if known:
        axes.plot(*zip(*known, strict=True), color=line.colour)

    def or_bound(value: float | None) -> float:
        return bound if value is None else value

    x = [q.batch_size * shift for q in cells]
    axes.vlines(
        x, [or_bound(q.lower) for q in cells], [or_bound(q.upper) for q in cells], line.colour, lw=1.1
    )
    for hollow in (False, True):
        points = [
            (
                q.batch_size * shift,
                or_bound(q.median),
                f"{line.label}, batch size {q.batch_size}: {_said(q, bound)}",
            )
            for q in cells
            if (q.median is None) == hollow
        ]
        markers(drawing, axes, line, points, line.marker, markerfacecolor=PAPER if hollow else line.colour)
    for q in cells:
        quartiles = zip(
            ("lower quartile", "median", "upper quartile"), (q.lower, q.median, q.upper), strict=True
        )
        row = {"curve": line.label, "batch size": f"{q.batch_size}"}
        drawing.values.append(
            row | {name: _bounded(v, bound) for name, v in quartiles} | {"seeds": f"{q.seeds}"}
        )


def _bounded(value: float | None, bound: float) -> str:
    return f"above {bound:g}" if value is None else f"{value:.3g}"


def _said(q: _Quartiles, bound: float) -> str:
    return f"median {_bounded(q.median, bound)}, quartiles {_bounded(q.lower, bound)} and {_bounded(q.upper, bound)}"


# Confidence and margin


def certainty_figures(study: Study) -> Made:
    """Mean confidence and mean logit margin on the test images against the batch size."""
    lines = regime_lines(study)
    if "confidence" not in study.trials or not study.trials["confidence"].notna().any() or not lines:
        yield "Confidence and margin: they were not measured"
        return
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    views = [View("confidence", "mean confidence"), View("margin", "mean margin", share=False)]
    caption = batch_caption(lines, views)
    caption += " Confidence: the largest softmax output. Margin: the logit of the true class minus the largest other one."
    drawing = Drawing("certainty", f"Confidence and margin on test images, {place(study)}", caption, figure)
    panels = figure.subplots(1, 2)
    for line, shift in set_apart(lines):
        for axes, view in zip(panels, views, strict=True):
            curve_of(drawing, axes, line, view, shift)
    for axes in panels:
        batch_axis(axes, lines)
    percent_axis(panels[0], "mean confidence")
    panels[1].set_ylabel("mean margin (logits)")
    legend(figure, lines, views)
    yield drawing
