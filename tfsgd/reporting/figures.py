"""The paper's figures, redrawn from a study's trials, and those that go beyond the paper.

Every figure is drawn once, in colours for white paper, and saved as PNG and SVG. The page shows the
SVG itself, with each colour replaced by a CSS variable, so that it follows light and dark mode, and
with a title at each point, so that its value shows on hover.
"""

from collections.abc import Sequence

import matplotlib
from matplotlib.figure import Figure

from tfsgd.reporting.beyond import BEYOND, curvature_figures, epsilon_figures
from tfsgd.reporting.curves import (
    BATCH_CAPTION,
    at,
    curve_of,
    legend,
    momentum_lines,
    place,
    regime_lines,
)
from tfsgd.reporting.drawing import (
    STYLE,
    WIDTH,
    Drawing,
    Line,
    Made,
    batch_axis,
    eigenvalue_axis,
    percent_axis,
)
from tfsgd.reporting.studies import Study, attack_column

# What is drawn


def draw(study: Study) -> tuple[list[Drawing], list[str]]:
    """All figures that the records can draw, and in words those that they cannot, and why."""
    drawings: list[Drawing] = []
    missing: list[str] = []
    with matplotlib.rc_context(STYLE):
        for maker in (regimes_figures, momentum_figures, epsilon_figures, curvature_figures, *BEYOND):
            for result in maker(study):
                if isinstance(result, str):
                    missing.append(result)
                else:
                    result.lay_out()
                    drawings.append(result)
    return drawings, missing


def regimes_figures(study: Study) -> Made:
    """Figs. 1-6 (FGSM) and 15-22 (PGD): the regimes, LR and LR/BS at momentum 0, Benchmark at 0.9."""
    lines = regime_lines(study)
    for attack, numbers in (("fgsm", "Figs. 1-6"), ("pgd", "Figs. 15-22")):
        if not lines:
            yield f"{numbers} (the regimes): they need LR or LR/BS at momentum 0, or Benchmark at 0.9"
            continue
        yield from _against_batch_size(study, lines, attack, numbers, "regimes", "the regimes")
    if lines and study.paper_epsilon not in {epsilon for _, epsilon in study.attacks}:
        title = f"The regimes, {place(study)}: natural accuracy and λ1"
        yield _accuracy_and_curvature(study, lines, "", 0.0, "regimes-natural", title)


def momentum_figures(study: Study) -> Made:
    """Figs. 7-10 (LR), 11-14 (LR/BS) and 15-22 (PGD): one regime at several momenta."""
    for kind, numbers in (("LR", "Figs. 7-10"), ("LR/BS", "Figs. 11-14")):
        lines = momentum_lines(study, kind)
        if len(lines) < 2:
            found = ", ".join(line.label for line in lines) or "none"
            yield f"{numbers} and 15-22 (momenta of {kind}): they need two momenta, found {found}"
            continue
        stem = f"momentum-{kind.lower().replace('/', '')}"
        for attack, of_attack in (("fgsm", numbers), ("pgd", "Figs. 15-22")):
            yield from _against_batch_size(study, lines, attack, of_attack, stem, f"momenta of {kind}")


# Against the batch size


def _against_batch_size(
    study: Study, lines: Sequence[Line], attack: str, numbers: str, stem: str, what: str
) -> Made:
    epsilons = [e for name, e in study.attacks if name == attack]
    paper = study.paper_epsilon
    if paper in epsilons:
        title = f"As {numbers}, {place(study)}: {what}, {attack.upper()} at ε = {paper:g}"
        yield _accuracy_and_curvature(study, lines, attack, paper, f"{stem}-{attack}", title)
    else:
        yield f"{numbers} ({what}, {attack.upper()}): no trial was attacked at the paper's ε = {paper}"
    rest = [e for e in epsilons if e != paper]
    if rest:
        title = f"{what[0].upper() + what[1:]}, {place(study)}: {attack.upper()} at other ε"
        yield _small_epsilons(study, lines, attack, rest, f"{stem}-{attack}-other-epsilon", title)


def _accuracy_and_curvature(
    study: Study, lines: Sequence[Line], attack: str, epsilon: float, name: str, title: str
) -> Drawing:
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    drawing = Drawing(name, title, BATCH_CAPTION, figure)
    left, right = figure.subplots(1, 2)
    for i, line in enumerate(lines):
        shift = 2 ** (0.07 * (i - (len(lines) - 1) / 2))
        curve_of(drawing, left, line, "test_accuracy", "natural accuracy", shift)
        curve_of(drawing, left, line, attack_column(attack, epsilon), at(attack, epsilon), shift, True)
        curve_of(drawing, right, line, "eigenvalue", "λ1", shift)
    batch_axis(left, lines)
    batch_axis(right, lines)
    percent_axis(left, "accuracy")
    eigenvalue_axis(right)
    legend(figure, lines, attack)
    return drawing


def _small_epsilons(
    study: Study, lines: Sequence[Line], attack: str, epsilons: Sequence[float], name: str, title: str
) -> Drawing:
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    drawing = Drawing(name, title, BATCH_CAPTION, figure, extra=True)
    panels = figure.subplots(1, len(epsilons), sharey=True, squeeze=False)[0]
    for axes, epsilon in zip(panels, epsilons, strict=True):
        for i, line in enumerate(lines):
            shift = 2 ** (0.07 * (i - (len(lines) - 1) / 2))
            curve_of(drawing, axes, line, "test_accuracy", "natural accuracy", shift)
            curve_of(drawing, axes, line, attack_column(attack, epsilon), at(attack, epsilon), shift, True)
        axes.set_title(f"ε = {epsilon:g}")
        batch_axis(axes, lines, crowded=len(epsilons) > 1)
    percent_axis(panels[0], "accuracy")
    legend(figure, lines, attack)
    return drawing


# Axes


# Beyond the paper
