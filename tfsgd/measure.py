"""The command: `python -m tfsgd.measure TARGET...` measures networks that are trained already.

Example:
    python -m tfsgd.measure my_network.keras --dataset fashion_mnist --set attacks.pgd.steps=100
"""

import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from tfsgd import command
from tfsgd.command import OK, SOME_FAILED
from tfsgd.errors import RequestError
from tfsgd.plan.config import Experiment
from tfsgd.plan.reading import load_measuring, regrown
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.files import to_json, write_atomically
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import locked
from tfsgd.records.ledger import Done, is_complete, refuse_other_data, trained
from tfsgd.sweeping.progress import console, send_native_logs_to
from tfsgd.sweeping.run import Crew, Plan, run_trials
from tfsgd.sweeping.tables import measurements_table, results_table


@dataclass(frozen=True)
class _Asked:
    """What to measure, as the command line says."""

    config: Path | None
    dataset: str | None
    overrides: tuple[str, ...]
    data: Path | None


def measure(
    targets: Annotated[
        list[Path],
        typer.Argument(
            metavar="TARGET...", help="LOGS/NAME, a trial's folder, a .keras file, or a SavedModel's folder."
        ),
    ],
    config: Annotated[
        Path | None, typer.Option(help="A YAML file whose data set, attacks and curvature are measured.")
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="The data set of networks from elsewhere, such as fashion_mnist.")
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set", metavar="KEY=VALUE", help="Such as attacks.pgd.steps=100 or 'curvature.trace={}'."
        ),
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Folder with the raw data files; looked into first.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(min=1, help="Processes, for LOGS/NAME.", show_default="one for each GPU or core"),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="JSON file for the numbers with their evidence; a picture goes beside it as PNG."),
    ] = None,
) -> int:
    """Measure networks that are trained already, without a sweep.

    Of LOGS/NAME and a trial's folder the stored networks are measured, what is measured already is kept, and
    what is new goes into their records, so that the same command goes on after an interruption. A network from
    elsewhere is a .keras file or a SavedModel: float32 images in [0, 1] to logits; --config or --dataset says
    on which images.

    Exit code: 0 everything was measured, 1 some network was not, 2 the request is wrong, 130 interrupted.
    """
    asked = _Asked(config, dataset, tuple(overrides or ()), data)
    if out and (out.suffix != ".json" or not (out.parent or Path()).is_dir()):
        raise RequestError(f"--out {out}: expected a file .json in a folder that is there")
    stored = [target for target in targets if _is_stored(target)]
    others = [target for target in targets if target not in stored]
    if others and not (config or dataset):
        raise RequestError(
            f"{others[0]}: on which images? give --config CONFIG or --dataset NAME; or expected LOGS/NAME with "
            "an experiment.yaml"
        )
    results: list[object] = []
    code = OK
    for target in stored:
        failed, found = _measure_stored(target, asked, workers)
        code = max(code, failed)
        results += found
    if others:
        results += _measure_files(others, asked, out)
    if out:
        write_atomically(out, to_json(results[0] if len(results) == 1 else results))
        console().print(f"Evidence: {out}", highlight=False, markup=False, soft_wrap=True)
    return code


# Networks of a sweep


def _is_stored(target: Path) -> bool:
    """Whether it is LOGS/NAME or the folder of one of its trials."""
    return (target / "experiment.yaml").is_file() or (_sweep_of(target) / "experiment.yaml").is_file()


def _sweep_of(trial: Path) -> Path:
    return trial.resolve().parent.parent.parent if (trial / "record.json").is_file() else trial


def _measure_stored(target: Path, asked: _Asked, workers: int | None) -> tuple[int, list[object]]:
    folder = LogFolder(_sweep_of(target))
    experiment = regrown(folder.experiment_path, asked.config, asked.overrides, (asked.data,))
    crew = Crew(workers, data_dirs=(asked.data, Path(experiment.data_dir) if experiment.data_dir else None))
    with locked(folder.path):
        done = _chosen(trained(grid(experiment), experiment, folder), folder, target)
        if not done:
            raise RequestError(f"{target}: no trained network of its experiment.yaml below trials/")
        waiting = [trial for trial, record in done if not is_complete(record, experiment, also_free=True)]
        console().print(f"{experiment.name}: {len(done)} trained, {len(waiting)} to measure", highlight=False)
        failures = _run(waiting, done, experiment, folder, crew) if waiting else {}
        done = _chosen(trained(grid(experiment), experiment, folder), folder, target)
    console().print(results_table(done, experiment))
    for name, reason in failures.items():
        print(f"failed: {name}: {reason}", file=sys.stderr)
    found: list[object] = [
        {"target": str(folder.trial_path(trial)), **record.model_dump(mode="json", by_alias=True)}
        for trial, record in done
    ]
    return (SOME_FAILED if failures else OK), found


def _run(
    waiting: list[Trial], done: Done, experiment: Experiment, folder: LogFolder, crew: Crew
) -> dict[str, str]:
    splits = experiment.splits(crew.data_dirs)
    refuse_other_data(done, splits.sha256, splits.source, folder)
    return run_trials(waiting, done, Plan(experiment, splits, folder, crew))


def _chosen(done: Done, folder: LogFolder, target: Path) -> Done:
    """All trials of LOGS/NAME, or the one whose folder it is."""
    if folder.path == target:
        return done
    return [
        (trial, record) for trial, record in done if folder.trial_path(trial).resolve() == target.resolve()
    ]


# Networks from elsewhere


def _measure_files(targets: list[Path], asked: _Asked, out: Path | None) -> list[object]:
    for target in targets:
        if not target.exists():
            raise RequestError(
                f"{target}: no such file or folder; expected LOGS/NAME, a .keras file or a SavedModel"
            )
    plan = load_measuring(asked.config, asked.dataset, asked.overrides, (asked.data,))
    splits = plan.splits((asked.data, Path(plan.data_dir) if plan.data_dir else None))
    output = console()
    output.print(f"images: {plan.dataset} from {splits.source}", highlight=False, markup=False)
    send_native_logs_to(Path(os.devnull))
    from tfsgd.sweeping.measuring import Found, evidence, measure_file
    from tfsgd.sweeping.pictures import epsilon_picture
    from tfsgd.training.devices import configure_tensorflow

    configure_tensorflow()
    found: list[Found] = []
    for target in targets:
        path = target / "model.keras" if (target / "model.keras").is_file() else target
        found.append(
            measure_file(path, plan, splits, lambda line: output.print(line, highlight=False, markup=False))
        )
        output.print(measurements_table(str(target), found[-1].measurements, found[-1].not_measured))
        for warning in found[-1].warnings:
            print(f"warning: {target}: {warning}", file=sys.stderr)
    if out:
        measured = {Path(one.target).name: one.measurements for one in found}
        out.with_suffix(".png").write_bytes(
            epsilon_picture(measured, f"{plan.data.title}: accuracy against ε")
        )
    return [evidence(found, plan, splits)]


def main() -> None:
    """Runs the command; every refusal is one line on standard error."""
    command.run(measure, "measure", interrupted="interrupted; the same command goes on from here")


if __name__ == "__main__":
    main()
