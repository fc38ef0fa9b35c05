"""The command: `python -m tfsgd.sweep CONFIG` trains and measures every trial of a grid."""

import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from tfsgd import command
from tfsgd.command import OK
from tfsgd.errors import RequestError
from tfsgd.plan.config import Experiment
from tfsgd.plan.fork import fork_override
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.selection import Selection, selection
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import locked
from tfsgd.records.manifest import renew_manifests
from tfsgd.records.outcomes import said_of_lost
from tfsgd.records.preflight import refuse_unusable, refuse_unusable_trials, refuse_unwritable
from tfsgd.records.resume import (
    SweepState,
    name_regimes,
    not_to_be_had,
    read_state,
    refuse_changed_sources,
)
from tfsgd.records.stated import state_claims
from tfsgd.sweeping.run import WorkerOptions, bring_workers, prepared, run_trials
from tfsgd.terminal.guess import guessed, said_of_along
from tfsgd.terminal.progress import Display, console, warn
from tfsgd.terminal.tables import MANY, plan_lines, plan_table, results_table, what_is_left
from tfsgd.text import counted


def sweep(
    config: Annotated[Path, typer.Argument(help="A YAML file such as configs/fmnist_stdcnn.yaml.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Cut down by the config's quick block: minutes, not days.")
    ] = False,
    logs: Annotated[
        Path, typer.Option(help="Results go to LOGS/NAME (with --quick: LOGS/NAME-quick).")
    ] = Path("logs"),
    data: Annotated[
        Path | None, typer.Option(help="Folder with the raw data files; looked into first.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Override a config key, e.g. epochs=10 or 'batch_sizes=[64,1024]'.",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the trials and their SGD settings; train nothing.")
    ] = False,
    only: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=VALUE,...",
            help="Work on these trials alone, e.g. batch_size=64,momentum=0.9; given twice, on either.",
        ),
    ] = None,
    stop_after: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="Work on the first N trials that are left.")
    ] = None,
    fork: Annotated[
        str | None,
        typer.Option(
            metavar="TRIAL@MOMENT",
            help="Begin with a kept checkpoint of another training, e.g. logs/NAME/trials/lr/b0064-m0.9-s0@10, or @u200.",
        ),
    ] = None,
    shard: Annotated[
        str | None,
        typer.Option(
            metavar="I/N", help="Work on the Ith of N parts of the grid, beside others in the same folder."
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Processes that train at the same time.",
            show_default="one for each GPU or core",
        ),
    ] = None,
    workers_per_gpu: Annotated[
        int, typer.Option(min=1, help="Processes that share a GPU, where one holds several networks.")
    ] = 1,
    jobqueue: Annotated[
        str | None,
        typer.Option(
            metavar="NAME", help="Have slurm, pbs, lsf or sge start --workers jobs, as jobqueue.yaml says."
        ),
    ] = None,
    dashboard: Annotated[
        int | None,
        typer.Option(
            metavar="PORT", min=0, max=65535, help="Show Dask's dashboard at this port of this machine alone."
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Let workers on other machines join here.", show_default="nobody"
        ),
    ] = None,
    join: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT", help="Work for the sweep that listens there, with the same --logs."
        ),
    ] = None,
) -> int:
    """Train and measure every trial of a grid of SGD settings.

    Each network is trained on unperturbed images; then its natural, FGSM and PGD accuracy and the
    top eigenvalue of its Hessian are measured and written to LOGS/NAME/trials/*/*/record.json.
    The same command again continues: a trained network is never trained again, what is measured is never
    measured again, and a training that was interrupted goes on from its last epoch.

    Exit code: 0 every trial is trained and measured as asked, 1 some trial failed, 2 the request is wrong,
    130 interrupted.
    """
    given = (*(overrides or ()), *([fork_override(fork)] if fork else []))
    experiment = load_experiment(config, given, quick, data)
    command.refuse_no_folder(data)
    if experiment.claims:
        from tfsgd.reporting.claims.claims import refuse_unknown_metrics  # pandas

        refuse_unknown_metrics(experiment, str(config))
    options = WorkerOptions(workers, workers_per_gpu, listen, join, jobqueue, dashboard, data)
    asked = selection(only or (), stop_after, shard)
    asked.check(grid(experiment))
    asked = asked.within(grid(experiment))
    name = experiment.name + ("-quick" if experiment.profile == "quick" else "")
    folder = LogFolder(logs / name, "-of-".join(map(str, asked.shard or ())))
    options.check(folder)
    if dry_run:
        _show_plan(experiment, folder, asked)
        return OK
    if join:
        if only or stop_after:
            raise RequestError(
                "--only, --stop-after: the sweep that listens deals out the trials; give them there"
            )
        return _join(experiment, folder, options)
    refuse_unwritable(folder.path)
    folder.path.mkdir(parents=True, exist_ok=True)
    with locked(folder.path, folder.shard):
        return _sweep(experiment, folder, options, asked, _in_full() if quick else "")


