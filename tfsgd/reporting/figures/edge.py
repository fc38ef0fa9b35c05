"""The edge of stability: λ1 and what it cannot stay above for long."""

import itertools
from collections.abc import Sequence
from dataclasses import replace

from matplotlib.axes import Axes

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves
from tfsgd.reporting.figures.curves import Curve
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.scatter import ScatterStyle, who
from tfsgd.reporting.figures.style import INK, CellValue, Drawing, FigureResult, Marks, handle
from tfsgd.reporting.table.columns import EIGENVALUE, is_measured
from tfsgd.reporting.table.regime_labels import rules_beyond
from tfsgd.reporting.table.studies import Study

DESCENT = replace(EIGENVALUE, column="descent_eigenvalue")
CEILING, PLATEAU = "2(1+γ)/η", "2(1−γ)/η"
THIN = 0.9


@figure("edge")
def edge(study: Study) -> FigureResult:
    """λ1 against the batch size with its ceiling, and how near to it the trials come."""
    if not is_measured(study.trials, DESCENT.column):
        reason = "λ1 was not measured"
        if is_measured(study.trials, "eigenvalue"):
            reason = "with BatchNorm they need λ1 in training mode (hessian.mode: training)"
        yield f"The edge of stability: {reason}"
        return
    title = f"λ1 and its ceiling, {study.place}"
    if lines := curves.regime_curves(study):
        yield _against_ceiling(lines, "edge", title)
    for kind in ("LR", "LR/BS"):
        lines = curves.momentum_curves(study, kind)
        if len(lines) > 1:
            name = f"edge-{curves.momentum_stem(kind)}"
            drawing = _against_ceiling(lines, name, f"{title}: momenta of {kind}")
            drawing.extra = True
            yield drawing
    yield _ratios(study)


def _against_ceiling(lines: Sequence[Curve], name: str, title: str) -> Drawing:
    """λ1 against the batch size."""
    caption, handles = curves.batch_caption(lines, [DESCENT]), []
    # Where the rate is constant and the steps are the paper's.
    plain = [c.rows["halve_every_epochs"].isna().all() and not any(rules_beyond(c.rows)) for c in lines]
    bounded = [*itertools.compress(lines, plain)]
    if bounded:
        caption += (
            f" Thin lines: the ceiling {CEILING} of the curve of the same colour, above which gradient descent "
            "with the whole training set is unstable."
        )
        handles.append(handle(CEILING, linewidth=THIN))
    if any((line.rows["momentum"] > 0).any() for line in bounded):
        caption += f" Dotted: {PLATEAU}, where λ1 settles when batches are small."
        handles.append(handle(PLATEAU, linestyle=":"))
    if others := [line for line, is_plain in zip(lines, plain, strict=True) if not is_plain]:
        decays = all(line.rows["halve_every_epochs"].notna().all() for line in others)
        what = "whose rate decays" if decays else "whose rate changes, or with rules beyond the paper's,"
        caption += f" A regime {what} has no ceiling at its end that means anything."
    drawing = Drawing(name, title, caption, 4.4)
    panels, row = drawing.panels(1, 1)[0], curves.Row(lines, [(0, DESCENT)])
    curves.draw(drawing, panels, row, curves.marks_of(lines, [DESCENT]))
    for line in bounded:
        _ceiling(drawing, panels[0], line)
    curves.scale(panels, row, [ax.EIGENVALUE])
    curves.curve_legend(drawing, lines, [DESCENT], handles, 2)
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


def _ratios(study: Study) -> Drawing | str:
    """λ1 as a share of its ceiling, one point a trial."""
    scatter = ScatterStyle.of(study)
    ratio = scatter.trials["stability_ratio"]
    shown = ratio.fillna(scatter.trials["stability_ratio_max"])
    trials = scatter.trials.assign(ratio=shown, at_end=ratio.notna())
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
    trials = trials.assign(hollow=marks.undertrained(trials))
    title = f"λ1 as a share of its ceiling {CEILING}, {study.place}"
    drawing = Drawing("edge-ratios", title, f"{caption} {marks.caption}".strip(), 4.2)
    left, right = drawing.panels(1, 2, sharey=True)[0]
    for axes, column in ((left, "batch_size"), (right, "effective_learning_rate")):
        scatter.points(
            drawing,
            axes,
            trials,
            (column, "ratio"),
            lambda row: f"{who(row)}: {row['ratio']:.3g} of its ceiling",
            sort=False,
        )
        axes.axhline(1.0, color=INK, linewidth=THIN)
    for row in trials.to_dict("records"):
        when = "at the end" if row["at_end"] else "largest over the epochs"
        drawing.values.append({"trial": who(row), "λ1 / ceiling": f"{row['ratio']:.3g}", "when": when})
    ax.batch_axis(left, sorted(set(trials["batch_size"])))
    ax.log_axis(right, "x", "effective rate η/(1−γ)")
    ax.log_axis(left, label="λ1 η / 2(1+γ)")
    scatter.legend(drawing, marks.handles())
    return drawing
