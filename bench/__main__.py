"""`python -m bench`: tfsgd against PyTorch, torchattacks and PyHessian, pair by pair."""

import tempfile
from collections.abc import Iterator
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated

import numpy as np
import typer
from rich.console import Console

from bench.growth import COLUMNS as GROWTH_COLUMNS
from bench.growth import growth, show_growth
from bench.machine import cores, other_load, processor, versions
from bench.pairs import Side, Timing, alternate
from bench.profile import COLUMNS, profiled, show_profile
from bench.rows import LOGITS_TOLERANCE, PARTS, Row, rows
from bench.sweeps import C1_CONFIG, C1_TRIAL, ONE_TRIAL, compare_sweeps, their_arguments
from bench.tables import Line, seconds, show, write, write_rows

PAGE = Path("docs/performance.md")
SECONDS_A_ROW = 60.0  # after these no further pair of a row begins
SIDES = {
    "path": ("ours", "ours"),
    "curvature": ("measures", "libraries"),
    "attacks": ("measures", "libraries"),
}
SHARES = ("measure", "settings that are not the default", "images", "value", "CPU s", "% of the trial")
SAME_WEIGHTS = (
    ("stdcnn", "stdcnn"),
    ("m1", "m1"),
    ("c1", "c1"),
    ("resnet18", "resnet18"),
    ("stdcnn", "stdcnn-trained"),
)


def bench(
    only: Annotated[str, typer.Option(help="Parts, with commas between: " + ", ".join(PARTS))] = "",
    pairs: Annotated[int, typer.Option(help="Pairs of each row, at most; 0: as the row says.")] = 0,
    on: Annotated[str, typer.Option(help="Cores: one, all, or both.")] = "both",
    folder: Annotated[
        Path | None, typer.Option(help="Keep images and weights here, for the next run.")
    ] = None,
    network: Annotated[
        Path | None, typer.Option(help="A stored StdCNN to measure, instead of one of 4 epochs.")
    ] = None,
    page: Annotated[
        Path | None, typer.Option(help="Also write the tables into this page, as docs/performance.md.")
    ] = None,
) -> None:
    """Compare the CPU and wall seconds of tfsgd with those of a PyTorch stack that does the same work."""
    parts = only.split(",") if only else list(PARTS)
    unknown = sorted(set(parts) - set(PARTS))
    if unknown:
        raise typer.BadParameter(f"{', '.join(unknown)}; expected some of {', '.join(PARTS)}")
    modes = {"one": ["one"], "all": ["all"], "both": ["one", "all"]}.get(on)
    if modes is None:
        raise typer.BadParameter(f"{on}; expected one, all or both")
    console = Console()
    head = f"{datetime.now(timezone.utc):%Y-%m-%d}, {processor()}; {versions()}. {other_load()}"
    console.print(head, highlight=False)
    with tempfile.TemporaryDirectory() as temporary:
        inputs = folder or Path(temporary)
        inputs.mkdir(parents=True, exist_ok=True)
        gflops = _prepare(inputs, console, network)
        if network:
            head += f" Measured network: {network}."
        head += f" One core's matrix product: {gflops:.0f} GFLOP/s."
        if "profile" in parts:
            rows_of_kernels = profiled(inputs)
            show_profile(rows_of_kernels, console)
            if page:
                write_rows(page, "profile", COLUMNS, rows_of_kernels, head)
        if "shares" in parts:
            _write_shares(inputs, console, page, head)
        if "growth" in parts:
            rows_of_trials = growth(len(cores()))
            show_growth(rows_of_trials, console)
            if page:
                write_rows(page, "growth", GROWTH_COLUMNS, rows_of_trials, head)
        for part, lines in _measured(parts, modes, inputs, pairs, gflops, console):
            show(part, lines, console)
            if page:
                write(page, part, lines, head)


def _prepare(folder: Path, console: Console, network: Path | None) -> float:
    """Writes the inputs, sees to it that both sides compute the same, and measures the floor."""
    every, one = cores(), cores()[:1]
    log = folder / "log.txt"
    with Side("ours", every, folder, log) as ours:
        if not (folder / "stdcnn-trained.npz").exists():
            console.print("images and weights ...")
            ours.once("write_inputs", {})
    if network:
        with Side("measures", one, folder, log) as ours:
            ours.once("take_weights", {"network": str(network)})
    with Side("ours", one, folder, log) as ours, Side("theirs", one, folder, log) as theirs:
        for model, weights in SAME_WEIGHTS:
            arguments = {"model": model, "weights": weights}
            found = [np.array(side.once("logits", arguments)["logits"]) for side in (ours, theirs)]
            difference = float(np.abs(found[0] - found[1]).max())
            console.print(f"{weights}: logits of both sides differ by {difference:.1e}", highlight=False)
            if not difference <= LOGITS_TOLERANCE:
                raise SystemExit(f"{weights}: the two sides do not compute the same")
        speeds = [side.once("matrix_product", {})["gflops"] for side in (ours, theirs) for _ in range(3)]
    console.print(f"one core's float32 matrix product: {max(speeds):.0f} GFLOP/s", highlight=False)
    return max(speeds)


