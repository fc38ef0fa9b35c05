"""A panel a regime and a colour a batch size: accuracy against epsilon, and the spectral density of the Hessian."""

from collections.abc import Iterator, Mapping, Sequence
from itertools import cycle
from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter

from tfsgd.records.record import Record
from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import Curve
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import MARKERS, Drawing, FigureResult, handle, legend
from tfsgd.reporting.paper import attack_name, percent
from tfsgd.reporting.statistics import Array
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study

SMOOTHING = 0.006  # standard deviation of the Gaussian, as a share of the axis
POINTS = 600  # along the axis
FLOOR = 1e-6  # of the highest density: below it nothing is known

Quadrature = tuple[Array, Array]  # nodes and weights of one probe


class BatchSizePalette(NamedTuple):
    """A colour and a marker for each batch size."""

    colours: Mapping[int, str]
    markers: Mapping[int, str]

    def legend(self, drawing: Drawing, with_markers: bool = False, more: Sequence[Line2D] = ()) -> None:
        """The colours, and what else there is."""
        handles = [
            handle(f"{b}", color=colour, marker=self.markers[b] if with_markers else "")
            for b, colour in self.colours.items()
        ]
        legend(drawing.figure, [*handles, *more], min(len(handles) + len(more), 4), "batch size")


def by_palette(
    head: tuple[str, str, str, float], lines: Sequence[Curve], rows: int = 1, **shared: Any
) -> tuple[Drawing, Any, BatchSizePalette]:
    """An empty figure, its axes `(rows, regimes)` below the regimes' names, and the colours of the batch sizes.

    Args:
        head: name, title, caption and height of the figure.
        lines: a regime each.
        rows: of panels.
        shared: which axes are, as of matplotlib's `subplots`.
    """
    sizes = curves.sizes_of(lines)
    pairs = style.sequence(len(sizes))
    drawing = Drawing(*head, dark={**style.DARK, **dict(pairs)})
    grid = drawing.panels(rows, len(lines), **shared)
    for axes, line in zip(grid[0], lines, strict=True):
        # The layout leaves titles no room of their own.
        axes.set_title(line.two_lines, fontsize="medium" if len(lines) < 4 else "small")
    colours = {b: light for b, (light, _) in zip(sizes, pairs, strict=True)}
    return drawing, grid, BatchSizePalette(colours, dict(zip(sizes, cycle(MARKERS), strict=False)))


# Accuracy against epsilon


@figure("attacks", extra=True)
def epsilon_curves(study: Study) -> FigureResult:
    """Accuracy against epsilon, one curve a batch size."""
    regimes = curves.regime_curves(study)
    if not regimes or not study.attacks:
        yield "Accuracy against ε: no trial was attacked"
        return
    for attack, epsilons in study.epsilons.items():
        yield _accuracy_against_epsilon(study, regimes, attack, epsilons)


def _accuracy_against_epsilon(
    study: Study, regimes: Sequence[Curve], attack: str, epsilons: Sequence[float]
) -> Drawing:
    title = f"Accuracy against ε under {attack_name(attack)}, {study.place}"
    caption = (
        "Mean over the seeds, one curve a batch size; ε = 0 is natural accuracy. The axis of ε is a square "
        "root, so that small ε can be told apart."
    )
    of_paper = [e for e in epsilons if e == study.paper_epsilon]
    more = [handle("the paper's ε", linewidth=0.8, linestyle=":") for _ in of_paper]
    if any(curve.rows["undertrained"].any() for curve in regimes):
        caption += " Dashed, with hollow markers: under-trained cells."
        more.append(handle("under-trained", linestyle=style.DASHES, marker="o", markerfacecolor=style.PAPER))
    head = (f"epsilon-{style.file_name(attack)}", title, caption, 3.7)
    drawing, [panels], palette = by_palette(head, regimes, sharey=True)
    columns = {0.0: "test_accuracy"} | {e: attack_column(attack, e) for e in epsilons}
    for axes, of_regime in zip(panels, regimes, strict=True):
        _epsilon_curves(drawing, axes, of_regime, palette, columns)
        axes.set_xlim(0, 1.08 * max(epsilons) or 1)
        axes.set_xscale("function", functions=(np.sqrt, np.square))
        axes.xaxis.set_major_locator(FixedLocator([0.0, *epsilons]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda e, _: f"{e:g}"))
        axes.tick_params(axis="x", labelrotation=60)
        axes.set_xlabel("ε")
        for e in of_paper:
            axes.axvline(e, color=style.INK, linewidth=0.8, linestyle=":")
    ax.percent_axis(panels[0], f"{attack_name(attack)} accuracy")
    palette.legend(drawing, with_markers=True, more=more)
    return drawing


