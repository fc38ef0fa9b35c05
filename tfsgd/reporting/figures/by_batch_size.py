"""Figures against the batch size: the paper's Figs. 1-22, an overview, how sure networks are, and at equal train loss."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from tfsgd.reporting import paper
from tfsgd.reporting.figures import axes as ax
from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import Curve, Row, batch_caption, batch_figure
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.table.columns import (
    EIGENVALUE,
    NATURAL,
    SMALLEST,
    Metric,
    at_loss,
    attacked,
    is_measured,
)
from tfsgd.reporting.table.studies import Study
from tfsgd.text import counted

CERTAINTY = (Metric("confidence", "mean confidence"), Metric("margin", "mean margin", scale=""))
GAP = (Metric("train_accuracy", "train accuracy"), Metric("gap", "train minus test accuracy", least=-1.0))


@figure("overview")
def overview(study: Study) -> FigureResult:
    """Natural accuracy, the smallest epsilon and λ1 of the regimes."""
    if lines := curves.regime_curves(study):
        yield _three_panels("overview", f"The regimes, {study.place}", 3.0, lines)


@figure("momentum")
def momenta(study: Study) -> FigureResult:
    """The same of LR and LR/BS at several momenta."""
    for kind in paper.MOMENTUM_FIGURES:
        lines = curves.momentum_curves(study, kind)
        if len(lines) > 1:
            title = f"Momenta of {kind}, {study.place}"
            yield _three_panels(curves.momentum_stem(kind), title, 3.2, lines)
        else:
            yield f"Momenta of {kind}: they need two, found {_labels(lines)}"


def _three_panels(name: str, title: str, height: float, lines: Sequence[Curve]) -> Drawing:
    known = (s for s in (NATURAL, SMALLEST, EIGENVALUE) if any(is_measured(c.rows, s.column) for c in lines))
    shown = [*known] or [NATURAL]
    titles = [f"{series.what} (%)" if series.is_share else series.what for series in shown]
    head = (name, title, batch_caption(lines, shown), height)
    return batch_figure(head, lines, [Row(lines, [*enumerate(shown)], titles)], [""] * len(shown))


def _labels(lines: Sequence[Curve]) -> str:
    return ", ".join(line.label for line in lines) or "none"


@figure("attacks", extra=True)
def confidence(study: Study) -> FigureResult:
    """How sure the networks are: mean confidence and mean logit margin on the test images."""
    regimes = curves.regime_curves(study)
    if not is_measured(study.trials, "confidence") or not regimes:
        yield "Confidence and margin: they were not measured"
        return
    note = "Confidence: the largest softmax output. Margin: the logit of the true class minus the largest other one."
    title, caption = f"Confidence and margin on test images, {study.place}", batch_caption(regimes, CERTAINTY)
    head, row = ("certainty", title, f"{caption} {note}", 4.0), Row(regimes, [*enumerate(CERTAINTY)])
    yield batch_figure(head, regimes, [row], ("mean confidence", "mean margin (logits)"))


@figure("batch")
def generalization_gap(study: Study) -> FigureResult:
    """Train accuracy, and its gap to test accuracy."""
    regimes = [
        replace(c, rows=c.rows.assign(gap=c.rows["train_accuracy"] - c.rows["test_accuracy"]))
        for c in curves.regime_curves(study)
    ]
    if regimes:
        title = f"Train accuracy, and its gap to test accuracy, {study.place}"
        head, row = ("gap", title, batch_caption(regimes, GAP), 3.9), Row(regimes, [*enumerate(GAP)])
        yield batch_figure(head, regimes, [row], ("train accuracy", "train minus test"))


# The paper's figures


@figure("attacks")
def regimes(study: Study) -> FigureResult:
    """Figs. 1-6 (FGSM) and 15-22 (PGD): the regimes, LR and LR/BS at momentum 0, Benchmark at 0.9."""
    rows, numbers = study.by_regime, paper.REGIME_FIGURES
    trained = {*zip(rows["regime"], rows["momentum"], strict=True)}
    if not any((r.name, paper.BASE_MOMENTUM[kind]) in trained for kind, r in study.paper_regimes.items()):
        for missing in numbers.values():
            yield f"{missing} (the regimes): they need LR or LR/BS at momentum 0, or Benchmark at 0.9"
        numbers = {}
    if lines := curves.regime_curves(study):
        yield from _under_every_attack(study, lines, numbers, "regimes", "the regimes")


@figure("attacks", extra=True)
def momenta_under_attack(study: Study) -> FigureResult:
    """Figs. 7-10 (LR), 11-14 (LR/BS) and 15-22 (PGD): one regime at several momenta."""
    for kind, numbers in paper.MOMENTUM_FIGURES.items():
        lines, what = curves.momentum_curves(study, kind), f"momenta of {kind}"
        if len(lines) > 1:
            yield from _under_every_attack(study, lines, numbers, curves.momentum_stem(kind), what)
        else:
            named = " and ".join(number.removeprefix("Figs. ") for number in numbers.values())
            yield f"Figs. {named} ({what}): they need two momenta, found {_labels(lines)}"


def _under_every_attack(
    study: Study, lines: Sequence[Curve], numbers: Mapping[str, str], stem: str, what: str
) -> FigureResult:
    """Natural accuracy and that under attack, a panel an epsilon, and λ1: as the paper has it under its attacks, and the
    same under the others that were measured.

    Args:
        numbers: attack -> the paper's figures that show it.
    """
    of_paper = study.paper_epsilon
    for attack in dict.fromkeys([*numbers, *study.epsilons]):
        epsilons, named = study.epsilons.get(attack, []), paper.attack_name(attack)
        if of_paper not in epsilons and attack in numbers:
            yield f"{numbers[attack]} ({what}, {named}): no trial was attacked at the paper's ε = {of_paper}"
        if not epsilons:
            continue
        lead = curves.most_informative_epsilon(lines, attack, epsilons, of_paper or epsilons[0])
        at = {lead: ", where settings differ most"} if lead != of_paper else {}
        at |= {of_paper: ", the paper's" * bool(at)} if of_paper in epsilons else {}
        said = ", and ".join(f"at ε = {e:g}{why}" for e, why in at.items())
        is_paper = attack in numbers and of_paper in epsilons
        where = f"As {numbers[attack]}, {study.place}" if is_paper else study.place.replace("on", "On", 1)
        several, last = len(at) > 1, len(at)
        shown = [(i, NATURAL) for i in range(last)] + [(i, attacked(attack, e)) for i, e in enumerate(at)]
        shown.append((last, EIGENVALUE))
        drawing = batch_figure(
            (
                f"{stem}-{style.file_name(attack)}",
                f"{where}: {what}, {named} {said}",
                batch_caption(lines, [one for _, one in shown]),
                4.0,
            ),
            lines,
            [Row(lines, shown, [*(f"ε = {e:g}" for e in at), "λ1" * several])],
            [*["accuracy"] * last, "" if several else ax.EIGENVALUE],
        )
        drawing.extra = attack not in paper.PAPER_ATTACKS
        yield drawing


# At equal train loss


@figure("equal")
def equal_loss(study: Study) -> FigureResult:
    """For each attack the regimes after equal epochs, and below at each train loss that networks were kept at: as they
    were in the first epoch that reached it."""
    regimes = curves.regime_curves(study)
    if not study.snapshots or not regimes:
        yield "The regimes at equal train loss: no network was kept there (snapshots: {train_loss: [...]})"
        return
    for i, (attack, epsilons) in enumerate(study.epsilons.items()):
        epsilon = study.paper_epsilon
        drawing = _at_equal_loss(
            study, regimes, attack, epsilon if epsilon in epsilons else epsilons[len(epsilons) // 2]
        )
        drawing.extra = i > 0
        yield drawing


def _at_equal_loss(study: Study, regimes: Sequence[Curve], attack: str, epsilon: float | None) -> Drawing:
    losses = study.snapshots
    named = f"{paper.attack_name(attack)}, ε = {epsilon:g}"
    shown = [NATURAL, attacked(attack, epsilon or 0.0), EIGENVALUE]
    caption = (
        f"{batch_caption(regimes, shown)} First row: at the end of the training. The others: at the end of the "
        "first epoch whose train loss is at most the value; a trial that never got there is not in its mean."
    )
    head = (
        f"equal-loss-{style.file_name(attack)}",
        f"At the end and at equal train loss, {study.place}: {named}",
        " ".join(filter(None, (caption, *(_never_reached(study, loss) for loss in losses)))),
        1.0 + 2.7 * (1 + len(losses)),
    )
    # Whether a trial is under-trained or fails a check is said of its end alone.
    unmarked: dict[str, Any] = {"undertrained": False, "failed_checks": lambda rows: [()] * len(rows)}
    there = [replace(curve, rows=curve.rows.assign(**unmarked)) for curve in regimes]
    rows = [Row(regimes, [*zip((0, 0, 1), shown, strict=True)], ["at the end"])]
    for loss in losses:
        series = [
            replace(m, column=at_loss(m.column, loss), name=f"{m.what} at train loss {loss:g}", epsilon=None)
            for m in shown
        ]
        rows.append(Row(there, [*zip((0, 0, 1), series, strict=True)], [f"train loss {loss:g}"]))
    return batch_figure(head, regimes, rows, ("accuracy", "λ1"), sharex=True, sharey="col")


def _never_reached(study: Study, loss: float) -> str:
    """Which cells never got to a train loss, in words; empty if all did."""
    counts = Counter(
        f"{record.regime} at batch size {record.sgd.batch_size} and momentum {record.sgd.momentum:g}"
        for record in study.records
        for snapshot in record.snapshots
        if snapshot.train_loss == loss and snapshot.epoch is None
    )
    said = ", ".join(f"{cell} ({counted(count, 'trial')})" for cell, count in counts.items())
    return f"Train loss {loss:g} was never reached by {said}." if said else ""
