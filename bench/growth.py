"""How the time of a sweep grows with the number of its trials, which are as small as trials can be."""

import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from bench.sweeps import CONFIG

TRIALS = (4, 16, 64)
COLUMNS = (
    "trials",
    "wall s",
    "CPU s",
    "wall s a further trial",
    "the parent's CPU s",
    "of it a further trial",
)
GOAL = 0.3  # CPU seconds of the parent for a further trial, at most
TINY = (
    "epochs=1", "batch_sizes=[64]", "train_examples=128", "validation_examples=50", "test_examples=50",
    "hessian={examples: 50, max_iterations: 2}", "attacks={fgsm: {epsilon: [0.1]}}", "export=false",
    "regimes={LR: {learning_rate: 0.01, momentum: [0.9]}}",
)  # fmt: skip


def growth(workers: int) -> list[tuple[str, ...]]:
    """One row for each number of trials, from a cold start each; differences are to the row before."""
    rows: list[tuple[str, ...]] = []
    before = (0, 0.0, 0.0)
    for trials in TRIALS:
        wall, parent, cpu = _sweep(trials, workers)
        more = trials - before[0]
        further = [
            f"{(now - then) / more:.2f}" if rows else ""
            for now, then in ((wall, before[1]), (parent, before[2]))
        ]
        rows.append((str(trials), f"{wall:.1f}", f"{cpu:.1f}", further[0], f"{parent:.1f}", further[1]))
        before = (trials, wall, parent)
    return rows


def _sweep(trials: int, workers: int) -> tuple[float, float, float]:
    """Wall seconds, CPU seconds of the parent, and of all its processes."""
    overrides = [word for text in (*TINY, f"seeds={list(range(trials))}") for word in ("--set", text)]
    with tempfile.TemporaryDirectory() as logs:
        command = [
            sys.executable,
            "-m",
            "tfsgd.sweep",
            str(CONFIG),
            "--logs",
            logs,
            "--workers",
            str(workers),
        ]
        began = time.perf_counter()
        process = psutil.Popen([*command, *overrides], stdout=subprocess.DEVNULL)
        used: dict[int, float] = {}
        while process.poll() is None:
            for one in (process, *_children(process)):
                try:
                    used[one.pid] = sum(one.cpu_times()[:2])
                except psutil.NoSuchProcess:
                    continue
            time.sleep(0.1)
        wall = time.perf_counter() - began
        assert process.returncode == 0
        assert len(list(Path(logs).glob("*/trials/*/*/record.json"))) == trials
    return wall, used[process.pid], sum(used.values())


def _children(process: psutil.Popen) -> list[psutil.Process]:
    try:
        found: list[psutil.Process] = process.children(recursive=True)
    except psutil.NoSuchProcess:
        return []
    return found


def show_growth(rows: list[tuple[str, ...]], console: Console) -> None:
    """Prints them."""
    table = Table(*COLUMNS, title="growth", title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
