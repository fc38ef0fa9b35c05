"""The spectral density of the Hessian."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfsgd.records.record import Record
from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import Curve
from tfsgd.reporting.figures.palette import by_palette
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
            drawing.values.append(_row(who, size, x, values, bottom))
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


def _row(who: str, size: int, x: Array, values: Array, bottom: float) -> dict[str, str]:
    """Where the density is, for the table under the figure."""
    middle, reach = float(np.interp(0.5, np.cumsum(values) / values.sum(), x)), x[values >= bottom]
    ends = {"from": f"{reach[0]:.3g}", "to": f"{reach[-1]:.3g}"}
    return {"curve": who, "batch size": f"{size}", "median eigenvalue": f"{middle:.2g}", **ends}
