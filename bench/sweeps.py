"""Whole trials and whole sweeps: ten epochs on a tenth or a fifth of the images of configs/fmnist_stdcnn.yaml."""

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.machine import cores
from bench.pairs import Timing, on_cores
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.plan.config import Experiment
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid

CONFIG = Path("configs/fmnist_stdcnn.yaml")


def _part(fraction: int) -> tuple[str, ...]:
    """Ten epochs of batch size 64 on one image in so many."""
    sizes = {"train": 55_000, "validation": 5_000, "test": 10_000}
    images = [f"{split}_examples={count // fraction}" for split, count in sizes.items()]
    return ("epochs=10", "batch_sizes=[64]", "seeds=[0]", *images, f"hessian.examples={5_000 // fraction}")


ONE_TRIAL = (*_part(10), "regimes={LR: {learning_rate: 0.01, momentum: [0.9]}}")
C1_CONFIG = Path("configs/cifar10_c1.yaml")
C1_TRIAL = (
    "epochs=2", "batch_sizes=[128]", "seeds=[0]", "train_examples=1280", "validation_examples=500",
    "test_examples=200", "hessian.examples=500", "attacks.pgd.epsilon=[0.02]", "attacks.fgsm.epsilon=[0.02]",
    "regimes={LR: {learning_rate: 0.01, momentum: [0.9]}}",
)  # fmt: skip
FOUR_TRIALS = (*_part(5), "regimes={LR: {learning_rate: 0.01, momentum: [0.0, 0.2, 0.5, 0.9]}}")


def their_arguments(
    overrides: Sequence[str], logs: str | None = None, config: Path = CONFIG
) -> dict[str, Any]:
    """What the peer must know of our experiment to do the same."""
    experiment = load_experiment(config, tuple(overrides))
    points = [
        {
            "batch_size": trial.settings.batch_size,
            "momentum": trial.settings.momentum,
            "learning_rate": trial.settings.learning_rate,
            "halve_every_epochs": trial.settings.halve_every_epochs,
        }
        for trial in grid(experiment)
    ]
    return {"points": points, "plan": _plan(experiment) | {"logs": logs}}


def _plan(experiment: Experiment) -> dict[str, Any]:
    pgd = experiment.attacks["pgd"]
    assert isinstance(pgd, PGD)
    examples = {f"{name}_examples": experiment.examples(name) for name in ("train", "validation", "test")}
    return examples | {
        "model": experiment.model,
        "epochs": experiment.length.count,
        "epsilons": pgd.epsilon,
        "steps": pgd.steps,
        "hessian_examples": experiment.hessian.examples,
        "tolerance": experiment.hessian.tolerance,
    }


def our_sweep(workers: int, on: Sequence[int]) -> dict[str, Any]:
    """`python -m tfsgd.sweep` from a cold start to its last record, on some cores."""
    with tempfile.TemporaryDirectory() as logs:
        options = [part for override in FOUR_TRIALS for part in ("--set", override)]
        command = [sys.executable, "-m", "tfsgd.sweep", str(CONFIG), "--logs", logs, *options]
        taken = _run([[*command, "--workers", str(workers)]], None, on)
        records = list(Path(logs).glob("*/trials/*/*/record.json"))
        assert len(records) == 4, f"expected 4 records, found {len(records)}"
    return taken


def their_sweep(processes: int, folder: Path) -> dict[str, Any]:
    """The peer's script from a cold start: the trials dealt out to so many processes."""
    threads = max(1, len(cores()) // processes)
    with tempfile.TemporaryDirectory() as logs:
        arguments = their_arguments(FOUR_TRIALS, logs)
        commands = []
        for process in range(processes):
            share = arguments | {"points": arguments["points"][process::processes]}
            commands.append(
                [sys.executable, "-m", "bench.peer", str(threads), str(folder), json.dumps(share)]
            )
        taken = _run(commands, threads, cores())
        assert len(list(Path(logs).glob("*.json"))) == 4
    return taken


def _run(commands: list[list[str]], threads: int | None, on: Sequence[int]) -> dict[str, Any]:
    """Runs commands at the same time; CPU seconds of all their processes, wall seconds of the whole."""
    adopt_orphans()
    environment = dict(os.environ)
    if threads is not None:
        environment |= {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    cpu, wall = _children_cpu(), time.perf_counter()
    with on_cores(on):
        running = [
            subprocess.Popen(c, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
            for c in commands
        ]
    errors: list[str] = [process.communicate()[1] for process in running]
    for command, process, error in zip(commands, running, errors, strict=True):
        if process.returncode:
            raise RuntimeError(f"{command[:4]}: exit code {process.returncode}\n{error[-2000:]}")
    wall = time.perf_counter() - wall
    with contextlib.suppress(ChildProcessError):
        while True:  # until there is none: then all have been counted
            os.waitpid(-1, 0)
    return {"cpu": _children_cpu() - cpu, "wall": wall, "result": {}}


def adopt_orphans() -> None:
    """From now on what a child leaves behind is this process's child, whose CPU seconds are known when it ends.

    Our workers are children of a process that the sweep does not wait for.
    """
    PR_SET_CHILD_SUBREAPER = 36  # noqa: N806  # Linux, prctl(2)
    if ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1):
        raise OSError("prctl: this system gives orphans to nobody; CPU seconds would lack them")


def _children_cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def compare_sweeps(folder: Path, processes: int, pairs: int) -> tuple[Timing, Timing, Timing, Timing]:
    """Our sweep with a worker for each core against theirs, one after the other and side by side, and
    against ours with one worker, on one core and on all.
    """
    in_turn, side_by_side, one_core, all_cores = (Timing() for _ in range(4))
    for _ in range(pairs):
        ours = our_sweep(processes, cores())
        in_turn.add(ours, their_sweep(1, folder))
        side_by_side.add(ours, their_sweep(processes, folder))
        one_core.add(ours, our_sweep(1, cores()[:1]))
        all_cores.add(ours, our_sweep(1, cores()))
    return in_turn, side_by_side, one_core, all_cores