def _sweep(
    experiment: Experiment, folder: LogFolder, options: WorkerOptions, asked: Selection, in_full: str
) -> int:
    """Trains and measures what is missing, then shows all."""
    refuse_unusable(folder.path)
    state = read_state(experiment, folder)
    refuse_changed_sources(state.done, experiment, folder)
    waiting = asked.of(state.waiting)
    refuse_unusable_trials(map(folder.trial_path, waiting))
    output = console()
    output.print(f"{experiment.name}: {state}")
    failures: dict[str, str] = {}
    _say_along(waiting, state, experiment)
    if waiting:
        with prepared(waiting, experiment, folder, options) as run:
            output.print(f"images: {experiment.dataset} from {run.splits.source}")
            if run.pool and options.listen:
                _say_how_to_join(run.pool.address)
            if run.pool and run.pool.dashboard:
                output.print(f"Watch:   {run.pool.dashboard}")
            _note(experiment, state, folder)
            failures = run_trials(run)
        state = read_state(experiment, folder)
    else:
        _note(experiment, state, folder)
    renew_manifests(state.complete, experiment, folder)
    if state.done:
        output.print(results_table(state.done, experiment, output.width, folder.path), crop=False)
    _say_what_is_next(folder, in_full)
    lost = said_of_lost(folder.path, (record for _, record in state.done))
    for line in (*not_to_be_had(state.complete, experiment, folder), *filter(None, [lost])):
        warn(line)
    meant = set(waiting)
    if left := len([trial for trial in state.incomplete if trial not in meant]):
        output.print(f"{counted(left, 'trial')} left, for which this command was not asked")
    return command.say_failures(
        {trial.name: _reason(trial, failures, folder) for trial in state.incomplete if trial in meant}
    )


def _note(experiment: Experiment, state: SweepState, folder: LogFolder) -> None:
    """Writes the labels that trained trials have now, and the config."""
    name_regimes(state.done, folder)
    folder.write_experiment(experiment)
    state_claims(folder, experiment.claims.values())


def _show_plan(experiment: Experiment, folder: LogFolder, asked: Selection) -> None:
    refuse_unwritable(folder.path)
    state = read_state(experiment, folder)
    refuse_changed_sources(state.done, experiment, folder)
    trials = asked.of(state.waiting if asked.at_most else state.trials)
    if len(trials) <= MANY:
        console().print(plan_table(trials, experiment))
    else:
        print("\n".join(plan_lines(trials, experiment)))
    done = [record for trial, record in state.done if trial in trials]
    left = what_is_left(trials, done, experiment, str(folder.path))
    print(left if done else f"{left}; {guessed(trials, experiment)}")
    _say_along(trials, state, experiment)


def _say_along(trials: Sequence[Trial], state: SweepState, experiment: Experiment) -> None:
    trained = {trial for trial, _ in state.done}
    if said := said_of_along([trial for trial in trials if trial not in trained], experiment):
        console().print(said, soft_wrap=True, highlight=False)


def _join(experiment: Experiment, folder: LogFolder, options: WorkerOptions) -> int:
    """Brings workers to a sweep that runs on another machine."""
    assert options.join is not None
    where = {"data_dir", "code_dir", "export"}  # may differ
    if not folder.experiment_path.exists():
        raise RequestError(
            f"{folder.path}: no sweep has begun here; --join needs the folder of logs that both machines share (--logs)"
        )
    theirs = folder.read_experiment()
    if theirs.model_dump(mode="json", exclude=where) != experiment.model_dump(mode="json", exclude=where):
        raise RequestError(
            f"{folder.path}: the sweep there has another config; join it with the same CONFIG, --quick and --set"
        )
    folder.refuse_other_code(experiment)
    trials = read_state(experiment, folder).trials
    with Display(trials, experiment, folder, console()) as display:
        failures = bring_workers(trials, folder, options, display)
    return command.say_failures(failures)


def _say_how_to_join(address: str) -> None:
    """The command for other machines: this one, with another end."""
    words = sys.argv[1:]
    at = next(i for i, word in enumerate(words) if word.partition("=")[0] == "--listen")
    words[at : at + (1 if "=" in words[at] else 2)] = ["--join", address]
    line = f"{command.spelled('sweep')} {shlex.join(words)}"
    console().print(f"Join:    {line}", soft_wrap=True)


def _in_full() -> str:
    """The same command without `--quick`, to be pasted into a shell."""
    return f"{command.spelled('sweep')} {shlex.join(word for word in sys.argv[1:] if word != '--quick')}"


def _say_what_is_next(folder: LogFolder, in_full: str) -> None:
    where = shlex.quote(str(folder.path))
    lines = [
        f"Records: {folder.path}/trials",
        f"Report:  {command.spelled('report')} {where}",
        f"Look:    tensorboard --logdir {where}",
    ]
    if in_full:
        lines.append(f"In full: {in_full}")
    for line in lines:
        console().print(line, soft_wrap=True)


def _reason(trial: Trial, failures: dict[str, str], folder: LogFolder) -> str:
    """Why a trial is not complete: whatever the search says, the records are the truth."""
    reason = failures.get(trial.name, "not complete, and no error: run the command again")
    where = folder.trial_path(trial) / "failure.json"
    return f"{reason} (traceback in {where})" if where.exists() else reason


def main() -> None:
    """Runs the command; every refusal is one line on standard error."""
    command.run(sweep, "sweep", interrupted="interrupted; the same command goes on from here")


if __name__ == "__main__":
    main()
