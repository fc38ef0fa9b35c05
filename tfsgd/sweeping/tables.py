"""The plan and the results as tables in a terminal."""

from dataclasses import replace

from rich.table import Table

from tfsgd.measures.spec import Measurement
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial
from tfsgd.plan.wanted import wanted
from tfsgd.records.record import Record
from tfsgd.sweeping.progress import duration


def plan_table(trials: list[Trial], experiment: Experiment) -> Table:
    """The trials with their SGD settings."""
    table = Table(
        title=f"{experiment.name}: {len(trials)} trials of {experiment.epochs} epochs", title_justify="left"
    )
    for heading in ("trial", "regimes"):
        table.add_column(heading)
    for heading in ("batch_size", "momentum", "learning_rate", "halved every", "seed"):
        table.add_column(heading, justify="right")
    for trial in trials:
        s = trial.settings
        halving = f"{s.halve_every_epochs} epochs" if s.halve_every_epochs else "never"
        table.add_row(
            trial.name, " = ".join(trial.regimes), str(s.batch_size), str(s.momentum),
            f"{s.learning_rate:g}", halving, str(trial.seed),
        )  # fmt: skip
    return table


def results_table(results: list[tuple[Trial, Record]], experiment: Experiment) -> Table:
    """The trials with what was measured; of each attack the smallest and the largest epsilon."""
    table = Table(
        title=f"{experiment.name}: accuracies are fractions, λ1 is the top Hessian eigenvalue",
        title_justify="left",
    )
    table.add_column("regimes")
    ends = {(label, e) for label, a in experiment.attacks.items() for e in (min(a.epsilon), max(a.epsilon))}
    shown = [
        r for r in wanted(experiment, 0) if (r.label, r.epsilon) in ends or r.label in experiment.curvature
    ]
    headings = [r.label if r.epsilon is None else f"{r.label} {r.epsilon:g}" for r in shown]
    for heading in ("batch", "momentum", "rate", "seed", "train", "test", *headings, "λ1", "time"):
        table.add_column(heading, justify="right")
    table.add_column("status")
    for trial, record in results:
        s = trial.settings
        found = [record.find(replace(r, seed=trial.seed if r.epsilon is not None else r.seed)) for r in shown]
        top = record.top_eigenvalue
        seconds = sum(record.seconds.values()) + sum(m.seconds or 0 for m in record.measurements)
        table.add_row(
            " = ".join(record.regimes), str(s.batch_size), str(s.momentum), f"{s.learning_rate:g}", str(trial.seed),
            _number(record.accuracy("train")), _number(record.accuracy("test")), *map(_shown, found),
            _shown(top), duration(seconds), record.status,
        )  # fmt: skip
    if any(m.kind == "curvature" and not m.values["converged"] for _, r in results for m in r.measurements):
        table.caption = "?: it ended before its error was below the tolerance"
    return table


def _shown(found: Measurement | None) -> str:
    if found is None or found.kind == "attack":
        return _number(found.accuracy if found else None)
    return _number(found.values["value"], ".4g") + ("" if found.values["converged"] else "?")


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
