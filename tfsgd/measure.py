"""The command: `python -m tfsgd.measure TARGET...` measures networks that are trained already.

Example:
    python -m tfsgd.measure my_network.keras --dataset fashion_mnist --set attacks.pgd.steps=100
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from tfsgd import command
from tfsgd.command import OK, SOME_FAILED
from tfsgd.errors import RequestError
from tfsgd.imports import make_callable, quickly
from tfsgd.measures.spec import Request
from tfsgd.plan.config import Experiment
from tfsgd.plan.reading import load_measuring, regrown
from tfsgd.plan.requests import doubts, requests_of
from tfsgd.plan.trials import Trial, grid
from tfsgd.plan.user_model import import_layers
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import locked
from tfsgd.records.outcomes import said_of_lost, smallest_epsilon
from tfsgd.records.preflight import refuse_unusable_trials
from tfsgd.records.published import published_network, published_networks
from tfsgd.records.resume import Done, is_complete, refuse_changed_sources, refuse_other_data, trained
from tfsgd.reporting.page.network_files import refuse_unfit_outs, write_outs
from tfsgd.sweeping.run import WorkerOptions, prepared, run_trials
from tfsgd.terminal.comparison import NetworkColumn, comparison_table
from tfsgd.terminal.progress import console, send_native_logs_to, warn
from tfsgd.terminal.tables import measurements_table, results_table, transfer_tables
from tfsgd.text import nearest, shown_path

make_callable(__name__)
OF_FILES = ("code", "scale", "mean", "std", "strip_softmax")  # options of networks from elsewhere alone


@dataclass(frozen=True)
class _Asked:
    """What to measure, as the command line says."""

    config: Path | None
    dataset: str | None
    overrides: tuple[str, ...]
    data: Path | None
    transfer: bool = False
    outcomes: bool = False
    code: tuple[str, ...] = ()
    scale: float = 1.0
    mean: tuple[float, ...] = (0.0,)
    std: tuple[float, ...] = (1.0,)
    strip_softmax: bool = False


def measure(
    targets: Annotated[
        list[Path],
        typer.Argument(
            metavar="TARGET...",
            help="LOGS/NAME, a trial's folder, a .keras file, a SavedModel's folder, PyTorch's weights, or a name of tfsgd.zoo().",
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(
            help="A YAML file whose data set, attacks and curvature are measured; of LOGS/NAME its attacks and "
            "curvature besides."
        ),
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
    code: Annotated[
        list[str] | None,
        typer.Option(
            metavar="FILE.py",
            help="Code of a network's own layers; FILE.py:NAME builds a PyTorch one. It is run.",
        ),
    ] = None,
    scale: Annotated[
        float,
        typer.Option(
            help="What the network expects 1.0 of a pixel to be, such as 255; epsilon stays in [0, 1]."
        ),
    ] = 1.0,
    mean: Annotated[
        str | None,
        typer.Option(help="What it expects to be taken off the scaled pixels: a number, or one a channel."),
    ] = None,
    std: Annotated[
        str | None, typer.Option(help="What it expects them to be divided by then, likewise.")
    ] = None,
    strip_softmax: Annotated[
        bool, typer.Option("--strip-softmax", help="Take off the softmax that a network ends in.")
    ] = False,
    data: Annotated[
        Path | None, typer.Option(help="Folder with the raw data files; looked into first.")
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Processes, for LOGS/NAME.", show_default="one for each GPU or core"
        ),
    ] = None,
    transfer: Annotated[
        bool,
        typer.Option(
            "--transfer", help="Of LOGS/NAME: try each network's perturbations on each other, one a cell."
        ),
    ] = False,
    outcomes: Annotated[
        bool,
        typer.Option(
            "--outcomes",
            help="Of LOGS/NAME: attack again where the outcome of every image is gone or was not kept.",
        ),
    ] = False,
    out: Annotated[
        list[Path] | None,
        typer.Option(
            help="FILE.json for the numbers with their evidence, and a picture beside it; FILE.csv or FILE.tex for all "
            "networks in one table. It may be given several times."
        ),
    ] = None,
) -> int:
    """Measure networks that are trained already, without a sweep.

    Of LOGS/NAME and a trial's folder the stored networks are measured, what is measured already is kept, and
    what is new goes into their records, so that the same command goes on after an interruption. A network from
    elsewhere is a .keras file, a SavedModel, or a PyTorch module's weights: float32 images in [0, 1] to logits;
    --config or --dataset says on which images.

    Exit code: 0 everything was measured, 1 some network was not, 2 the request is wrong, 130 interrupted.
    """
    asked = _Asked(
        config, dataset, tuple(overrides or ()), data, transfer, outcomes, tuple(code or ()), scale,
        command.numbers("--mean", mean, 0.0), command.numbers("--std", std, 1.0), strip_softmax,
    )  # fmt: skip
    refuse_unfit_outs(out or ())
    command.refuse_no_folder(data)
    for target in targets:
        if not target.exists() and not published_network(target):
            raise RequestError(
                f"{target}: no such file or folder; expected LOGS/NAME, a .keras file or a SavedModel"
                f"{nearest(str(target), published_networks())}"
            )
    targets = _once(targets)
    stored = [target for target in targets if _is_stored(target)]
    others = [target for target in targets if target not in stored]
    _refuse_unclear_images(others, asked)
    if transfer and (others or any(not (target / "experiment.yaml").is_file() for target in stored)):
        raise RequestError(
            f"--transfer: expected LOGS/NAME, received {', '.join(map(str, targets))}; for other networks give "
            "--set 'attacks.transfer={source: FILE.keras, epsilon: [...]}'"
        )
    if outcomes and (others or transfer):
        raise RequestError(
            "--outcomes: expected LOGS/NAME or the folder of a trial, and no --transfer; networks from elsewhere have no record"
        )
    results, exit_code = [], OK
    for target in stored:
        failed, found = _measure_stored(target, asked, workers)
        exit_code = max(exit_code, failed)
        results.append(found)
    if others:
        found = _measure_files(others, asked)
        exit_code = max(exit_code, SOME_FAILED if found.has_failures else OK)
        results.append(found)
    columns = [column for result in results for column in result.columns]
    if len(targets) > 1:
        console().print(comparison_table(columns), crop=False)
    for line in write_outs(out or (), [each for result in results for each in result.evidence], columns):
        console().print(line, soft_wrap=True)
    return exit_code


@dataclass(frozen=True)
class _Result:
    """Of a sweep, or of all networks from elsewhere.

    Attributes:
        evidence: everything as JSON.
        columns: a network each.
    """

    evidence: list[Any]
    columns: list[NetworkColumn]
    has_failures: bool = False


def _refuse_unclear_images(others: list[Path], asked: _Asked) -> None:
    if others and not (asked.config or asked.dataset):
        raise RequestError(
            f"{others[0]}: on which images? give --config CONFIG or --dataset NAME; or expected LOGS/NAME with "
            "an experiment.yaml"
        )
    if asked.dataset and not others:
        raise RequestError(
            "--dataset: the networks of a sweep are measured on its own data set; leave it out, "
            "or give a network's own file"
        )
    if not others:
        for name in (n for n in OF_FILES if getattr(asked, n) != getattr(_Asked, n)):
            raise RequestError(
                f"--{name.replace('_', '-')}: it is for networks from elsewhere; of LOGS/NAME give --config CONFIG, or a "
                "network's own file"
            )


# Networks of a sweep


def _is_stored(target: Path) -> bool:
    """Whether it is LOGS/NAME or the folder of one of its trials."""
    return (target / "experiment.yaml").is_file() or (_sweep_of(target) / "experiment.yaml").is_file()


def _once(targets: Sequence[Path]) -> list[Path]:
    """Each target once, and no trial beside the sweep that it belongs to."""
    places: dict[Path, Path] = {}
    for target in targets:
        places.setdefault(target.resolve(), target)
    return [
        target
        for place, target in places.items()
        if (sweep := _sweep_of(target).resolve()) == place or sweep not in places
    ]


def _sweep_of(trial: Path) -> Path:
    return trial.resolve().parent.parent.parent if (trial / "record.json").is_file() else trial


def _measure_stored(target: Path, asked: _Asked, workers: int | None) -> tuple[int, _Result]:
    folder = LogFolder(_sweep_of(target))
    experiment = regrown(folder.experiment_path, asked.config, asked.overrides, asked.data, warn)
    options = WorkerOptions(workers, data_folder=asked.data)
    with locked(folder.path):
        done = _chosen(trained(grid(experiment), experiment, folder), folder, target)
        if not done:
            raise RequestError(f"{target}: no trained network of its experiment.yaml below trials/")
        refuse_changed_sources(done, experiment, folder)
        if asked.transfer:
            return OK, _measure_transfer(done, experiment, folder, options)
        if asked.outcomes:
            refuse_unusable_trials(folder.trial_path(trial) for trial, _ in done)
            _measure_outcomes(done, experiment, folder, options)
            done = _chosen(trained(grid(experiment), experiment, folder), folder, target)
        waiting = [trial for trial, record in done if not is_complete(record, experiment, also_free=True)]
        refuse_unusable_trials(map(folder.trial_path, waiting))
        console().print(f"{experiment.name}: {len(done)} trained, {len(waiting)} to measure")
        failures = _run(waiting, experiment, folder, options) if waiting else {}
        done = _chosen(trained(grid(experiment), experiment, folder), folder, target)
    output = console()
    output.print(results_table(done, experiment, output.width, folder.path), crop=False)
    if lost := said_of_lost(folder.path, (record for _, record in done)):
        warn(lost)
    return command.say_failures(failures), _stored_result(done, experiment, folder)


def _stored_result(
    done: Done, experiment: Experiment, folder: LogFolder, sources: Sequence[Request] = ()
) -> _Result:
    """What is asked for now, by the sweep's config and this command, of each network; `sources`: of other networks."""
    evidence, columns = list[Any](), list[NetworkColumn]()
    for trial, record in done:
        asked = requests_of(experiment, record.seed)
        more = [replace(request, seed=record.seed) for request in sources]
        shown = record.only((*asked, *more)).model_dump(mode="json", by_alias=True)
        evidence.append({"target": str(folder.trial_path(trial)), **shown})
        smallest = smallest_epsilon(folder.trial_path(trial), record)
        name, found = f"{folder.path}/{trial.name}", tuple(record.asked(asked))
        columns.append(NetworkColumn(name, experiment.data.title, found, smallest))
    return _Result(evidence, columns)


