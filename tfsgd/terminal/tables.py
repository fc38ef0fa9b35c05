"""The plan and the results as tables in a terminal."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.measure import Measurement as Measured
from rich.table import Table

from tfsgd.measures.attacks.minimal import Minimal
from tfsgd.measures.spec import Measurement, Request
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import (
    HESSIAN,
    attacks,
    curvature,
    is_primary,
    natural,
    requests_of,
    titled,
    top_eigenvalue,
)
from tfsgd.plan.settings import settings_in_use
from tfsgd.plan.trials import Trial
from tfsgd.records.outcomes import smallest_epsilon
from tfsgd.records.record import Record
from tfsgd.terminal.progress import duration
from tfsgd.text import counted

MANY = 1_000  # rows: a table's columns take a millisecond a row to fit


def plan_lines(trials: list[Trial], experiment: Experiment) -> Iterator[str]:
    """The trials with their SGD settings, a line each: as `plan_table`, for many."""
    yield f"{experiment.name}: {counted(len(trials), 'trial')} of {experiment.length}"
    shown = settings_in_use([trial.settings for trial in trials])
    for trial in trials:
        settings = ", ".join(f"{s.name} {s.text(trial.settings)}" for s in shown)
        yield f"{trial.name}  {' = '.join(trial.regimes)}  {settings}, seed {trial.seed}"


def plan_table(trials: list[Trial], experiment: Experiment) -> Table:
    """The trials with their SGD settings."""
    table = Table(
        title=f"{experiment.name}: {counted(len(trials), 'trial')} of {experiment.length}",
        title_justify="left",
    )
    shown = settings_in_use([trial.settings for trial in trials])
    for heading in ("trial", "regimes", *(s.name for s in shown), "seed"):
        table.add_column(heading, justify="left" if heading in ("trial", "regimes") else "right")
    for trial in trials:
        settings = (s.text(trial.settings) for s in shown)
        table.add_row(trial.name, " = ".join(trial.regimes), *settings, str(trial.seed))
    return table


def what_is_left(trials: Sequence[Trial], done: Sequence[Record], experiment: Experiment, where: str) -> str:
    """How many trials have a record there, how long the others may take, and what is to be measured on those."""
    if not done:
        return f"none of {counted(len(trials), 'trial')} has a record in {where} yet"
    left, seconds = len(trials) - len(done), sum(r.cost for r in done) / len(done)
    more = (
        f"; the other {left} take one worker about {duration(left * seconds)}, as those did" if left else ""
    )
    return f"{len(done)} of {counted(len(trials), 'trial')} have a record in {where}{more}{_to_measure(done, experiment)}"


def _to_measure(done: Sequence[Record], experiment: Experiment) -> str:
    missing = [record.missing(requests_of(experiment, record.seed)) for record in done]
    count = sum(map(bool, missing))
    if not count:
        return ""
    asked = sorted((r for m in missing for r in m), key=lambda r: r.free)  # what costs nothing comes last
    what = dict.fromkeys(r.title for r in asked)
    return f"; to be measured on {count} of them: {', '.join([*what][:6])}{', ...' if len(what) > 6 else ''}"


MOST_COLUMNS = 12  # of what is measured beside natural accuracy and λ1: more cannot be read


def results_table(
    results: list[tuple[Trial, Record]], experiment: Experiment, width: int, logs: Path | None = None
) -> Table:
    """The trials with what was measured: first natural accuracy, the median smallest epsilon and λ1; then each attack by its
    label, at all its epsilons, or at the smallest and the largest where they are too many for a terminal of this width. The
    smallest epsilon has its 95 % interval where there is room. No number is cut: print it with `crop=False`.

    Args:
        results: the trials with their records.
        experiment: what they were asked for.
        width: of the terminal, in characters.
        logs: the sweep's folder, with the outcomes of the attacks.
    """
    asked = [
        *attacks(experiment.attacks, experiment.examples("test"), 0),
        *curvature(experiment.curvature),
    ]
    searched = next((r for r in asked if is_primary(r)), None)
    asked = [r for r in asked if r is not searched]
    smallest = None if searched is None else [_smallest(logs, record) for _, record in results]
    ends = {(label, e) for label, a in experiment.attacks.items() for e in (min(a.epsilon), max(a.epsilon))}
    few = [r for r in asked if r.epsilon is None or (r.label, r.epsilon) in ends][:MOST_COLUMNS]
    for shown, parts in ((asked, 2), (asked, 1), (few, 2), (few, 1)):
        primary = None if smallest is None else [" ".join(one[:parts]).strip() for one in smallest]
        table = _results(results, experiment, shown, primary, len(asked) - len(shown))
        wide = Console(width=1_000)
        table.width = Measured.get(wide, wide.options, table).maximum
        if len(shown) <= MOST_COLUMNS and table.width <= width:
            break
    return table


def _smallest(logs: Path | None, record: Record) -> tuple[str, str]:
    """The median smallest epsilon, and its interval; `-`: more than half of the images hold out, or it was not measured."""
    found = smallest_epsilon((logs or Path()) / "trials" / record.folder, record)
    return in_words(found)


def in_words(found: Mapping[str, float]) -> tuple[str, str]:
    """A median smallest epsilon, and its 95 % interval in brackets or nothing."""
    median = found.get("median", math.inf)
    if math.isinf(median):
        return "-", ""
    ends = [
        f"{found[end]:.3g}" if math.isfinite(found[end]) else "∞" for end in ("low", "high") if end in found
    ]
    return f"{median:.3g}", f"[{', '.join(ends)}]" if ends else ""


def _results(
    results: list[tuple[Trial, Record]],
    experiment: Experiment,
    shown: Sequence[Request],
    primary: Sequence[str] | None,
    left_out: int,
) -> Table:
    table = Table(
        title=f"{experiment.name}: accuracies are fractions, λ1 is the top Hessian eigenvalue",
        title_justify="left", caption_justify="left", box=box.SIMPLE_HEAD, pad_edge=False, padding=0,
    )  # fmt: skip
    table.add_column("regimes")
    settings = settings_in_use([trial.settings for trial, _ in results])
    told = [s.heading or s.title for s in settings]
    lead = ["train", "test", *([] if primary is None else ["smallest\nε"]), "λ1"]
    for heading in (*told, "seed", *lead, *map(_heading, shown), "time"):
        table.add_column(heading, justify="right")
    table.add_column("status")
    first = [*natural({split: experiment.examples(split) for split in ("train", "test")})]
    columns = [*first, top_eigenvalue(experiment), *shown]
    unsure = False
    for number, (trial, record) in enumerate(results):
        found = [record.find(replace(r, seed=trial.seed) if r.epsilon is not None else r) for r in columns]
        unsure |= any(m.kind == "curvature" and not m.values["converged"] for m in found if m)
        cells = [_shown(m) for m in found]
        cells[len(first) : len(first)] = [] if primary is None else [primary[number]]
        table.add_row(
            " = ".join(trial.regimes), *(s.text(trial.settings) for s in settings), str(trial.seed),
            *cells, duration(record.cost), record.status,
        )  # fmt: skip
    said = []
    if unsure:
        said.append("?: it ended before its error was below the tolerance")
    if left_out:
        said.append(f"{counted(left_out, 'more column')}: python -m tfsgd.report writes all into records.csv")
    table.caption = "; ".join(said) or None
    return table


def _heading(request: Request) -> str:
    """Of a column: the label, and below it the epsilon, or that it is searched."""
    if isinstance(request.spec, Minimal):
        return f"{request.label}\nmedian ε"
    return request.label if request.epsilon is None else f"{request.label}\n{request.epsilon:g}"


def _shown(found: Measurement | None) -> str:
    if found is not None and found.name == "minimal":
        return _number(found.values.get("median"), ".3g")
    if found is None or found.kind in ("accuracy", "attack"):
        return _number(found.accuracy if found else None)
    error = found.values.get("standard_error")  # other images would give another value
    spread = "" if error is None else f" ± {error:.2g}"
    return _number(found.values["value"], ".4g") + spread + ("" if found.values["converged"] else "?")


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)


def measurements_table(
    title: str,
    found: Sequence[Measurement],
    not_measured: Mapping[str, str],
    smallest: Mapping[str, float] | None = None,
) -> Table:
    """What was measured on one network, one row each: natural accuracy, the smallest epsilon and λ1 lead.

    Args:
        title: of the table.
        found: the measurements.
        not_measured: label -> why not.
        smallest: the smallest epsilons over all attacks, as `tfsgd.records.outcomes.spread` gives them; empty: none.
    """
    table = Table(title=title, title_justify="left")
    for heading in ("what", "ε", "images"):
        table.add_column(heading, justify="left" if heading == "what" else "right")
    for heading in ("value", "evidence"):
        table.add_column(heading, justify="right" if heading == "value" else "left")
    natural = [m for m in found if m.kind == "accuracy"]
    for one in natural:
        what = f"accuracy on {one.split} images"
        table.add_row(what, "", f"{one.examples:,}", *value_and_evidence(one))
    if smallest:
        median, interval = in_words(smallest)
        images = max(m.examples for m in found if "censored" in m.values)
        said = f"95 % interval {interval}; whatever attack broke the image" if interval else ""
        table.add_row("smallest ε, median", "", f"{images:,}", median, said)
    for one in sorted((m for m in found if m.kind != "accuracy"), key=lambda m: m.label != HESSIAN):
        at = "" if one.epsilon is None else f"{one.epsilon:g}"
        table.add_row(titled(one.label), at, f"{one.examples:,}", *value_and_evidence(one))
    for label, why in not_measured.items():
        table.add_row(titled(label), "", "", "none", why)
    return table


def value_and_evidence(found: Measurement) -> tuple[str, str]:
    values = found.values
    if found.kind == "accuracy":
        return _number(found.accuracy), f"loss {_number(values['loss'], '.4g')}"
    if found.kind == "attack":
        more = [
            f"{key} {_number(values[key], '.3g')}"
            for key in ("median", "censored", "queries")
            if key in values
        ]
        return _number(found.accuracy), ", ".join(
            filter(None, [f"clean {_number(values['clean_accuracy'])}", *more, _settings(found)])
        )
    if found.kind == "confidence":
        margin, error = _number(values["margin"], ".4g"), _number(values["calibration_error"], ".2g")
        return _number(values["confidence"]), f"margin of the logits {margin}, calibration error {error}"
    if found.kind == "gradient":
        if found.name == "zero_gradients":
            return _number(values["fraction"]), _direction(values)
        radius = f"first-order radius {_number(values['radius'], '.3g')}" if "radius" in values else ""
        return _number(values["value"], ".4g"), radius
    if found.kind == "weights":
        norms = values.get("log_spectral_norms")
        return _number(values["value"], ".4g"), f"log spectral norms {_number(norms, '.4g')}" if norms else ""
    if found.kind == "corruption":
        return _number(found.accuracy), f"clean {_number(values['clean_accuracy'])}"
    said = f"error {_number(values['error'], '.2g')} after {values['products']} products"
    return _shown(found), said + ("" if values["converged"] else ", not converged")


def _direction(values: Mapping[str, Any]) -> str:
    """What float32 leaves of the softmax's gradient; records of early versions do not say it."""
    shares = [f"{100 * values[key]:.1f} % {key}" for key in ("saturated", "misdirected") if key in values]
    return "; float32's softmax gradient: ".join(
        filter(None, ["share of images without a gradient", ", ".join(shares)])
    )


def _settings(found: Measurement) -> str:
    keys = ("steps", "step_size", "restarts", "loss", "temperature")
    shown = {key: found.settings[key] for key in keys if key in found.settings}
    return ", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in shown.items())


def transfer_tables(victims: Mapping[str, Sequence[Measurement | None]]) -> list[Table]:
    """For each epsilon the accuracy of each victim (a column) under the perturbations of each source (a row).

    Args:
        victims: what was measured on each, by its name; sources are the same trials in the same order.
    """
    epsilons = dict.fromkeys(m.epsilon for found in victims.values() for m in found if m)
    tables = []
    for epsilon in epsilons:
        table = Table(
            title=f"accuracy under perturbations of another network, ε = {epsilon:g}", title_justify="left"
        )
        table.add_column("made on \\ tried on")
        for number in range(1, len(victims) + 1):
            table.add_column(str(number), justify="right")
        for number, source in enumerate(victims, 1):
            cells = [
                next((m for m in found if m and (m.settings["source"], m.epsilon) == (source, epsilon)), None)
                for found in victims.values()
            ]
            table.add_row(f"{number}  {source}", *(_number(m.accuracy if m else None) for m in cells))
        tables.append(table)
    return tables