def _epsilon_curves(
    drawing: Drawing, axes: Axes, regime: Curve, palette: BatchSizePalette, columns: Mapping[float, str]
) -> None:
    """One regime's curves; `columns` has the column of each epsilon."""
    for size, cell in regime.cells():
        curve = Curve(regime.label, palette.colours[size], palette.markers[size], cell)
        means = {e: float(cell[column].mean()) for e, column in columns.items() if cell[column].notna().any()}
        undertrained = bool(cell["undertrained"].any())
        dashes = style.DASHES if undertrained else "-"
        axes.plot(list(means), list(means.values()), color=curve.colour, linestyle=dashes)
        said = {e: (f"{e:g}", percent(mean)) for e, mean in means.items()}
        label = f"{regime.label}, batch size {size}"
        points = [(e, means[e], f"{label}, ε = {at}: {words}") for e, (at, words) in said.items()]
        face = style.PAPER if undertrained else curve.colour
        curves.markers(drawing, axes, curve, points, curve.marker, 0.8, markerfacecolor=face)
        drawing.values += [
            {"curve": regime.label, "batch size": f"{size}", "ε": at, "mean": words}
            | {"seeds": f"{cell[columns[e]].count()}"}
            for e, (at, words) in said.items()
        ]


# The spectral density of the Hessian


@figure("edge")
def spectrum(study: Study) -> FigureResult:
    """The density of the Hessian's eigenvalues, a panel a regime, a curve a batch size."""
    labels = sorted(
        {m.label for record in study.records for m in record.measurements if _has_nodes(m.values)}
    )
    regimes = curves.regime_curves(study)
    if not labels or not regimes:
        yield "The density of the Hessian's eigenvalues: it was not measured (curvature: spectrum)"
        return
    for label in labels:
        yield _spectrum(study, regimes, label)


def _has_nodes(values: Mapping[str, object]) -> bool:
    return bool(values.get("nodes")) and "weights" in values


def _quadratures(record: Record, label: str) -> Iterator[Quadrature]:
    """Of each probe."""
    found = [m for m in record.measurements if m.label == label and _has_nodes(m.values)]
    for m in found[:1]:
        for nodes, weights in zip(m.values["nodes"], m.values["weights"], strict=True):
            yield np.array(nodes, dtype=float), np.array(weights, dtype=float)


def _spectrum(study: Study, regimes: Sequence[Curve], label: str) -> Drawing | str:
    records = dict(zip(study.trials["folder"], study.records, strict=True))
    found: dict[str, dict[int, list[Quadrature]]] = {}
    for regime in regimes:
        for size, cell in regime.cells():
            if of := [q for folder in cell["folder"] for q in _quadratures(records[folder], label)]:
                found.setdefault(regime.label, {})[size] = of
    if not found:
        return "The density of the Hessian's eigenvalues: no trial of the regimes' curves has it"
    ends = [e for of in found.values() for qs in of.values() for nodes, _ in qs for e in nodes[[0, -1]]]
    low, high = min(ends), max(ends)
    width = SMOOTHING * (high - low or 1.0)
    x = np.linspace(low - 5 * width, high + 5 * width, POINTS)
    caption = (
        "Stochastic Lanczos quadrature, the mean over probes and seeds, one curve a batch size. Each node is "
        f"smoothed by a Gaussian of width {width:.2g}. The bumps at the right are the largest eigenvalues."
    )
    title = f"Density of the Hessian's eigenvalues, {study.place}"
    head = (f"spectrum-{style.file_name(label)}", title, caption, 3.9)
    shown = [regime for regime in regimes if regime.label in found]
    drawing, [panels], palette = by_palette(head, shown, sharex=True, sharey=True)
    densities = {of: {b: density(qs, x, width) for b, qs in sizes.items()} for of, sizes in found.items()}
    bottom = FLOOR * max(float(values.max()) for of in densities.values() for values in of.values())
    for axes, (who, of_regime) in zip(panels, densities.items(), strict=True):
        axes.set_xlabel("eigenvalue")
        for size, values in of_regime.items():
            gid = drawing.tooltip(f"{who}, batch size {size}")
            seen = np.where(values >= bottom, values, np.nan)
            axes.plot(x, seen, color=palette.colours[size], linewidth=1.3, gid=gid)
            middle, reach = float(np.interp(0.5, np.cumsum(values) / values.sum(), x)), x[values >= bottom]
            where = {"from": f"{reach[0]:.3g}", "to": f"{reach[-1]:.3g}"}
            row = {"curve": who, "batch size": f"{size}", "median eigenvalue": f"{middle:.2g}", **where}
            drawing.values.append(row)
    ax.log_axis(panels[0], label="density")
    palette.legend(drawing)
    return drawing


def density(quadratures: Sequence[Quadrature], x: Array, width: float) -> Array:
    """Mean over (nodes, weights) of the weighted Gaussians around the nodes, at the points of the axis."""
    total = np.zeros_like(x)
    for nodes, weights in quadratures:
        bells = np.exp(-0.5 * ((x[:, None] - nodes) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        total += bells @ weights
    return total / len(quadratures)
