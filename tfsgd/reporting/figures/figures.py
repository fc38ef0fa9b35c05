"""The paper's figures, redrawn from a study's trials, and those that go beyond the paper.

Every figure is drawn once, in colours for white paper, and saved as PNG and SVG. The page shows the
SVG itself, with each colour replaced by a CSS variable, so that it follows light and dark mode, and
with a title at each point, so that its value shows on hover.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pandas as pd
from matplotlib.figure import Figure

from tfsgd.reporting.figures.beyond import curvature_figures, epsilon_figures, gap_figures
from tfsgd.reporting.figures.correlations import correlation_figures
from tfsgd.reporting.figures.curves import (
    LAMBDA,
    NATURAL,
    batch_caption,
    curve_of,
    is_as_the_paper,
    legend,
    momentum_lines,
    momentum_stem,
    place,
    regime_lines,
    under,
)
from tfsgd.reporting.figures.edge import edge_figures
from tfsgd.reporting.figures.epochs import eigenvalue_history_figures, learning_figures
from tfsgd.reporting.figures.equal_loss import equal_loss_figures
from tfsgd.reporting.figures.explaining import certainty_figures, smallest_epsilon_figures, spectrum_figures
from tfsgd.reporting.figures.saturation import float32_figures
from tfsgd.reporting.figures.style import (
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
from tfsgd.reporting.figures.transfer_matrix import transfer_figures
from tfsgd.reporting.paper import MOMENTUM_FIGURES, REGIME_FIGURES, attack_name
from tfsgd.reporting.table.columns import attack_column
from tfsgd.reporting.table.studies import Study


def draw(study: Study, done: Callable[[Drawing], None] = lambda drawing: None) -> Drawn:
    """All figures that the records can draw, and in words those that they cannot, and why."""
    return drawn((result for maker in MAKERS for result in maker(study)), done)


def regimes_figures(study: Study) -> Made:
    """Figs. 1-6 (FGSM) and 15-22 (PGD): the regimes, LR and LR/BS at momentum 0, Benchmark at 0.9."""
    lines, numbers = regime_lines(study), REGIME_FIGURES
    if not is_as_the_paper(study):
        for missing in numbers.values():
            yield f"{missing} (the regimes): they need LR or LR/BS at momentum 0, or Benchmark at 0.9"
        numbers = {}
    if not lines:
        return
    yield from _under_every_attack(study, lines, numbers, "regimes", "the regimes")
    if study.paper_epsilon not in {epsilon for epsilons in study.epsilons.values() for epsilon in epsilons}:
        title = f"The regimes, {place(study)}: natural accuracy and λ1"
        yield replace(_accuracy_and_curvature(lines, "", {}, "regimes-natural", title), first=True)


def momentum_figures(study: Study) -> Made:
    """Figs. 7-10 (LR), 11-14 (LR/BS) and 15-22 (PGD): one regime at several momenta."""
    for kind, numbers in MOMENTUM_FIGURES.items():
        lines = momentum_lines(study, kind)
        if len(lines) < 2:
            found = ", ".join(line.label for line in lines) or "none"
            named = " and ".join(number.removeprefix("Figs. ") for number in numbers.values())
            yield f"Figs. {named} (momenta of {kind}): they need two momenta, found {found}"
            continue
        yield from _under_every_attack(study, lines, numbers, momentum_stem(kind), f"momenta of {kind}")


# Against the batch size


def _under_every_attack(
    study: Study, lines: Sequence[Line], numbers: Mapping[str, str], stem: str, what: str
) -> Made:
    """The paper's figures under its attacks, and the same views under the others that were measured.

    Args:
        numbers: attack -> the paper's figures that show it.
    """
    paper = study.paper_epsilon
    start = f"{what[0].upper() + what[1:]}, {place(study)}"
    for attack in dict.fromkeys([*numbers, *study.epsilons]):
        epsilons = study.epsilons.get(attack, [])
        name = f"{stem}-{file_name(attack)}"
        if paper in epsilons:
            as_paper = f"As {numbers[attack]}, {place(study)}: {what}" if attack in numbers else start
            lead = telling_epsilon(lines, attack, epsilons, paper)
            shown = (
                {lead: "where settings differ most", paper: "the paper's"} if lead != paper else {paper: ""}
            )
            drawing = _accuracy_and_curvature(
                lines, attack, shown, name, f"{as_paper}, {attack_name(attack)} {_at(shown)}"
            )
            yield replace(drawing, first=stem == "regimes")
            epsilons = [e for e in epsilons if e != lead]
        elif attack in numbers:
            yield (
                f"{numbers[attack]} ({what}, {attack_name(attack)}): no trial was attacked at the paper's "
                f"ε = {paper}"
            )
        rest = [e for e in epsilons if e != paper]
        if rest:
            title = f"{start}: {attack_name(attack)} at other ε"
            yield _small_epsilons(lines, attack, rest, f"{name}-other-epsilon", title)


def telling_epsilon(lines: Sequence[Line], attack: str, epsilons: Sequence[float], paper: float) -> float:
    """The epsilon at which the lines' cells differ most: the largest standard deviation of their mean accuracies.

    Where others are no better than the paper's, it is the paper's.
    """
    rows = pd.concat([line.rows for line in lines])
    rows = rows[rows["status"] == "completed"]
    cells = [rows[key] for key in ("regime", "batch_size", "momentum")]
    spread = {
        epsilon: float(rows[attack_column(attack, epsilon)].groupby(cells).mean().std())
        for epsilon in epsilons
    }
    known = {epsilon: value for epsilon, value in spread.items() if value > 0}
    return max(known, key=lambda epsilon: (known[epsilon], epsilon == paper), default=paper)


def _at(epsilons: Mapping[float, str]) -> str:
    """`at ε = 0.05, where settings differ most, and at ε = 0.3, the paper's`."""
    return ", and ".join(f"at ε = {e:g}{', ' if why else ''}{why}" for e, why in epsilons.items())


def _accuracy_and_curvature(
    lines: Sequence[Line], attack: str, epsilons: Mapping[float, str], name: str, title: str
) -> Drawing:
    """Natural accuracy and that under attack, a panel an epsilon, and λ1; without epsilons natural accuracy and λ1."""
    figure = Figure(figsize=(WIDTH, 4.0), layout="constrained")
    accuracies = {epsilon: under(attack, epsilon) for epsilon in epsilons}
    views = [NATURAL, *accuracies.values()]
    drawing = Drawing(name, title, batch_caption(lines, [*views, LAMBDA]), figure)
    *left, right = figure.subplots(1, max(1, len(epsilons)) + 1)
    for line, shift in set_apart(lines):
        for axes in left:
            curve_of(drawing, axes, line, NATURAL, shift)
        for axes, view in zip(left, accuracies.values(), strict=False):
            curve_of(drawing, axes, line, view, shift)
        curve_of(drawing, right, line, LAMBDA, shift)
    for axes in (*left, right):
        batch_axis(axes, lines, crowded=len(left) > 1)
    for axes, epsilon in zip(left, epsilons, strict=False):
        axes.set_title(f"ε = {epsilon:g}")
    for axes in left:
        percent_axis(axes, "accuracy")
    eigenvalue_axis(right)
    if len(left) > 1:
        right.set_ylabel("")
        right.set_title("λ1")
    legend(figure, lines, views)
    return drawing


def _small_epsilons(
    lines: Sequence[Line], attack: str, epsilons: Sequence[float], name: str, title: str
) -> Drawing:
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    views = [NATURAL, *(under(attack, epsilon) for epsilon in epsilons)]
    drawing = Drawing(name, title, batch_caption(lines, views), figure, extra=True)
    panels = figure.subplots(1, len(epsilons), sharey=True, squeeze=False)[0]
    for axes, epsilon in zip(panels, epsilons, strict=True):
        for line, shift in set_apart(lines):
            curve_of(drawing, axes, line, NATURAL, shift)
            curve_of(drawing, axes, line, under(attack, epsilon), shift)
        axes.set_title(f"ε = {epsilon:g}")
        batch_axis(axes, lines, crowded=len(epsilons) > 1)
    percent_axis(panels[0], "accuracy")
    legend(figure, lines, views)
    return drawing


MAKERS: tuple[Callable[[Study], Made], ...] = (
    regimes_figures,
    momentum_figures,
    float32_figures,
    epsilon_figures,
    curvature_figures,
    gap_figures,
    learning_figures,
    edge_figures,
    eigenvalue_history_figures,
    equal_loss_figures,
    certainty_figures,
    smallest_epsilon_figures,
    spectrum_figures,
    correlation_figures,
    transfer_figures,
)
