"""Which measures go with the smallest epsilon, knob by knob: a row a measure, a column a knob."""

import matplotlib

from tfsgd.reporting.claims.agreement import Entry, entries_of
from tfsgd.reporting.figures.heatmap import INKS, HeatCell, heatmap
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
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
    title = f"Which measures go with the smallest ε, {study.place}"
    drawing = Drawing("agreement", title, caption, 1.6 + 0.3 * len(measures))
    drawing.values = [_row(entry) for entry in entries]
    heatmap(drawing, map(_cell, entries, drawing.values), knobs, measures)
    yield drawing


def _row(entry: Entry) -> dict[str, str]:
    found = entry.found
    return {
        "measure": entry.measure,
        "knob": entry.knob,
        "agreement": f"{found.value:+.2f} [{found.low:+.2f}, {found.high:+.2f}]",
        "pairs": f"{found.pairs}",
        "p (Holm)": f"{entry.p_holm:.2g}",
    }


def _cell(entry: Entry, row: dict[str, str]) -> HeatCell:
    value, told = entry.found.value, bool(entry.sign)
    return HeatCell(
        entry.knob,
        entry.measure,
        matplotlib.colormaps["RdBu"](0.5 + 0.45 * value, alpha=1.0 if told else FAINT),
        f"{value:+.2f}".replace("-", "−"),
        f"{entry.measure}, {entry.knob}: {row['agreement']}, {row['pairs']} pairs, p (Holm) {row['p (Holm)']}",
        {"color": INKS[told and abs(value) >= 0.7], "alpha": 1.0 if told else 0.6},
    )
