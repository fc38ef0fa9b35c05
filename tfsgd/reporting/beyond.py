"""Figures that go beyond the paper."""

import math
from collections.abc import Callable, Sequence

import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

from tfsgd.reporting.cells import paper_regimes
from tfsgd.reporting.curves import BATCH_CAPTION, at, curve_of, marks, place, rank, regime_lines
from tfsgd.reporting.drawing import (
    INK,
    MAIN,
    MARKERS,
    OTHERS,
    PAPER,
    WIDTH,
    Drawing,
    Line,
    Made,
    batch_axis,
    eigenvalue_axis,
    figure_key,
    in_words,
    markers,
    percent_axis,
    sequence,
)
from tfsgd.reporting.studies import Study, attack_column


def epsilon_figures(study: Study) -> Made:
    """Accuracy against epsilon, one curve a batch size."""
    lines = regime_lines(study)
    attacks = sorted({name for name, _ in study.attacks})
    if not lines or not attacks:
        yield "Accuracy against ε: no trial was attacked"
        return
    for attack in attacks:
        yield _accuracy_against_epsilon(study, lines, attack)


def _accuracy_against_epsilon(study: Study, lines: Sequence[Line], attack: str) -> Drawing:
    epsilons = [e for name, e in study.attacks if name == attack]
    figure = Figure(figsize=(WIDTH, 3.7), layout="constrained")
    title = f"Accuracy against ε under {attack.upper()}, {place(study)}"
    caption = (
        "Mean over the seeds, one curve a batch size; ε = 0 is natural accuracy. The axis of ε is a square "
        "root, so that small ε can be told apart. The vertical line is the paper's ε."
    )
    drawing = Drawing(f"epsilon-{attack}", title, caption, figure)
    panels = figure.subplots(1, len(lines), sharey=True, squeeze=False)[0]
    sizes = sorted({int(b) for line in lines for b in line.rows["batch_size"]})
    colours = dict(zip(sizes, sequence(len(sizes)), strict=True))
    for axes, line in zip(panels, lines, strict=True):
        completed = line.rows[line.rows["status"] == "completed"]
        for _, cell in completed.groupby("batch_size"):
            size = int(cell["batch_size"].iloc[0])
            columns = {0.0: "test_accuracy"} | {e: attack_column(attack, e) for e in epsilons}
            means = {
                e: float(cell[column].mean()) for e, column in columns.items() if cell[column].notna().any()
            }
            axes.plot(list(means), list(means.values()), color=colours[size])
            curve = Line(line.label, colours[size], MARKERS[sizes.index(size) % len(MARKERS)], cell)
            says = f"{line.label}, batch size {size}, ε = "
            points = [(e, mean, f"{says}{e:g}: {in_words(mean)}") for e, mean in means.items()]
            markers(drawing, axes, curve, points, curve.marker, markersize=5)
            shared = {"curve": line.label, "batch size": str(size), "seeds": str(len(cell))}
            drawing.values += [shared | {"ε": f"{e:g}", "mean": in_words(mean)} for e, mean in means.items()]
        axes.set_xlim(0, 1.08 * max(epsilons) or 1)
        axes.set_xscale("function", functions=(np.sqrt, np.square))
        axes.xaxis.set_major_locator(FixedLocator([0.0, *epsilons]))
        axes.xaxis.set_major_formatter(FuncFormatter(lambda e, _: f"{e:g}"))
        axes.tick_params(axis="x", labelrotation=60)
        if study.paper_epsilon in epsilons:
            axes.axvline(study.paper_epsilon, color=INK, linewidth=0.8, linestyle=":")
        axes.set_title(line.label.replace(" (", "\n("))
        axes.set_xlabel("ε")
    percent_axis(panels[0], f"{attack.upper()} accuracy")
    handles = [
        Line2D([], [], color=colours[b], marker=MARKERS[i % len(MARKERS)], label=f"{b}")
        for i, b in enumerate(sizes)
    ]
    figure_key(figure, handles, min(len(sizes), 4), "batch size")
    return drawing


