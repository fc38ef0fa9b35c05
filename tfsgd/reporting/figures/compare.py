"""Several studies of one data set in common figures: other epochs, another network, another learning rate."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import cycle

from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import Curve, Row, batch_figure
from tfsgd.reporting.figures.style import Drawing, Drawn, FigureResult, Look, drawn
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.columns import EIGENVALUE, NATURAL, attack_column, attacked
from tfsgd.reporting.table.studies import Study

Compared = dict[str, list[Curve]]  # regime and momentum -> a curve a study


def compare(studies: Sequence[Study], done: Callable[[Drawing], None], look: Look | None = None) -> Drawn:
    """Figures of all studies that share their data set, and in words what cannot be compared, and why."""
    return drawn(lambda: _compared(studies), done, look)


def _compared(studies: Sequence[Study]) -> FigureResult:
    for dataset in dict.fromkeys(study.dataset for study in studies):
        named = [(study, study.records[0].data_sha256) for study in studies if study.dataset == dataset]
        usual = Counter(images for _, images in named).most_common(1)[0][0]
        group = [study for study, images in named if images == usual]
        for study in (study for study, images in named if images != usual):
            folders = ", ".join(map(str, study.folders))
            yield f"{study.title} ({folders}): other images under the same name"
        if len(group) < 2:
            yield f"{group[0].title}: no other study has this data set"
        elif lines := _lines(group):
            yield from _compare_attacks(group, lines)
        else:
            yield f"{group[0].dataset_title}: no regime is in two of the studies"


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
    looks = zip(cycle([*style.OTHERS, *style.MAIN.values()]), cycle(style.MARKERS), strict=False)
    for study, label, look in zip(studies, labels_of(studies), looks, strict=False):
        for line in curves.regime_curves(study):
            found.setdefault(line.label, []).append(Curve(label, *look, line.rows))
    return {regime: lines for regime, lines in found.items() if len(lines) > 1}


def _compare_attacks(studies: Sequence[Study], lines: Compared) -> Iterator[Drawing]:
    """A figure an attack that two of the studies have at one epsilon."""
    everything = [line for of_regime in lines.values() for line in of_regime]
    counts = Counter(attack for study in studies for attack in study.attacks)
    for attack in dict.fromkeys(name for name, _ in counts):
        common = [e for (name, e), count in counts.items() if name == attack and count > 1]
        having = [line for line in everything if all(attack_column(attack, e) in line.rows for e in common)]
        if common and having:
            paper = next((s.paper_epsilon for s in studies if s.paper_epsilon in common), None) or common[-1]
            epsilon = curves.most_informative_epsilon(having, attack, common, paper)
            yield _figure(studies[0], lines, attack, epsilon)


def _figure(study: Study, lines: Compared, attack: str, epsilon: float) -> Drawing:
    """A row a regime: accuracy, and λ1."""
    everything = [line for of_regime in lines.values() for line in of_regime]
    series = [NATURAL, attacked(attack, epsilon), EIGENVALUE]
    head = (
        f"compared-{style.file_name(study.dataset)}-{style.file_name(attack)}",
        f"Studies on {study.dataset_title}: {attack_name(attack)} at ε = {epsilon:g}, and λ1",
        f"One colour a study. {curves.batch_caption(everything, series)}",
        1.2 + 2.7 * len(lines),
    )
    rows = []
    for regime, of_regime in lines.items():
        said = [replace(line, label=f"{regime}, {line.label}") for line in of_regime]
        rows.append(Row(said, [*zip((0, 0, 1), series, strict=True)], [regime] * 2))
    return batch_figure(head, everything, rows, ("accuracy", ax.EIGENVALUE))