def _run(
    waiting: list[Trial], experiment: Experiment, folder: LogFolder, options: WorkerOptions
) -> dict[str, str]:
    with prepared(waiting, experiment, folder, options) as run:
        return run_trials(run)


def _measure_outcomes(done: Done, experiment: Experiment, folder: LogFolder, options: WorkerOptions) -> None:
    """Attacks again, in this process, where outcomes are missing."""
    splits = experiment.splits(options.data_folder)
    refuse_other_data(splits.sha256, splits.source, folder)
    send_native_logs_to(Path(os.devnull))
    with quickly():
        from tfsgd.training.devices import configure_tensorflow
        from tfsgd.trials.outcomes_again import measure_outcomes

    configure_tensorflow()
    output = console()
    count = measure_outcomes(done, experiment, splits, folder, output.print)
    output.print(f"{experiment.name}: {count} attacks measured again for their outcomes")


def _measure_transfer(
    done: Done, experiment: Experiment, folder: LogFolder, options: WorkerOptions
) -> _Result:
    """Tries each network's perturbations on each other, and shows a table for each epsilon."""
    splits = experiment.splits(options.data_folder)
    refuse_other_data(splits.sha256, splits.source, folder)
    send_native_logs_to(Path(os.devnull))
    with quickly():
        from tfsgd.training.devices import configure_tensorflow
        from tfsgd.trials.transfer_pairs import measure_transfer, one_of_each_cell, transfer_requests

    configure_tensorflow()
    chosen = one_of_each_cell(done)
    output = console()
    output.print(f"{experiment.name}: {len(done)} trained, {len(chosen)} of them against each other")
    chosen = measure_transfer(chosen, experiment, splits, folder, output.print)
    sources = [trial for trial, _ in chosen]
    rows = {
        trial.name: [record.find(r) for r in transfer_requests(experiment, sources, trial.seed)]
        for trial, record in chosen
    }
    for table in transfer_tables(rows):
        output.print(table)
    return _stored_result(chosen, experiment, folder, transfer_requests(experiment, sources, 0))


