"""The edge of stability: λ1 and what it cannot stay above for long."""

from collections.abc import Sequence

import pandas as pd
from matplotlib.axes import Axes

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import Curve, Series
from tfsgd.reporting.figures.legend import Marks, handle, legend
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.scatter import ScatterStyle, who
from tfsgd.reporting.figures.style import INK, CellValue, Drawing, FigureResult
from tfsgd.reporting.table.cell import is_plain
from tfsgd.reporting.table.studies import Study

DESCENT = Series("descent_eigenvalue", "λ1", is_share=False, is_log=True)
CEILING, PLATEAU = "2(1+γ)/η", "2(1−γ)/η"
THIN = 0.9


@figure("edge")
def edge(study: Study) -> FigureResult:
    """λ1 against the batch size with its ceiling, and how near to it the trials come."""
    if not study.trials["descent_eigenvalue"].notna().any():
        reason = "λ1 was not measured"
        if study.trials["eigenvalue"].notna().any():
            reason = "with BatchNorm they need λ1 in training mode (hessian.mode: training)"
        yield f"The edge of stability: {reason}"
        return
    title = f"λ1 and its ceiling, {curves.place(study)}"
    lines = curves.regime_curves(study)
    if lines:
        yield _against_ceiling(lines, "edge", title)
    for kind in ("LR", "LR/BS"):
        lines = curves.momentum_curves(study, kind)
        if len(lines) > 1:
            drawing = _against_ceiling(
                lines, f"edge-{curves.momentum_stem(kind)}", f"{title}: momenta of {kind}"
            )
            drawing.extra = True
            yield drawing
    yield _ratios(study)


# Against the batch size


def _against_ceiling(lines: Sequence[Curve], name: str, title: str) -> Drawing:
    caption, handles = curves.batch_caption(lines, [DESCENT]), curves.handles_of(lines)
    bounded = [line for line in lines if is_plain(line.rows).all()]
    if bounded:
        caption += (
            f" Thin lines: the ceiling {CEILING} of the curve of the same colour, above which gradient descent "
            "with the whole training set is unstable."
        )
        handles.append(handle(CEILING, linewidth=THIN))
    if any((line.rows["momentum"] > 0).any() for line in bounded):
        caption += f" Dotted: {PLATEAU}, where λ1 settles when batches are small."
        handles.append(handle(PLATEAU, linestyle=":"))
    if len(bounded) < len(lines):
        decays = all(
            is_plain(line.rows).all() or line.rows["halve_every_epochs"].notna().all() for line in lines
        )
        what = "whose rate decays" if decays else "whose rate changes, or with rules beyond the paper's,"
        caption += f" A regime {what} has no ceiling at its end that means anything."
    drawing = Drawing(name, title, caption, 4.4)
    axes = drawing.panels(1, 1)[0, 0]
    curves.draw(drawing, lines, [(axes, DESCENT)])
    for line in bounded:
        _ceiling(drawing, axes, line)
    curves.batch_axes([axes], lines)
    ax.log_axis(axes, label=ax.EIGENVALUE)
    legend(drawing.figure, [*handles, *curves.marks_of(lines, [DESCENT]).handles()], 2)
    return drawing


def _ceiling(drawing: Drawing, axes: Axes, line: Curve) -> None:
    """The bounds of each batch size, at the rate that it was trained with."""
    settings = line.rows.groupby("batch_size")[["learning_rate", "momentum"]].first()
    rate, momentum = settings["learning_rate"], settings["momentum"]
    sizes = [float(size) for size in settings.index]
    axes.plot(sizes, 2 * (1 + momentum) / rate, color=line.colour, linewidth=THIN)
    if (momentum > 0).any():
        axes.plot(sizes, 2 * (1 - momentum) / rate, color=line.colour, linewidth=1.4, linestyle=":")
    for size, eta, gamma in settings.itertuples(name=None):
        ceiling = f"{2 * (1 + gamma) / eta:.4g}"
        drawing.add(CellValue(line.label, size, f"ceiling {CEILING}", ceiling))


# One point a trial


def _ratios(study: Study) -> Drawing | str:
    """λ1 as a share of its ceiling, one point a trial."""
    scatter = ScatterStyle.of(study)
    ratio = scatter.trials["stability_ratio"]
    at_end = ratio.notna()
    trials = scatter.trials.assign(
        ratio=ratio.where(at_end, scatter.trials["stability_ratio_max"]), at_end=at_end
    )
    trials = trials[(trials["ratio"] > 0) & (trials["status"] == "completed")]
    if trials.empty:
        return (
            "How near λ1 comes to its ceiling: no completed trial has a constant rate or λ1 over the epochs"
        )
    caption = "One point a trial, every regime and momentum. The line at 1 is the edge of stability."
    if not trials["at_end"].all():
        caption += (
            " Where the rate decays, the largest ratio over the epochs in which λ1 was recorded, each with its "
            "own rate; else the ratio at the end."
        )
    marks = Marks.of(trials)
    caption = f"{caption} {marks.caption}".strip()
    title = f"λ1 as a share of its ceiling {CEILING}, {curves.place(study)}"
    drawing = Drawing("edge-ratios", title, caption, 4.2)
    left, right = drawing.panels(1, 2, sharey=True)[0]
    for axes, column in ((left, "batch_size"), (right, "effective_learning_rate")):
        _ratio_points(drawing, axes, scatter, trials.assign(hollow=marks.undertrained(trials)), column)
        axes.axhline(1.0, color=INK, linewidth=THIN)
    for row in trials.to_dict("records"):
        when = "at the end" if row["at_end"] else "largest over the epochs"
        drawing.values.append({"trial": who(row), "λ1 / ceiling": f"{row['ratio']:.3g}", "when": when})
    ax.batch_axis(left, sorted(set(trials["batch_size"])))
    ax.log_axis(right, "x", "effective rate η/(1−γ)")
    ax.log_axis(left, label="λ1 η / 2(1+γ)")
    legend(drawing.figure, [*scatter.handles(), *marks.handles()], 4)
    return drawing


def _ratio_points(
    drawing: Drawing, axes: Axes, scatter: ScatterStyle, trials: pd.DataFrame, column: str
) -> None:
    for curve in scatter.curves(trials, "hollow", sort=False):
        points = [
            (row[column], row["ratio"], f"{who(row)}: {row['ratio']:.3g} of its ceiling")
            for row in curve.rows.to_dict("records")
        ]
        face = style.PAPER if curve.rows["hollow"].any() else curve.colour
        curves.markers(drawing, axes, curve, points, curve.marker, 0.8, markerfacecolor=face)
