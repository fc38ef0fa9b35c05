"""Several studies of one data set in common figures: other epochs, another network, another learning rate."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import cycle

from matplotlib.figure import Figure

from tfsgd.reporting.figures.curves import (
    LAMBDA,
    NATURAL,
    batch_caption,
    curve_of,
    legend,
    regime_lines,
    under,
)
from tfsgd.reporting.figures.figures import telling_epsilon
from tfsgd.reporting.figures.style import (
    MAIN,
    MARKERS,
    OTHERS,
    WIDTH,
    Drawing,
    Drawn,
    Line,
    Made,
    batch_axis,
    drawn,
    eigenvalue_axis,
    file_name,
    percent_axis,
    set_apart,
)
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study

Compared = dict[str, list[Line]]  # regime and momentum -> a line a study


def compare(studies: Sequence[Study], done: Callable[[Drawing], None]) -> Drawn:
    """Figures of all studies that share their data set, and in words what cannot be compared, and why."""
    return drawn(_compared(studies), done)


def _compared(studies: Sequence[Study]) -> Made:
    for dataset in dict.fromkeys(study.dataset for study in studies):
        named = [study for study in studies if study.dataset == dataset]
        usual = Counter(map(_images, named)).most_common(1)[0][0]
        group = [study for study in named if _images(study) == usual]
        for study in named:
            if study not in group:
                folders = ", ".join(map(str, study.folders))
                yield f"{study.title} ({folders}): other images under the same name"
        if len(group) < 2:
            yield f"{group[0].title}: no other study has this data set"
            continue
        lines = _lines(group)
        if lines:
            yield from _figures(group, lines)
        else:
            yield f"{group[0].dataset_title}: no regime is in two of the studies"


def _images(study: Study) -> str:
    return study.records[0].data_sha256


def labels_of(studies: Sequence[Study]) -> list[str]:
    """For each study what tells it from the others: network, epochs, profile; its folder where that is not enough."""
    parts = [(study.model_title, str(study.length), study.profile) for study in studies]
    varied = [len(set(values)) > 1 for values in zip(*parts, strict=True)]
    labels = [", ".join(part for part, there in zip(of, varied, strict=True) if there) for of in parts]
    if len(set(labels)) < len(studies):
        names = [", ".join(path.name for path in study.folders) for study in studies]
        labels = [f"{name} ({label})" if label else name for name, label in zip(names, labels, strict=True)]
    return labels


def _lines(studies: Sequence[Study]) -> Compared:
    """The regimes that at least two studies have."""
    found: Compared = {}
    colours = cycle([*OTHERS, *MAIN.values()])
    for i, (study, label) in enumerate(zip(studies, labels_of(studies), strict=True)):
        colour = next(colours)
        for line in regime_lines(study):
            own = Line(label, colour, MARKERS[i % len(MARKERS)], line.rows)
            found.setdefault(line.label, []).append(own)
    return {regime: lines for regime, lines in found.items() if len(lines) > 1}


def _figures(studies: Sequence[Study], lines: Compared) -> Iterator[Drawing]:
    """A figure an attack that two of the studies have at one epsilon."""
    everything = [line for of_regime in lines.values() for line in of_regime]
    counts: dict[str, dict[float, int]] = {}
    for study in studies:
        for attack, epsilon in study.attacks:
            of_attack = counts.setdefault(attack, {})
            of_attack[epsilon] = of_attack.get(epsilon, 0) + 1
    for attack, epsilons in counts.items():
        common = [epsilon for epsilon, count in epsilons.items() if count > 1]
        having = [line for line in everything if all(attack_column(attack, e) in line.rows for e in common)]
        if common and having:
            paper = next((s.paper_epsilon for s in studies if s.paper_epsilon in common), None)
            epsilon = telling_epsilon(having, attack, common, common[-1] if paper is None else paper)
            yield _figure(studies[0], lines, attack, epsilon)


def _figure(study: Study, lines: Compared, attack: str, epsilon: float) -> Drawing:
    """A row a regime: accuracy, and λ1."""
    figure = Figure(figsize=(WIDTH, 1.2 + 2.7 * len(lines)), layout="constrained")
    title = f"Studies on {study.dataset_title}: {attack_name(attack)} at ε = {epsilon:g}, and λ1"
    views = [NATURAL, under(attack, epsilon), LAMBDA]
    everything = [line for of_regime in lines.values() for line in of_regime]
    caption = f"One colour a study. {batch_caption(everything, views)}"
    drawing = Drawing(f"compared-{file_name(study.dataset)}-{file_name(attack)}", title, caption, figure)
    grid = figure.subplots(len(lines), 2, squeeze=False)
    for (left, right), (regime, of_regime) in zip(grid, lines.items(), strict=True):
        for line, shift in set_apart(of_regime):
            said = Line(f"{regime}, {line.label}", line.colour, line.marker, line.rows)
            for axes, view in zip((left, left, right), views, strict=True):
                curve_of(drawing, axes, said, view, shift)
        for axes in (left, right):
            axes.set_title(regime)
            batch_axis(axes, of_regime)
        percent_axis(left, "accuracy")
        eigenvalue_axis(right)
    shown = {line.label: line for of_regime in lines.values() for line in of_regime}
    legend(figure, list(shown.values()), views)
    return drawing
