"""Natural accuracy, the smallest epsilon and λ1 against the batch size: the regimes, and one regime's momenta."""

from collections.abc import Sequence

from tfsgd.reporting import paper
from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves
from tfsgd.reporting.figures.curves import LAMBDA, NATURAL, SMALLEST, Curve
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.table.studies import Study


@figure("overview")
def overview(study: Study) -> FigureResult:
    """The regimes."""
    lines = curves.regime_curves(study)
    if lines:
        yield _three_panels(lines, "overview", f"The regimes, {curves.place(study)}", 3.0)


@figure("momentum")
def momenta(study: Study) -> FigureResult:
    """LR and LR/BS at several momenta."""
    for kind in paper.MOMENTUM_FIGURES:
        lines = curves.momentum_curves(study, kind)
        if len(lines) < 2:
            found = ", ".join(line.label for line in lines) or "none"
            yield f"Momenta of {kind}: they need two, found {found}"
            continue
        yield _three_panels(
            lines, curves.momentum_stem(kind), f"Momenta of {kind}, {curves.place(study)}", 3.2
        )


def _three_panels(lines: Sequence[Curve], name: str, title: str, height: float) -> Drawing:
    shown = [
        series
        for series in (NATURAL, SMALLEST, LAMBDA)
        if any(series.column in line.rows and line.rows[series.column].notna().any() for line in lines)
    ] or [NATURAL]
    drawing = Drawing(name, title, curves.batch_caption(lines, shown), height)
    panels = drawing.panels(1, len(shown))[0]
    curves.draw(drawing, lines, [*zip(panels, shown, strict=True)])
    curves.batch_axes(panels, lines)
    for axes, series in zip(panels, shown, strict=True):
        if series.is_log:
            ax.log_axis(axes)
        else:
            ax.percent_axis(axes, "")
            axes.set_ylabel("")
        axes.set_title(f"{series.what} (%)" if series.is_share else series.what)
    curves.curve_legend(drawing.figure, lines, [])
    return drawing