def curvature_figures(study: Study) -> Made:
    """λ1 against adversarial accuracy, one point a trial."""
    attacks = sorted({name for name, _ in study.attacks})
    if not attacks:
        yield "λ1 against adversarial accuracy: no trial was attacked"
    for attack in attacks:
        yield _accuracy_against_curvature(study, attack)


def _accuracy_against_curvature(study: Study, attack: str) -> Drawing:
    epsilons = [e for name, e in study.attacks if name == attack]
    columns = min(2, len(epsilons))
    rows = math.ceil(len(epsilons) / columns)
    figure = Figure(figsize=(WIDTH, 1.0 + 2.5 * rows), layout="constrained")
    caption = (
        "One point a trial, every regime and momentum; a trial of two regimes has the first one's colour. "
        "Hollow markers: under-trained. Crosses at the left edge: collapsed, whatever their λ1. If λ1 explained "
        "robustness, the points would fall from left to right within every colour."
    )
    title = f"λ1 against {attack.upper()} accuracy, {place(study)}"
    drawing = Drawing(f"curvature-{attack}", title, caption, figure)
    panels = figure.subplots(rows, columns, sharex=True, squeeze=False).ravel()
    kinds = {label: kind for kind, label in paper_regimes(study.trials).items()}
    labels = sorted(study.trials["regime"].unique(), key=lambda name: rank(kinds.get(name, "other")))
    others = iter(OTHERS * 8)
    colours = {label: MAIN[kinds[label]] if label in kinds else next(others) for label in labels}
    momenta = sorted(study.trials["momentum"].unique())
    for axes, epsilon in zip(panels, epsilons, strict=False):
        column = attack_column(attack, epsilon)
        for row in study.trials[study.trials["eigenvalue"] > 0].dropna(subset=[column]).to_dict("records"):
            is_bad = row["status"] != "completed"
            marker = "x" if is_bad else MARKERS[momenta.index(row["momentum"]) % len(MARKERS)]
            face = PAPER if row["undertrained"] else colours[row["regime"]]
            text = (
                f"{row['regime']}, batch size {row['batch_size']}, momentum {row['momentum']:g}, seed "
                f"{row['seed']}: λ1 {row['eigenvalue']:.3g}, {at(attack, epsilon)} {in_words(row[column])}"
            )
            axes.plot(
                0.0 if is_bad else row["eigenvalue"], row[column], marker, color=colours[row["regime"]],
                markerfacecolor=face, markersize=5, gid=drawing.says(text), linestyle="none",
                transform=axes.get_yaxis_transform() if is_bad else axes.transData, clip_on=not is_bad,
            )  # fmt: skip
        axes.set_title(f"ε = {epsilon:g}" + (" (the paper's)" if epsilon == study.paper_epsilon else ""))
        percent_axis(axes, "accuracy")
        eigenvalue_axis(axes, "x")
        if axes not in panels[len(epsilons) - columns :]:
            axes.set_xlabel("")
    for axes in panels[len(epsilons) :]:
        axes.set_visible(False)
    handles = [
        Line2D([], [], color=colours[label], marker="o", linestyle="none", label=label) for label in labels
    ]
    handles += [
        Line2D([], [], color=INK, marker=MARKERS[i % len(MARKERS)], linestyle="none", label=f"momentum {m:g}")
        for i, m in enumerate(momenta)
    ]
    figure_key(figure, [*handles, *marks(study.trials)], 4)
    return drawing


