"""Which measures go with the smallest epsilon, knob by knob: a row a measure, a column a knob."""

import matplotlib
from matplotlib.axes import Axes

from tfsgd.reporting.claims.agreement import Entry, agreements, measures_of
from tfsgd.reporting.figures.curves import place
from tfsgd.reporting.figures.heatmap import INKS, heatmap_cell, label_cells
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.studies import Study

FAINT = 0.35  # opacity of what is not told from 0


@figure("agreement")
def agreement(study: Study) -> FigureResult:
    """The agreement of signs, see `tfsgd.reporting.claims.agreement`."""
    entries = entries_of(study)
    if not entries:
        yield "The agreement of measures with the smallest ε: it was not measured (attacks: minimal)"
        return
    measures = list(dict.fromkeys(entry.measure for entry in entries))
    knobs = list(dict.fromkeys(entry.knob for entry in entries))
    caption = (
        "Of two networks that differ in the knob alone and share the seed: how often the one with the larger measure has the "
        "larger smallest ε, less how often the smaller one. +1: always, -1: never. Faint: not told from 0 (all orders "
        "counted, Holm's correction over the whole matrix)."
    )
    title = f"Which measures go with the smallest ε, {place(study)}"
    drawing = Drawing("agreement", title, caption, 1.6 + 0.3 * len(measures))
    axes = drawing.panels(1, 1)[0, 0]
    for entry in entries:
        _draw_cell(drawing, axes, (knobs.index(entry.knob), measures.index(entry.measure)), entry)
    label_cells(axes, [knob.replace("other: ", "") for knob in knobs], measures)
    yield drawing


def entries_of(study: Study) -> list[Entry]:
    """The matrix of a study."""
    return agreements(Cells(study.trials, study.chance, study.plays), measures_of(study))


def _draw_cell(drawing: Drawing, axes: Axes, at: tuple[int, int], entry: Entry) -> None:
    found = entry.found
    interval = f"[{found.low:+.2f}, {found.high:+.2f}]"
    heatmap_cell(
        drawing,
        axes,
        at,
        matplotlib.colormaps["RdBu"](0.5 + 0.45 * found.value, alpha=1.0 if entry.sign else FAINT),
        f"{found.value:+.2f}".replace("-", "−"),
        f"{entry.measure}, {entry.knob}: {found.value:+.2f} {interval}, {found.pairs} pairs, p (Holm) {entry.p_holm:.2g}",
        color=INKS[bool(entry.sign) and abs(found.value) >= 0.7],
        alpha=1.0 if entry.sign else 0.6,
    )
    drawing.values.append(
        {
            "measure": entry.measure,
            "knob": entry.knob,
            "agreement": f"{found.value:+.2f} {interval}",
            "pairs": f"{found.pairs}",
            "p (Holm)": f"{entry.p_holm:.2g}",
        }
    )
