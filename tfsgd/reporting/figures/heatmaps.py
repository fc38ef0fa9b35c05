"""Matrices of coloured cells with a number in each: agreement knob by knob, and transferred perturbations."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import matplotlib
from matplotlib.axes import Axes
from matplotlib.patches import Rectangle

from tfsgd.reporting.claims.agreement import entries_of
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.paper import ALPHA, percent
from tfsgd.reporting.table.studies import Study

INKS = ("#000001", "#fffffe")  # of numbers on light and on dark cells, also in dark mode
FAINT = 0.35  # opacity of what is not told from 0
READABLE = 16  # columns: with more there is no room for numbers


class HeatCell(NamedTuple):
    """A cell: where it is, its colour, the number in it and how that looks, and what it says on hover."""

    column: str
    row: str
    colour: Any
    number: str
    said: str
    look: dict[str, Any]


def heatmap(drawing: Drawing, cells: Sequence[HeatCell], rows: Sequence[str], size: str = "small") -> Axes:
    """Draws cells, and names in this size at the columns and rows."""
    axes: Axes = drawing.panels(1, 1)[0, 0]
    columns = list(dict.fromkeys(cell.column for cell in cells))
    for cell in cells:
        x, y = columns.index(cell.column), rows.index(cell.row)
        gid = drawing.tooltip(cell.said)
        axes.add_patch(Rectangle((x - 0.5, y - 0.5), 1, 1, facecolor=cell.colour, edgecolor="none", gid=gid))
        axes.text(x, y, cell.number, ha="center", va="center", **{"fontsize": "x-small"} | cell.look)
    axes.set_xlim(-0.5, len(columns) - 0.5)
    axes.set_ylim(len(rows) - 0.5, -0.5)
    axes.set_xticks(range(len(columns)), columns, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(rows)), rows)
    axes.grid(False)
    axes.tick_params(length=0, labelsize=size)
    axes.spines[:].set_visible(False)
    return axes


@figure("agreement")
def agreement(study: Study) -> FigureResult:
    """The agreement of signs, see `tfsgd.reporting.claims.agreement`."""
    entries, cells = entries_of(study), []
    if not entries:
        yield "The agreement of measures with the smallest ε: it was not measured (attacks: minimal)"
        return
    measures = list(dict.fromkeys(entry.measure for entry in entries))
    caption = (
        "Of two networks that differ in the knob alone and share the seed: how often the one with the larger measure has the "
        "larger smallest ε, less how often the smaller one. +1: always, -1: never. Faint: not told from 0 (all orders "
        "counted, Holm's correction over the whole matrix)."
    )
    title = f"Which measures go with the smallest ε, {study.place}"
    drawing = Drawing("agreement", title, caption, 1.6 + 0.3 * len(measures))
    for measure, knob, found, p in entries:
        said, told = f"{found.estimate:+.2f} [{found.low:+.2f}, {found.high:+.2f}]", p < ALPHA
        row = {
            "measure": measure,
            "knob": knob,
            "agreement": said,
            "pairs": f"{found.pairs}",
            "p (Holm)": f"{p:.2g}",
        }
        drawing.values.append(row)
        colour = matplotlib.colormaps["RdBu"](0.5 + 0.45 * found.estimate, alpha=1.0 if told else FAINT)
        number = f"{found.estimate:+.2f}".replace("-", "−")
        hover = f"{measure}, {knob}: {said}, {found.pairs} pairs, p (Holm) {p:.2g}"
        look = {"color": INKS[told and abs(found.estimate) >= 0.7], "alpha": 1.0 if told else 0.6}
        cells.append(HeatCell(knob, measure, colour, number, hover, look))
    heatmap(drawing, cells, measures)
    yield drawing


@figure("attacks", extra=True)
def transfer_matrix(study: Study) -> FigureResult:
    """For each ε the accuracy of every victim on the perturbations of every source."""
    found: dict[float, dict[tuple[str, str], float]] = {}
    for record in study.records:
        for m in record.attacks:
            if m.name == "transfer" and m.epsilon is not None and m.accuracy is not None:
                source = str(m.settings.get("source", "unknown"))
                found.setdefault(m.epsilon, {})[source, record.folder] = m.accuracy
    if not found:
        yield "Transfer of perturbations from one network to another: it was not measured (attacks: transfer)"
    for epsilon, accuracies in sorted(found.items()):
        yield _matrix(study, epsilon, accuracies)


def _matrix(study: Study, epsilon: float, accuracies: Mapping[tuple[str, str], float]) -> Drawing:
    victims = list(dict.fromkeys(victim for _, victim in accuracies))
    made_on = {source for source, _ in accuracies}
    sources = [*(v for v in victims if v in made_on), *sorted(made_on - {*victims})]  # one order on both axes
    title = f"Accuracy on perturbations of another network, {study.place}, ε = {epsilon:g}"
    caption = (
        "In %. Rows: the network that the perturbations were made on; columns: the network that is attacked with "
        "them. Bold: a network's own perturbations; where another's leave less, it has not met its strongest attack."
    )
    drawing = Drawing(f"transfer-{epsilon:g}", title, caption, 2.2 + 0.3 * len(sources))
    numbered = len(victims) <= READABLE
    cells = [
        HeatCell(
            victim,
            source,
            matplotlib.colormaps["Blues"](0.05 + 0.9 * accuracy),
            f"{100 * accuracy:.0f}" * numbered,
            f"{source} on {victim}: {percent(accuracy)}",
            {"color": INKS[accuracy > 0.6], "weight": "bold" if source == victim else "normal"},
        )
        for (source, victim), accuracy in accuracies.items()
    ]
    drawing.values = [
        {"source": source, "victim": victim, "accuracy": percent(accuracy)}
        for (source, victim), accuracy in accuracies.items()
    ]
    axes = heatmap(drawing, cells, sources, "small" if numbered else "xx-small")
    axes.set_xlabel("victim")
    axes.set_ylabel("source")
    return drawing