def _chosen(done: Done, folder: LogFolder, target: Path) -> Done:
    """All trials of LOGS/NAME, or the one whose folder it is."""
    if folder.path == target:
        return done
    return [
        (trial, record) for trial, record in done if folder.trial_path(trial).resolve() == target.resolve()
    ]


# Networks from elsewhere


def _measure_files(targets: list[Path], asked: _Asked) -> _Result:
    plan = load_measuring(asked.config, asked.dataset, asked.overrides, asked.data)
    for label, name in ((label, name) for label, spec in plan.attacks.items() for name in spec.others()):
        if not Path(name).exists():
            raise RequestError(f"attacks.{label}.source: {shown_path(name)}: no such file or folder")
    splits = plan.splits(asked.data)
    output = console()
    output.print(f"images: {plan.dataset} from {splits.source}")
    for doubt in doubts(plan):
        warn(doubt)
    send_native_logs_to(Path(os.devnull))
    with quickly():
        from tfsgd.networks.load_network import Pixels
        from tfsgd.training.devices import configure_tensorflow
        from tfsgd.trials.standalone import evidence, measured, opened

    configure_tensorflow()
    named = [found for code in asked.code if (found := import_layers(code))]
    pixels, files = Pixels(asked.scale, asked.mean, asked.std), {str(t): _network_in(t) for t in targets}
    more = (pixels, asked.strip_softmax, named)
    networks = {name: opened(file, plan, splits, *more) for name, file in files.items()}
    found = {}
    for target, network in networks.items():
        found[target] = measured(network, plan, output.print, warn)
        one = found[target]
        output.print(measurements_table(target, one.measurements, one.not_measured, one.smallest_epsilons))
    columns = [
        NetworkColumn(target, plan.data.title, one.measurements, one.smallest_epsilons)
        for target, one in found.items()
    ]
    return _Result(
        [evidence(list(found.values()), plan, splits)],
        columns,
        has_failures=any(one.has_failures for one in found.values()),
    )


def _network_in(target: Path) -> Path:
    """The network in a trial's folder that was copied elsewhere, or the published one of this name; else the target itself."""
    if not target.exists():
        return published_network(target) or target
    return target / "model.keras" if (target / "model.keras").is_file() else target


def main() -> None:
    """Runs the command; every refusal is one line on standard error."""
    command.run(
        measure, "measure", interrupted="interrupted; the same command goes on with the networks of a sweep"
    )


if __name__ == "__main__":
    main()
