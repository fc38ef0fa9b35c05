"""The matrix of transferred perturbations: made on one network, tried on another."""

from collections.abc import Mapping

import matplotlib

from tfsgd.reporting.figures.heatmap import INKS, HeatCell, heatmap
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult, in_words
from tfsgd.reporting.table.studies import Study

READABLE = 16  # columns: with more there is no room for numbers


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
            f"{source} on {victim}: {in_words(accuracy)}",
            {"color": INKS[accuracy > 0.6], "weight": "bold" if source == victim else "normal"},
        )
        for (source, victim), accuracy in accuracies.items()
    ]
    drawing.values = [
        {"source": source, "victim": victim, "accuracy": in_words(accuracy)}
        for (source, victim), accuracy in accuracies.items()
    ]
    axes = heatmap(drawing, cells, victims, sources, "small" if numbered else "xx-small")
    axes.set_xlabel("victim")
    axes.set_ylabel("source")
    return drawing
