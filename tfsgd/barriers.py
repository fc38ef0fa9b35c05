"""The command: `python -m tfsgd.barriers LOGS/NAME` says how far the loss rises between a sweep's networks.

Example:
    python -m tfsgd.barriers logs/fmnist_stdcnn
    python -m tfsgd.report logs/fmnist_stdcnn --figures barriers
"""

import os
import time
from pathlib import Path
from typing import Annotated

import typer

from tfsgd import command
from tfsgd.data.dataset import Split
from tfsgd.errors import RequestError
from tfsgd.imports import quickly
from tfsgd.plan.config import Experiment
from tfsgd.plan.reading import regrown
from tfsgd.plan.trials import grid
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import locked
from tfsgd.records.resume import refuse_other_data, trained
from tfsgd.records.stored_barriers import Barrier, read_barriers, write_barriers
from tfsgd.terminal.progress import console, duration, send_native_logs_to, warn
from tfsgd.text import counted


def barriers(
    folder: Annotated[Path, typer.Argument(metavar="LOGS/NAME", help="Log folder that a sweep wrote.")],
    examples: Annotated[
        int, typer.Option(min=1, help="Training images, from the first on, on which the loss is taken.")
    ] = 1_000,
    points: Annotated[int, typer.Option(min=3, max=1_001, help="On each line, with its ends.")] = 11,
    data: Annotated[
        Path | None, typer.Option(help="Folder with the raw data files; looked into first.")
    ] = None,
) -> None:
    """Compute the barriers of the loss on straight lines of weights between the stored networks of a sweep.

    Between the seeds of each setting, and between regimes at one batch size, momentum and seed. Each goes into
    LOGS/NAME/barriers.json as soon as it is known, so that the same command goes on after an interruption;
    tfsgd report LOGS/NAME --figures barriers draws them.
    """
    command.refuse_no_folder(data)
    logs = LogFolder(folder)
    if not logs.experiment_path.is_file():
        raise RequestError(f"{folder}: expected LOGS/NAME with an experiment.yaml, as a sweep writes it")
    experiment = regrown(logs.experiment_path, None, (), data, warn)
    if examples > experiment.examples("train"):
        raise RequestError(
            f"--examples: expected at most the {experiment.examples('train'):,} training images, received {examples:,}"
        )
    with locked(folder):
        splits = experiment.splits(data)
        refuse_other_data(splits.sha256, splits.source, logs)
        path = _computed(experiment, logs, splits.train.first(examples), points)
    console().print(f"barriers: {path}")


def _computed(experiment: Experiment, logs: LogFolder, train: Split, points: int) -> Path:
    """The file with the barriers of all pairs, each written as soon as it is known."""
    known = read_barriers(logs.path)
    done = trained(grid(experiment), experiment, logs)
    send_native_logs_to(Path(os.devnull))
    with quickly():
        from tfsgd.training.devices import configure_tensorflow
        from tfsgd.trials.barrier_pairs import barriers_of, pairs_of, with_networks

    configure_tensorflow()
    stored = with_networks(done, logs)
    pairs = pairs_of(stored)
    if not pairs:
        raise RequestError(
            f"{logs.path}: expected stored networks that differ in nothing but their seed or regime, found none among "
            f"{counted(len(stored), 'stored network')}"
        )
    output, found, new, began = console(), list[Barrier](), 0, time.monotonic()
    output.print(
        f"{experiment.name}: {len(done)} trained, {len(stored)} stored that have learnt, {counted(len(pairs), 'pair')}"
    )
    for one in barriers_of(pairs, known, experiment, logs, train, points):
        found.append(one)
        if one in known:
            continue
        new += 1
        write_barriers(logs.path, [*found, *(old for old in known if old not in found)])
        left = duration((time.monotonic() - began) / new * (len(pairs) - len(found)))
        said = "not finite" if one.barrier is None else f"{one.barrier:.3f} nats"
        output.print(
            f"[{len(found)} of {len(pairs)}] {' - '.join(one.trials)}: {said}, at most {left} left",
            soft_wrap=True,
        )
    return write_barriers(logs.path, found)


def main() -> None:
    """Runs the command; every refusal is one line on standard error."""
    command.run(barriers, "barriers", interrupted="interrupted; the same command goes on")


if __name__ == "__main__":
    main()