def gap_figures(study: Study) -> Made:
    """The gap between train and test accuracy against the batch size."""
    lines = [
        Line(
            x.label, x.colour, x.marker, x.rows.assign(gap=x.rows["train_accuracy"] - x.rows["test_accuracy"])
        )
        for x in regime_lines(study)
    ]
    if not lines:
        return
    figure = Figure(figsize=(WIDTH, 3.9), layout="constrained")
    title = f"Train accuracy, and its gap to test accuracy, {place(study)}"
    drawing = Drawing(
        "gap", title, BATCH_CAPTION + " A large batch with a low train accuracy is under-trained.", figure
    )
    left, right = figure.subplots(1, 2)
    for i, line in enumerate(lines):
        shift = 2 ** (0.07 * (i - (len(lines) - 1) / 2))
        curve_of(drawing, left, line, "train_accuracy", "train accuracy", shift)
        curve_of(drawing, right, line, "gap", "train minus test accuracy", shift)
    for axes, label in ((left, "train accuracy"), (right, "train minus test")):
        batch_axis(axes, lines)
        percent_axis(axes, label)
    handles = [Line2D([], [], color=line.colour, marker=line.marker, label=line.label) for line in lines]
    figure_key(figure, handles, 3)
    yield drawing


def learning_figures(study: Study) -> Made:
    """Train loss and validation accuracy over the epochs."""
    panels = [("loss", "train loss", False), ("val_accuracy", "validation accuracy", True)]
    caption = (
        "One line a trial, coloured by batch size; a diverged trial ends early. The train loss is the "
        "running mean that training reports."
    )
    yield from _over_epochs(study, panels, "learning", "Learning curves", caption)


def eigenvalue_history_figures(study: Study) -> Made:
    """λ1 over the epochs, where it was recorded."""
    keys = {
        key
        for record in study.records
        for key, values in record.history.items()
        if key.endswith("eigenvalue") and sum(v is not None for v in values) > 1
    }
    if not keys:
        yield "λ1 over the epochs: it was not recorded (hessian.every_epochs is 0)"
    for key in sorted(keys):
        caption = "One line a trial, coloured by batch size."
        yield from _over_epochs(
            study, [(key, "λ1", False)], "eigenvalue-epochs", "λ1 over the epochs", caption
        )


def _over_epochs(
    study: Study, panels: Sequence[tuple[str, str, bool]], name: str, what: str, caption: str
) -> Made:
    histories = {record.training_hash: record.history for record in study.records}
    panels = [p for p in panels if any(p[0] in history for history in histories.values())]
    lines = regime_lines(study)
    if not panels or not lines:
        yield f"{what}: the records hold no such history"
        return
    figure = Figure(figsize=(WIDTH, 1.2 + 2.4 * len(panels)), layout="constrained")
    drawing = Drawing(name, f"{what}, {place(study)}", caption, figure)
    grid = figure.subplots(len(panels), len(lines), sharex=True, sharey="row", squeeze=False)
    sizes = sorted({int(b) for line in lines for b in line.rows["batch_size"]})
    colours = dict(zip(sizes, sequence(len(sizes)), strict=True))
    for j, line in enumerate(lines):
        for i, (key, label, percent) in enumerate(panels):
            for row in line.rows.to_dict("records"):
                values = [math.nan if v is None else v for v in histories[row["training_hash"]].get(key, ())]
                epochs = [e for e, v in enumerate(values, 1) if math.isfinite(v)]
                gid = drawing.says(
                    f"{line.label}, batch size {row['batch_size']}, seed {row['seed']}: {row['status']}"
                )
                kept = [v for v in values if math.isfinite(v)]
                grid[i, j].plot(epochs, kept, color=colours[row["batch_size"]], linewidth=1, gid=gid)
            if j == 0:
                grid[i, 0].set_ylabel(f"{label} (%)" if percent else label)
            if percent:
                grid[i, j].yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:g}"))
            elif all(v > 0 for drawn in grid[i, j].lines for v in np.asarray(drawn.get_ydata(), dtype=float)):
                grid[i, j].set_yscale("log")
                grid[i, j].yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:g}"))
                grid[i, j].yaxis.set_minor_formatter(NullFormatter())
        grid[0, j].set_title(line.label.replace(" (", "\n("))
        grid[-1, j].set_xlabel("epoch")
    figure_key(
        figure,
        [Line2D([], [], color=colours[b], label=f"{b}") for b in sizes],
        min(len(sizes), 4),
        "batch size",
    )
    yield drawing


BEYOND: tuple[Callable[[Study], Made], ...] = (gap_figures, learning_figures, eigenvalue_history_figures)