def _write_shares(folder: Path, console: Console, page: Path | None, head: str) -> None:
    """The cost of each measure of `measures: full` as a share of a trial's training, on one core."""
    console.print("each measure of measures: full, 1 core ...", highlight=False)
    with Side("measures", cores()[:1], folder, folder / "log.txt") as ours:
        found = ours.once("shares", {})
    trial = found["epoch"] * found["epochs"]
    rows = [
        (label, settings, f"{images:,}", value, seconds(cpu), f"{100 * cpu / trial:.2g}")
        for label, settings, images, cpu, value in found["measures"]
    ]
    total = sum(one[3] for one in found["measures"])
    rows.append(("all of them", "", "", "", seconds(total), f"{100 * total / trial:.2g}"))
    rows.append((f"training, {found['epochs']} epochs at b = 64", "", "55,000", "", seconds(trial), "100"))
    for row in rows:
        console.print("  ".join(row), highlight=False, markup=False)
    if page:
        write_rows(page, "shares", SHARES, rows, head)


def _measured(
    parts: list[str], modes: list[str], folder: Path, pairs: int, gflops: float, console: Console
) -> Iterator[tuple[str, list[Line]]]:
    for part in parts:
        if part in ("profile", "shares"):
            continue
        if part == "sweep":
            if "all" in modes:
                yield part, _sweep_lines(folder, pairs or 1)
            continue
        lines: list[Line] = []
        for mode in modes:
            wanted = [row for row in [*rows(), *_trial_rows()] if row.part == part and mode in row.threads]
            if not wanted or (mode == "all" and len(cores()) == 1 and lines):
                continue
            used = cores()[:1] if mode == "one" else cores()
            log = folder / "log.txt"
            left, right = SIDES.get(part, ("ours", "theirs"))
            with Side(left, used, folder, log) as ours, Side(right, used, folder, log) as theirs:
                for row in wanted:
                    console.print(f"{row.title}, {len(used)} cores ...", highlight=False)
                    lines.append(_line(row, ours, theirs, pairs, len(used), gflops))
        if lines:
            yield part, lines


def _line(row: Row, ours: Side, theirs: Side, pairs: int, used: int, gflops: float) -> Line:
    ours.prepare(row.job, row.arguments | row.ours)
    theirs.prepare(row.their_job or row.job, row.arguments if row.theirs is None else row.theirs)
    timing = alternate(ours, theirs, pairs or row.pairs, SECONDS_A_ROW, warm_up=row.warm_up)
    return Line(
        row.title, used, timing, row.goal, flops=row.flops, gflops=gflops, result=_result(row, timing)
    )


def _result(row: Row, timing: Timing) -> str:
    """What both sides found, which shows that they did the same work."""
    if row.shows is None:
        return ""
    ours, theirs = (result[row.shows] for result in timing.results)
    if row.agree is not None and not abs(ours - theirs) <= row.agree * abs(theirs):
        raise SystemExit(f"{row.title}: {row.shows} {ours} and {theirs}: not the same work")
    text = f"{row.shows} {ours:.5g} | {theirs:.5g}"
    for key in row.also:
        text += "; {} {:.5g} | {:.5g}".format(key, *(result[key] for result in timing.results))
    if "iterations" in timing.results[0]:
        text += "; products {} | {}".format(*(result["iterations"] for result in timing.results))
        text += "; residual {:.4f} | {:.4f}".format(*(result["residual"] for result in timing.results))
    return text


def _trial_rows() -> list[Row]:
    return [
        Row(
            "trial", "a trial of 10 epochs, a tenth of all images", "trial", {"overrides": list(ONE_TRIAL)},
            theirs=their_arguments(ONE_TRIAL), goal=1.3, threads=("all",), pairs=2, warm_up=False,
        ),
        Row(
            "trial", "a trial of C1, 2 epochs of 1,280 images", "trial",
            {"overrides": list(C1_TRIAL), "model": "c1"}, theirs=their_arguments(C1_TRIAL, config=C1_CONFIG),
            threads=("all",), pairs=2, warm_up=False,
        ),
    ]  # fmt: skip


def _sweep_lines(folder: Path, pairs: int) -> list[Line]:
    count = len(cores())
    in_turn, side_by_side, one_core, all_cores = compare_sweeps(folder, count, pairs)
    title = f"4 trials of 10 epochs, a fifth of all images, with {count} workers against"
    return [
        Line(f"{title} one after the other on all threads", count, in_turn, 2.0, by_wall=True),
        Line(f"{title} {count} processes", count, side_by_side, 1.3, by_wall=True),
        Line(f"{title} one worker of ours on one core", count, one_core, 0.9 * count, by_wall=True),
        Line(f"{title} one worker of ours on all cores", count, all_cores, by_wall=True),
    ]


if __name__ == "__main__":
    typer.run(bench)
