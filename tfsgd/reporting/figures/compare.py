"""Several studies of one data set in common figures: other epochs, another network, another learning rate."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves
from tfsgd.reporting.figures.curves import LAMBDA, NATURAL, Curve
from tfsgd.reporting.figures.style import (
    MAIN,
    MARKERS,
    OTHERS,
    Drawing,
    Drawn,
    FigureResult,
    Look,
    drawn,
    file_name,
)
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study

Compared = dict[str, list[Curve]]  # regime and momentum -> a curve a study


def compare(studies: Sequence[Study], done: Callable[[Drawing], None], look: Look | None = None) -> Drawn:
    """Figures of all studies that share their data set, and in words what cannot be compared, and why."""
    return drawn(lambda: _compared(studies), done, look)


def _compared(studies: Sequence[Study]) -> FigureResult:
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
            yield from _compare_attacks(group, lines)
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
        for line in curves.regime_curves(study):
            own = Curve(label, colour, MARKERS[i % len(MARKERS)], line.rows)
            found.setdefault(line.label, []).append(own)
    return {regime: lines for regime, lines in found.items() if len(lines) > 1}


def _compare_attacks(studies: Sequence[Study], lines: Compared) -> Iterator[Drawing]:
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
            epsilon = curves.most_informative_epsilon(
                having, attack, common, common[-1] if paper is None else paper
            )
            yield _figure(studies[0], lines, attack, epsilon)


def _figure(study: Study, lines: Compared, attack: str, epsilon: float) -> Drawing:
    """A row a regime: accuracy, and λ1."""
    title = f"Studies on {study.dataset_title}: {attack_name(attack)} at ε = {epsilon:g}, and λ1"
    shown = [NATURAL, curves.under(attack, epsilon), LAMBDA]
    everything = [line for of_regime in lines.values() for line in of_regime]
    caption = f"One colour a study. {curves.batch_caption(everything, shown)}"
    drawing = Drawing(
        f"compared-{file_name(study.dataset)}-{file_name(attack)}", title, caption, 1.2 + 2.7 * len(lines)
    )
    grid, marks = drawing.panels(len(lines), 2), curves.marks_of(everything, shown)
    for (left, right), (regime, of_regime) in zip(grid, lines.items(), strict=True):
        said = [replace(line, label=f"{regime}, {line.label}") for line in of_regime]
        curves.draw(drawing, said, [*zip((left, left, right), shown, strict=True)], marks)
        curves.batch_axes([left, right], of_regime)
        for axes in (left, right):
            axes.set_title(regime)
        ax.percent_axis(left, "accuracy")
        ax.log_axis(right, label=ax.EIGENVALUE)
    by_label = {line.label: line for of_regime in lines.values() for line in of_regime}
    curves.curve_legend(drawing.figure, list(by_label.values()), shown)
    return drawing
