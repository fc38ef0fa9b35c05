"""Accuracy against epsilon."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FixedLocator, FuncFormatter

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import Curve
from tfsgd.reporting.figures.legend import handle
from tfsgd.reporting.figures.palette import BatchSizePalette, by_palette
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.paper import attack_name, percent
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study


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
