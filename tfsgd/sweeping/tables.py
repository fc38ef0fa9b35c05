"""The plan and the results as tables in a terminal."""

from rich.table import Table

from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial
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
    shown = [
        (name, epsilon)
        for name, attack in (("fgsm", experiment.attacks.fgsm), ("pgd", experiment.attacks.pgd))
        for epsilon in (sorted({min(attack.epsilon), max(attack.epsilon)}) if attack else ())
    ]
    headings = [
        "batch",
        "momentum",
        "rate",
        "seed",
        "train",
        "test",
        *(f"{n} {e:g}" for n, e in shown),
        "λ1",
        "time",
    ]
    for heading in headings:
        table.add_column(heading, justify="right")
    table.add_column("status")
    for trial, record in results:
        s = trial.settings
        hessian = record.hessian
        eigenvalue = _number(hessian.eigenvalue, ".4g") + ("" if hessian.converged else "?")
        seconds = record.seconds.train + record.seconds.attacks + record.seconds.hessian
        table.add_row(
            " = ".join(record.regimes), str(s.batch_size), str(s.momentum), f"{s.learning_rate:g}", str(trial.seed),
            _number(record.train_accuracy), _number(record.test_accuracy),
            *(_number(record.accuracy(*attack)) for attack in shown), eigenvalue, duration(seconds), record.status,
        )  # fmt: skip
    if any(not record.hessian.converged for _, record in results):
        table.caption = "?: power iteration ended before its residual was below the tolerance"
    return table


def _number(value: float | None, form: str = ".3f") -> str:
    return "-" if value is None else format(value, form)
