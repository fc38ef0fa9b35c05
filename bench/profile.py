"""Where a training step's time goes: the kernels, and how far each is from the processor's speed."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import flops
from bench.machine import cores
from bench.pairs import Side

PROFILED = (("stdcnn", "StdCNN", 512, 25_600), ("m1", "M1", 64, 3_200), ("m1", "M1", 512, 4_096))
COLUMNS = ("training", "kernel", "CPU s", "share", "GFLOP/s")
LEAST_SHARE = 0.01  # what takes less of an epoch is one row together


def profiled(folder: Path) -> list[tuple[str, ...]]:
    """The rows of the table: our side's training, on one core."""
    found = []
    for model, name, batch_size, examples in PROFILED:
        with Side("ours", cores()[:1], folder, folder / "log.txt") as ours:
            arguments = {"model": model, "batch_size": batch_size, "examples": examples}
            result = ours.once("kernels", arguments)
        found += rows_of(f"{name}, b = {batch_size}, {examples:,} images", result, model, examples)
    return found


def rows_of(title: str, result: dict[str, Any], model: str, examples: int) -> list[tuple[str, ...]]:
    """One training's kernels, the slowest first, and all that is no kernel as the last one."""
    epoch, work = result["cpu"], flops.of_kernels(model)
    slowest = sorted(result["kernels"].items(), key=lambda item: -item[1])
    kept = [(kernel, seconds) for kernel, seconds in slowest if seconds >= LEAST_SHARE * epoch]
    kept.append(("all else", epoch - sum(seconds for _, seconds in kept)))
    return [
        (
            title, kernel, f"{seconds:.3f}", f"{seconds / epoch:.1%}",
            f"{work[kernel] * examples / seconds / 1e9:.0f}" if kernel in work else "",
        )
        for kernel, seconds in kept
    ]  # fmt: skip


def show_profile(rows: list[tuple[str, ...]], console: Console) -> None:
    """Prints the table."""
    table = Table(*COLUMNS, title="profile", title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table, highlight=False)
