"""How sure the networks are: mean confidence and mean logit margin on the test images, against the batch size."""

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves
from tfsgd.reporting.figures.curves import Series
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.table.studies import Study

SHOWN = (Series("confidence", "mean confidence"), Series("margin", "mean margin", is_share=False))


@figure("attacks", extra=True)
def confidence(study: Study) -> FigureResult:
    """Confidence and margin."""
    regimes = curves.regime_curves(study)
    if "confidence" not in study.trials or not study.trials["confidence"].notna().any() or not regimes:
        yield "Confidence and margin: they were not measured"
        return
    caption = (
        f"{curves.batch_caption(regimes, SHOWN)} Confidence: the largest softmax output. Margin: the logit of the true "
        "class minus the largest other one."
    )
    title = f"Confidence and margin on test images, {curves.place(study)}"
    drawing = Drawing("certainty", title, caption, 4.0)
    panels = drawing.panels(1, 2)[0]
    curves.draw(drawing, regimes, [*zip(panels, SHOWN, strict=True)])
    curves.batch_axes(panels, regimes)
    ax.percent_axis(panels[0], "mean confidence")
    panels[1].set_ylabel("mean margin (logits)")
    curves.curve_legend(drawing.figure, regimes, SHOWN)
    yield drawing
