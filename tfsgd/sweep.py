"""The command: `python -m tfsgd.sweep CONFIG` trains and measures every trial of a grid."""

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from tfsgd.config import Experiment, load_experiment
from tfsgd.console import Display, console, plan_table, results_table, send_native_logs_to
from tfsgd.data import Splits, load_splits
from tfsgd.errors import RequestError
from tfsgd.records import LogFolder, Trial, grid, name_regimes, refuse_other_data, results

OK, SOME_FAILED, WRONG_REQUEST, INTERRUPTED = 0, 1, 2, 130


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
) -> int:
    """Train and measure every trial of a grid of SGD settings.

    Each network is trained on unperturbed images; then its natural, FGSM and PGD accuracy and the
    top eigenvalue of its Hessian are measured and written to LOGS/NAME/trials/*/*/record.json.
    The same command again continues: a trial that has a record is never trained again.

    Exit code: 0 every trial has a record, 1 some trial failed, 2 the request is wrong,
    130 interrupted.
    """
    experiment = load_experiment(config, tuple(overrides or ()), quick)
    trials = grid(experiment)
    if dry_run:
        console().print(plan_table(trials, experiment))
        return OK
    folder = _log_folder(logs, experiment)
    done = results(trials, experiment, folder)
    recorded = {trial for trial, _ in done}
    waiting = [trial for trial in trials if trial not in recorded]
    output = console()
    output.print(
        f"{experiment.name}: {len(trials)} trials, {len(done)} have a record, {len(waiting)} to train",
        highlight=False,
    )
    failures: dict[str, str] = {}
    if waiting:
        splits = _splits(experiment, data)
        refuse_other_data(done, splits.sha256, splits.source, folder)
        output.print(f"images: {experiment.dataset} from {splits.source}", highlight=False, markup=False)
    name_regimes(done, folder)
    folder.write_experiment(experiment)
    if waiting:
        failures = _train(waiting, trials, experiment, splits, folder)
    _show_results(trials, experiment, folder)
    _say_what_is_next(experiment, config, folder, quick)
    return _exit_code(trials, failures, experiment, folder)


def _log_folder(logs: Path, experiment: Experiment) -> LogFolder:
    name = experiment.name + ("-quick" if experiment.profile == "quick" else "")
    folder = LogFolder(logs / name)
    try:
        folder.path.mkdir(parents=True, exist_ok=True)
        probe = folder.path / ".writable"
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise RequestError(
            f"{folder.path}: cannot be written to: {error.strerror}; choose another folder with --logs"
        ) from None
    return folder


def _splits(experiment: Experiment, data: Path | None) -> Splits:
    """The images, cut to the numbers that the experiment asks for."""
    data_dir = Path(experiment.data_dir) if experiment.data_dir else None
    splits = load_splits(experiment.dataset, (data, data_dir))
    return Splits(
        train=splits.train.first(experiment.train_examples),
        validation=splits.validation.first(experiment.validation_examples),
        test=splits.test.first(experiment.test_examples),
        sha256=splits.sha256,
        source=splits.source,
    )


def _train(
    waiting: list[Trial], trials: list[Trial], experiment: Experiment, splits: Splits, folder: LogFolder
) -> dict[str, str]:
    """Trains what has no record; returns the failures. TensorFlow is first imported here."""
    output = console()
    send_native_logs_to(folder.path / "tensorflow.log")
    from tfsgd.tensorboard import write_hparams_config
    from tfsgd.train import check_replicas, configure_tensorflow, mirrored_strategy
    from tfsgd.tuner import search

    configure_tensorflow()
    check_replicas(experiment.batch_sizes, mirrored_strategy().num_replicas_in_sync)
    write_hparams_config(experiment, trials, folder.path)
    with Display(len(waiting), experiment.epochs, output) as display:
        return search(experiment, waiting, splits, folder, display)


def _show_results(trials: list[Trial], experiment: Experiment, folder: LogFolder) -> None:
    found = results(trials, experiment, folder)
    if found:
        console().print(results_table(found, experiment))


def _say_what_is_next(experiment: Experiment, config: Path, folder: LogFolder, quick: bool) -> None:
    output = console()
    output.print(f"Records: {escape(str(folder.path))}/trials", highlight=False, soft_wrap=True)
    output.print(
        f"Look:    tensorboard --logdir {escape(shlex.quote(str(folder.path)))}",
        highlight=False,
        soft_wrap=True,
    )
    if quick:
        output.print(
            f"In full: python -m tfsgd.sweep {escape(shlex.quote(str(config)))}",
            highlight=False,
            soft_wrap=True,
        )


def _exit_code(
    trials: list[Trial], failures: dict[str, str], experiment: Experiment, folder: LogFolder
) -> int:
    """Compares the records with the grid: whatever the search says, the records are the truth."""
    recorded = {trial for trial, _ in results(trials, experiment, folder)}
    missing = [trial for trial in trials if trial not in recorded]
    for trial in missing:
        reason = failures.get(trial.name, "no record and no error: run the command again")
        where = folder.trial_path(trial) / "failure.json"
        print(
            f"failed: {trial.name}: {reason}" + (f" (traceback in {where})" if where.exists() else ""),
            file=sys.stderr,
        )
    return SOME_FAILED if missing else OK


def main() -> None:
    """Runs the command; every refusal is one line on standard error."""
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command()(sweep)
    try:
        code = app(standalone_mode=False, prog_name="python -m tfsgd.sweep")
    except RequestError as error:
        code = _refuse(str(error))
    except typer.TyperException as error:
        code = _refuse(f"{_message(error)} See python -m tfsgd.sweep --help.")
    if code == INTERRUPTED:  # typer makes it of Ctrl-C
        print("interrupted; the same command goes on from here", file=sys.stderr)
    sys.exit(code)


def _message(error: typer.TyperException) -> str:
    return error.format_message() if hasattr(error, "format_message") else str(error)


def _refuse(message: str) -> int:
    print("error: " + " ".join(message.splitlines()), file=sys.stderr)
    return WRONG_REQUEST


if __name__ == "__main__":
    main()
