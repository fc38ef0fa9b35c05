"""One side of the comparison, in a process of its own: it does its jobs again and again, on command.

Commands come as lines of JSON on standard input, answers go as lines of JSON to standard output.
The cores and the number of threads are fixed before TensorFlow or PyTorch is imported.
"""

import gc
import importlib
import json
import os
import resource
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

Run = Callable[[], dict[str, Any]]  # does the work once, says what came out

SIDES = {
    "ours": "bench.ours",
    "theirs": "bench.peer",
    "measures": "bench.measures",
    "libraries": "bench.libraries",
}


def cpu_seconds() -> float:
    """User and system time of this process, all threads."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def main(side: str, threads: int, folder: Path) -> None:
    """Answers until standard input ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints is no answer
    jobs = importlib.import_module(SIDES[side])
    jobs.start(threads)
    run: Run | None = None
    for line in sys.stdin:
        command = json.loads(line)
        if "prepare" in command:
            run = None
            gc.collect()
            run = jobs.JOBS[command["prepare"]](folder, **command["arguments"])
            answer: dict[str, Any] = {}
        else:
            assert run is not None
            gc.collect()
            cpu, wall = cpu_seconds(), time.perf_counter()
            result = run()
            wall, cpu = time.perf_counter() - wall, cpu_seconds() - cpu
            answer = {"cpu": cpu, "wall": wall, "result": result}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), Path(sys.argv[3]))
