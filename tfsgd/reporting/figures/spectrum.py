"""The spectral density of the Hessian."""

from collections.abc import Iterator, Sequence

import numpy as np
from matplotlib.axes import Axes

from tfsgd.records.record import Record
from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import Curve
from tfsgd.reporting.figures.legend import BatchSizePalette
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.statistics import Array
from tfsgd.reporting.table.studies import Study

SMOOTHING = 0.006  # standard deviation of the Gaussian, as a share of the axis
POINTS = 600  # along the axis
FLOOR = 1e-6  # of the highest density: below it nothing is known

Quadrature = tuple[Array, Array]  # nodes and weights of one probe


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


def _has_nodes(values: dict[str, object]) -> bool:
    return bool(values.get("nodes")) and "weights" in values


def _quadratures(record: Record, label: str) -> Iterator[Quadrature]:
    """Of each probe."""
    found = next((m for m in record.measurements if m.label == label and _has_nodes(m.values)), None)
    if found:
        for nodes, weights in zip(found.values["nodes"], found.values["weights"], strict=True):
            yield np.array(nodes, dtype=float), np.array(weights, dtype=float)


def _spectrum(study: Study, regimes: Sequence[Curve], label: str) -> Drawing | str:
    records = dict(zip(study.trials["folder"], study.records, strict=True))
    found = {
        (regime.label, size): [q for folder in cell["folder"] for q in _quadratures(records[folder], label)]
        for regime in regimes
        for size, cell in regime.cells()
    }
    found = {key: quadratures for key, quadratures in found.items() if quadratures}
    if not found:
        return "The density of the Hessian's eigenvalues: no trial of the regimes' curves has it"
    ends = [end for quadratures in found.values() for nodes, _ in quadratures for end in nodes[[0, -1]]]
    low, high = min(ends), max(ends)
    width = SMOOTHING * (high - low or 1.0)
    x = np.linspace(low - 5 * width, high + 5 * width, POINTS)
    palette = BatchSizePalette.of(curves.sizes_of(regimes))
    caption = (
        "Stochastic Lanczos quadrature, the mean over probes and seeds, one curve a batch size. Each node is "
        f"smoothed by a Gaussian of width {width:.2g}. The bumps at the right are the largest eigenvalues."
    )
    title = f"Density of the Hessian's eigenvalues, {curves.place(study)}"
    drawing = Drawing(f"spectrum-{style.file_name(label)}", title, caption, 3.9, dark=palette.dark)
    shown = [regime for regime in regimes if any(who == regime.label for who, _ in found)]
    panels = drawing.panels(1, len(shown), sharex=True, sharey=True)[0]
    densities = {key: density(quadratures, x, width) for key, quadratures in found.items()}
    bottom = FLOOR * max(float(d.max()) for d in densities.values())
    for axes, regime in zip(panels, shown, strict=True):
        for (who, size), values in densities.items():
            if who == regime.label:
                _density_curve(drawing, axes, (x, values, bottom), (who, size), palette.colours[size])
        axes.set_title(regime.two_lines)
        axes.set_xlabel("eigenvalue")
    ax.log_axis(panels[0], label="density")
    palette.legend(drawing.figure, with_markers=False)
    return drawing


def density(quadratures: Sequence[Quadrature], x: Array, width: float) -> Array:
    """Mean over (nodes, weights) of the weighted Gaussians around the nodes, at the points of the axis."""
    total = np.zeros_like(x)
    for nodes, weights in quadratures:
        bells = np.exp(-0.5 * ((x[:, None] - nodes) / width) ** 2) / (width * np.sqrt(2 * np.pi))
        total += bells @ weights
    return total / len(quadratures)


def _density_curve(
    drawing: Drawing, axes: Axes, curve: tuple[Array, Array, float], whose: tuple[str, int], colour: str
) -> None:
    x, values, bottom = curve
    label, size = whose
    seen = np.where(values >= bottom, values, np.nan)
    axes.plot(x, seen, color=colour, linewidth=1.3, gid=drawing.tooltip(f"{label}, batch size {size}"))
    middle = float(np.interp(0.5, np.cumsum(values) / values.sum(), x))
    row = {"curve": label, "batch size": f"{size}", "median eigenvalue": f"{middle:.2g}"}
    reach = x[values >= bottom]
    drawing.values.append(row | {"from": f"{reach[0]:.3g}", "to": f"{reach[-1]:.3g}"})
