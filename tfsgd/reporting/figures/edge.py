"""Figures of the edge of stability: λ1 and what it cannot stay above for long."""

from collections.abc import Hashable, Mapping, Sequence
from typing import Any

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tfsgd.reporting.figures.beyond import Looks
from tfsgd.reporting.figures.curves import (
    View,
    batch_caption,
    curve_of,
    marks,
    momentum_lines,
    momentum_stem,
    place,
    regime_lines,
)
from tfsgd.reporting.figures.style import (
    INK,
    PAPER,
    WIDTH,
    Drawing,
    Line,
    Made,
    batch_axis,
    eigenvalue_axis,
    figure_key,
    handles_of,
    log_axis,
    markers,
    set_apart,
)
from tfsgd.reporting.table.studies import Study

DESCENT = View("descent_eigenvalue", "λ1", is_log=True)
CEILING, PLATEAU = "2(1+γ)/η", "2(1−γ)/η"
THIN = 0.9


def edge_figures(study: Study) -> Made:
    """λ1 against the batch size with its ceiling, and how near to it the trials come."""
    if not study.trials["descent_eigenvalue"].notna().any():
        reason = "λ1 was not measured"
        if study.trials["eigenvalue"].notna().any():
            reason = "with BatchNorm they need λ1 in training mode (hessian.mode: training)"
        yield f"The edge of stability: {reason}"
        return
    lines = regime_lines(study)
    if lines:
        yield _against_ceiling(lines, "edge", f"λ1 and its ceiling, {place(study)}")
    for kind in ("LR", "LR/BS"):
        lines = momentum_lines(study, kind)
        if len(lines) > 1:
            name = f"edge-{momentum_stem(kind)}"
            yield _against_ceiling(lines, name, f"λ1 and its ceiling, {place(study)}: momenta of {kind}")
    yield from _ratios(study)


# Against the batch size


def _against_ceiling(lines: Sequence[Line], name: str, title: str) -> Drawing:
    figure = Figure(figsize=(WIDTH, 4.4), layout="constrained")
    caption = batch_caption(lines, [DESCENT])
    bounded = [line for line in lines if line.rows["halve_every_epochs"].isna().all()]
    with_momentum = [line for line in bounded if (line.rows["momentum"] > 0).any()]
    if bounded:
        caption += (
            f" Thin lines: the ceiling {CEILING} of the curve of the same colour, above which gradient descent "
            "with the whole training set is unstable."
        )
    if with_momentum:
        caption += f" Dotted: {PLATEAU}, where λ1 settles when batches are small."
    if len(bounded) < len(lines):
        caption += " A regime whose rate decays has no ceiling at its end that means anything."
    drawing = Drawing(name, title, caption, figure)
    axes = figure.subplots()
    for line, shift in set_apart(lines):
        curve_of(drawing, axes, line, DESCENT, shift)
    for line in bounded:
        _ceiling(drawing, axes, line)
    batch_axis(axes, lines)
    eigenvalue_axis(axes)
    handles = handles_of(lines)
    handles += [Line2D([], [], color=INK, linewidth=THIN, label=CEILING)] if bounded else []
    handles += [Line2D([], [], color=INK, linestyle=":", label=PLATEAU)] if with_momentum else []
    figure_key(figure, [*handles, *marks(pd.concat([line.rows for line in lines]))], 2)
    return drawing


def _ceiling(drawing: Drawing, axes: Axes, line: Line) -> None:
    """The bounds of each batch size, at the rate that it was trained with."""
    settings = line.rows.groupby("batch_size")[["learning_rate", "momentum"]].first()
    rate, momentum = settings["learning_rate"], settings["momentum"]
    sizes = [float(size) for size in settings.index]
    axes.plot(sizes, 2 * (1 + momentum) / rate, color=line.colour, linewidth=THIN)
    if (momentum > 0).any():
        axes.plot(sizes, 2 * (1 - momentum) / rate, color=line.colour, linewidth=1.4, linestyle=":")
    for size, eta, gamma in settings.itertuples(name=None):
        drawing.values.append(
            {
                "curve": line.label,
                "batch size": f"{size}",
                "what": f"ceiling {CEILING}",
                "mean": f"{2 * (1 + gamma) / eta:.4g}",
                "95 % interval": "",
                "seeds": "",
            }
        )


# One point a trial


def _ratios(study: Study) -> Made:
    """λ1 as a share of its ceiling, one point a trial."""
    looks = Looks.of(study)
    ratio = looks.trials["stability_ratio"]
    at_end = ratio.notna()
    trials = looks.trials.assign(
        ratio=ratio.where(at_end, looks.trials["stability_ratio_max"]), at_end=at_end
    )
    trials = trials[(trials["ratio"] > 0) & (trials["status"] == "completed")]
    if trials.empty:
        yield "How near λ1 comes to its ceiling: no completed trial has a constant rate or λ1 over the epochs"
        return
    figure = Figure(figsize=(WIDTH, 4.2), layout="constrained")
    caption = "One point a trial, every regime and momentum. The line at 1 is the edge of stability."
    if not trials["at_end"].all():
        caption += (
            " Where the rate decays, the largest ratio over the epochs in which λ1 was recorded, each with its "
            "own rate; else the ratio at the end."
        )
    if trials["undertrained"].any():
        caption += " Hollow markers: under-trained."
    title = f"λ1 as a share of its ceiling {CEILING}, {place(study)}"
    drawing = Drawing("edge-ratios", title, caption, figure)
    panels = figure.subplots(1, 2, sharey=True)
    for axes, column in zip(panels, ("batch_size", "effective_learning_rate"), strict=True):
        _ratio_points(drawing, axes, looks, trials, column)
        axes.axhline(1.0, color=INK, linewidth=THIN)
    drawing.values += _ratio_values(trials)
    everything = Line("", INK, "o", trials)
    batch_axis(panels[0], [everything])
    log_axis(panels[1], "x")
    panels[1].set_xlabel("effective rate η/(1−γ)")
    log_axis(panels[0])
    panels[0].set_ylabel("λ1 η / 2(1+γ)")
    figure_key(figure, [*looks.key(), *marks(trials)], 4)
    yield drawing


def _ratio_points(drawing: Drawing, axes: Axes, looks: Looks, trials: pd.DataFrame, column: str) -> None:
    for _, rows in trials.groupby(["regime", "momentum", "undertrained"], sort=False):
        like = rows.iloc[0]
        line = Line(like["regime"], looks.colours[like["regime"]], looks.marker(like["momentum"]), rows)
        points = [
            (row[column], row["ratio"], f"{_who(row)}: {row['ratio']:.3g} of its ceiling")
            for row in rows.to_dict("records")
        ]
        face = PAPER if like["undertrained"] else line.colour
        markers(drawing, axes, line, points, line.marker, markerfacecolor=face, markersize=5)


def _ratio_values(trials: pd.DataFrame) -> list[dict[str, str]]:
    return [
        {
            "trial": _who(row),
            "λ1 / ceiling": f"{row['ratio']:.3g}",
            "when": "at the end" if row["at_end"] else "largest over the epochs",
        }
        for row in trials.to_dict("records")
    ]


def _who(row: Mapping[Hashable, Any]) -> str:
    return (
        f"{row['regime']}, batch size {row['batch_size']}, momentum {row['momentum']:g}, seed {row['seed']}"
    )
