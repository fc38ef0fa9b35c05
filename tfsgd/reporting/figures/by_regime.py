"""Figs. 1-22 of the paper: the regimes, and one regime at several momenta, against the batch size."""

from collections.abc import Mapping, Sequence

from tfsgd.reporting import paper
from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import LAMBDA, NATURAL, Curve
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.table.regime_labels import paper_regimes
from tfsgd.reporting.table.studies import Study


@figure("attacks")
def regimes(study: Study) -> FigureResult:
    """Figs. 1-6 (FGSM) and 15-22 (PGD): the regimes, LR and LR/BS at momentum 0, Benchmark at 0.9."""
    lines, numbers = curves.regime_curves(study), paper.REGIME_FIGURES
    if not _is_as_the_paper(study):
        for missing in numbers.values():
            yield f"{missing} (the regimes): they need LR or LR/BS at momentum 0, or Benchmark at 0.9"
        numbers = {}
    if lines:
        yield from _under_every_attack(study, lines, numbers, "regimes", "the regimes")


@figure("attacks", extra=True)
def momenta_under_attack(study: Study) -> FigureResult:
    """Figs. 7-10 (LR), 11-14 (LR/BS) and 15-22 (PGD): one regime at several momenta."""
    for kind, numbers in paper.MOMENTUM_FIGURES.items():
        lines = curves.momentum_curves(study, kind)
        if len(lines) < 2:
            found = ", ".join(line.label for line in lines) or "none"
            named = " and ".join(number.removeprefix("Figs. ") for number in numbers.values())
            yield f"Figs. {named} (momenta of {kind}): they need two momenta, found {found}"
            continue
        yield from _under_every_attack(
            study, lines, numbers, curves.momentum_stem(kind), f"momenta of {kind}"
        )


def _under_every_attack(
    study: Study, lines: Sequence[Curve], numbers: Mapping[str, str], stem: str, what: str
) -> FigureResult:
    """The paper's figures under its attacks, and the same views under the others that were measured.

    Args:
        numbers: attack -> the paper's figures that show it.
    """
    of_paper = study.paper_epsilon
    for attack in dict.fromkeys([*numbers, *study.epsilons]):
        epsilons = study.epsilons.get(attack, [])
        if of_paper not in epsilons and attack in numbers:
            yield (
                f"{numbers[attack]} ({what}, {paper.attack_name(attack)}): no trial was attacked at the paper's "
                f"ε = {of_paper}"
            )
        if not epsilons:
            continue
        lead = curves.most_informative_epsilon(lines, attack, epsilons, of_paper or epsilons[0])
        shown = {lead: "where settings differ most"} if lead != of_paper else {}
        shown |= {of_paper: "the paper's" * bool(shown)} if of_paper in epsilons else {}
        as_paper = f"As {numbers[attack]}, " if attack in numbers and of_paper in epsilons else ""
        title = f"{as_paper}{curves.place(study)}: {what}"
        drawing = _accuracy_and_curvature(
            lines,
            attack,
            shown,
            f"{stem}-{style.file_name(attack)}",
            f"{title[0].upper()}{title[1:]}, {paper.attack_name(attack)} {_at(shown)}",
        )
        drawing.extra = attack not in paper.PAPER_ATTACKS
        yield drawing


def _at(epsilons: Mapping[float, str]) -> str:
    """`at ε = 0.05, where settings differ most, and at ε = 0.3, the paper's`."""
    return ", and ".join(f"at ε = {e:g}{', ' if why else ''}{why}" for e, why in epsilons.items())


def _accuracy_and_curvature(
    lines: Sequence[Curve], attack: str, epsilons: Mapping[float, str], name: str, title: str
) -> Drawing:
    """Natural accuracy and that under attack, a panel an epsilon, and λ1."""
    accuracies = [curves.under(attack, epsilon) for epsilon in epsilons]
    shown = [NATURAL, *accuracies]
    drawing = Drawing(name, title, curves.batch_caption(lines, [*shown, LAMBDA]), 4.0)
    *left, right = drawing.panels(1, len(epsilons) + 1)[0]
    natural = [(axes, NATURAL) for axes in left]
    curves.draw(drawing, lines, [*natural, *zip(left, accuracies, strict=True), (right, LAMBDA)])
    curves.batch_axes([*left, right], lines)
    for axes, epsilon in zip(left, epsilons, strict=True):
        axes.set_title(f"ε = {epsilon:g}")
        ax.percent_axis(axes, "accuracy")
    ax.log_axis(right, label="" if len(left) > 1 else ax.EIGENVALUE)
    if len(left) > 1:
        right.set_title("λ1")
    curves.curve_legend(drawing.figure, lines, shown)
    return drawing


def _is_as_the_paper(study: Study) -> bool:
    """Whether a regime of the paper was trained at the momentum of its figures."""
    rows = study.by_regime
    momenta = [
        (rows[rows["regime"] == r.name]["momentum"], paper.BASE_MOMENTUM[kind])
        for kind, r in paper_regimes(study.regimes).items()
    ]
    return any((there == base).any() for there, base in momenta)
