"""Timing: two sides, pair by pair, each in its own process on the same cores."""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from types import TracebackType
from typing import Any

from typing_extensions import Self


class Side:
    """A process that does one side's jobs; see `bench.worker`."""

    def __init__(self, side: str, cores: Sequence[int], folder: Path, log: Path) -> None:
        threads = str(len(cores))
        environment = os.environ | {"OMP_NUM_THREADS": threads, "MKL_NUM_THREADS": threads}
        command = [sys.executable, "-m", "bench.worker", side, threads, str(folder)]
        self.log = log
        with on_cores(cores), log.open("a") as errors:
            self._process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
                text=True, env=environment,
            )  # fmt: skip

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is not None:
            self._process.kill()
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait()

    def prepare(self, job: str, arguments: dict[str, Any]) -> None:
        """Loads and builds what the job needs; not timed."""
        self._ask({"prepare": job, "arguments": arguments})

    def run(self) -> dict[str, Any]:
        """Does the prepared job once: `cpu` and `wall` seconds, and its `result`."""
        return self._ask({"run": True})

    def once(self, job: str, arguments: dict[str, Any]) -> dict[str, Any]:
        """A job's result, where its time does not matter."""
        self.prepare(job, arguments)
        result: dict[str, Any] = self.run()["result"]
        return result

    def _ask(self, command: dict[str, Any]) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a side of the comparison ended; {self.log} says why")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextlib.contextmanager
def on_cores(cores: Sequence[int]) -> Iterator[None]:
    """Children that are started inside inherit the cores, so that libraries count no more than these."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@dataclass
class Timing:
    """What the pairs of one row took: `(ours, theirs)` each, in seconds."""

    cpu: list[tuple[float, float]] = field(default_factory=list)
    wall: list[tuple[float, float]] = field(default_factory=list)
    results: tuple[dict[str, Any], dict[str, Any]] = ({}, {})

    def add(self, ours: dict[str, Any], theirs: dict[str, Any]) -> None:
        self.cpu.append((ours["cpu"], theirs["cpu"]))
        self.wall.append((ours["wall"], theirs["wall"]))
        self.results = ours["result"], theirs["result"]


def ratio(pairs: Sequence[tuple[float, float]]) -> tuple[float, float, float]:
    """Theirs over ours, pair by pair: median, least, greatest."""
    ratios = [theirs / ours for ours, theirs in pairs]
    return median(ratios), min(ratios), max(ratios)


def alternate(ours: Side, theirs: Side, pairs: int, seconds: float, warm_up: bool = True) -> Timing:
    """Runs the two sides in turn.

    Args:
        ours: prepared.
        theirs: prepared.
        pairs: at most.
        seconds: after which no further pair begins; one is always measured.
        warm_up: whether each side first does the work once, untimed: what is traced, compiled or
            allocated at the first time is not what is compared.
    """
    if warm_up:
        ours.run()
        theirs.run()
    timing = Timing()
    began = time.perf_counter()
    while len(timing.cpu) < pairs and (not timing.cpu or time.perf_counter() - began < seconds):
        timing.add(ours.run(), theirs.run())
    return timing
