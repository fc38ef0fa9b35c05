"""Train accuracy, and its gap to test accuracy, against the batch size."""

from dataclasses import replace

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves
from tfsgd.reporting.figures.curves import Series
from tfsgd.reporting.figures.legend import legend
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.table.studies import Study

TRAIN, GAP = (
    Series("train_accuracy", "train accuracy"),
    Series("gap", "train minus test accuracy", least=-1.0),
)


@figure("batch")
def generalization_gap(study: Study) -> FigureResult:
    """The gap between train and test accuracy against the batch size."""
    regimes = [
        replace(c, rows=c.rows.assign(gap=c.rows["train_accuracy"] - c.rows["test_accuracy"]))
        for c in curves.regime_curves(study)
    ]
    if not regimes:
        return
    title = f"Train accuracy, and its gap to test accuracy, {curves.place(study)}"
    drawing = Drawing("gap", title, curves.batch_caption(regimes, [TRAIN, GAP]), 3.9)
    left, right = drawing.panels(1, 2)[0]
    curves.draw(drawing, regimes, [(left, TRAIN), (right, GAP)])
    curves.batch_axes([left, right], regimes)
    ax.percent_axis(left, "train accuracy")
    ax.percent_axis(right, "train minus test", share=False)
    legend(drawing.figure, curves.handles_of(regimes), 3)
    yield drawing
