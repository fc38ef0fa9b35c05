"""Sweeps in processes of their own, for tests that kill, freeze and cut off."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import TINY
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid
from tfsgd.plan.yaml_io import to_yaml
from tfsgd.records.folder import LogFolder, read_record
from tfsgd.records.outcomes import lost_outcomes
from tfsgd.records.resume import is_complete

CONFIG = TINY | {
    "epochs": 8,
    "seeds": [0, 1],
    "train_examples": 2000,
    "regimes": {
        "LR": {"learning_rate": 0.05, "momentum": [0.9]},
        "Benchmark": {"learning_rate": 0.05, "halve_every_epochs": 3, "momentum": [0.9]},
    },
}
TRIALS = 4
SECONDS = 400  # after which a test gives up
KILLS = Counter[str]()  # at random moments, for the summary of a run


def phases(schedule: Any) -> dict[str, Any]:
    """A short config with every kind of work: SAM, borders of schedules, batches that grow, adversarial epochs, measures on the
    way, attacks that keep outcomes."""
    rate = {"learning_rate": 0.1, "momentum": [0.9]}
    return TINY | {
        "epochs": 3,
        "train_examples": 500,
        "regimes": {
            "SAM": rate
            | {"sam": [0.05], "schedule": schedule, "warmup_epochs": 1}
            | {"then": {"epochs": 1, "attack": {"fgsm": 0.05}}},
            "Benchmark": rate | {"halve_every_epochs": 2, "grow_batch": {"every_epochs": 1, "up_to": 256}},
        },
        "along": {"measures": ["hessian"], "at_updates": [3, 9], "examples": 20},
        "attacks": {
            "minimal": {"epsilon": [0.5], "steps": 5, "examples": 20},
            "robust": {"epsilon": [0.01], "examples": 20},
        },
    }


def swept(config: Path, logs: Path) -> Path:
    """Sweeps in this process, for the tests of a module; the folder of its results."""
    from tfsgd import sweep
    from tfsgd.sweeping import run

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(run, "send_native_logs_to", lambda path: None)
        patch.setattr(sys, "argv", ["sweep", str(config), "--logs", str(logs), "--workers", "1"])
        with pytest.raises(SystemExit) as ended:
            sweep.main()
    assert not ended.value.code
    return logs / "tiny"


class Sweep:
    """A sweep that runs.

    Args:
        root: its config and logs are below it.
        options: of the command.
        config: what is swept.
        host: the network namespace in which it runs, on one core.
        environment: of its process, besides.
        code: Python that calls the command, in place of `-m tfsgd.sweep`.
    """

    def __init__(
        self,
        root: Path,
        *options: str,
        config: dict[str, Any] = CONFIG,
        host: str | None = None,
        environment: dict[str, str] | None = None,
        code: str | None = None,
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.config = root / "config.yaml"
        self.config.write_text(to_yaml(config))
        self.logs = root / config["name"]
        self.folder = LogFolder(self.logs)
        called = ("-c", code) if code else ("-m", "tfsgd.sweep")
        command = [sys.executable, *called, str(self.config), "--logs", str(root), *options]
        if host:  # `taskset` and `ip` become the command, in the same process
            core = str(min(os.sched_getaffinity(0)))
            command = ["taskset", "-c", core, "ip", "netns", "exec", host, *command]
        self.process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # a shell's `&` has it ignored
            env=os.environ | (environment or {}),
        )

    def end(self) -> tuple[int, str, str]:
        """Waits for its end: exit code, standard output, standard error."""
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err

    def family(self) -> list[int]:
        """All its processes."""
        this = psutil.Process(self.process.pid)
        return [this.pid, *(child.pid for child in this.children(recursive=True))]

    def workers(self) -> list[int]:
        """Its processes that train."""
        return [pid for pid in self.family()[1:] if is_worker(pid)]

    def wait_for(self, wanted: Callable[[], Any]) -> Any:
        """Until something is true of a sweep that runs."""
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if found := wanted():
                return found
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        raise TimeoutError

    def recorded(self) -> dict[Path, int]:
        """When each record was written that holds everything that is asked for."""
        return {
            path: path.stat().st_mtime_ns
            for path in self.logs.glob("trials/*/*/record.json")
            if is_complete(read_record(path, {}), load_experiment(self.config))
        }

    def lost(self) -> list[Path]:
        """The records whose outcomes of every image are not beside them, as they were measured."""
        found = self.logs.glob("trials/*/*/record.json")
        return [
            path
            for path in found
            if any(lost_outcomes(path.parent, part) for part in read_record(path, {}).networks)
        ]

    def wait_for_epoch(self, epoch: int = 1) -> None:
        """Until some trial has so many epochs in a checkpoint."""
        self.wait_for(lambda: list(self.logs.glob(f"trials/*/*/checkpoint/epoch-{epoch:06d}.npz")))

    def claims(self) -> dict[str, int]:
        """Which process each trial was last given to."""
        found = {}
        for path in self.folder.tuner_path.glob("claims/*/*"):
            words = path.read_text().split() if not path.name.startswith(".") else []
            if len(words) == 3:
                found[f"{path.parent.name}/{path.name}"] = int(words[1])
        return found

    def in_the_middle(self, workers: list[int]) -> list[str]:
        """The trials of some workers that have a checkpoint."""
        return [
            name
            for name, pid in self.claims().items()
            if pid in workers and list((self.logs / "trials" / name).glob("checkpoint/epoch-*"))
        ]

    def interrupt(self, how: signal.Signals) -> None:
        os.kill(self.process.pid, how)


def is_worker(pid: int) -> bool:
    """Whether a process is one of Python's that another one has started to work: from scratch, or forked from a server."""
    try:
        parent = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[1]
        command, above = (Path(f"/proc/{p}/cmdline").read_bytes() for p in (pid, parent))
    except OSError:
        return False
    return b"spawn_main" in command or (b"forkserver" in command and b"forkserver" in above)


def numbers(logs: Path) -> dict[str, Any]:
    """The records without what may differ between two runs of the same trial."""
    found = {}
    for path in sorted(logs.glob("trials/*/*/record.json")):
        record = json.loads(path.read_text())
        del record["seconds"], record["provenance"]["git_commit"]  # a developer may commit meanwhile
        for measurement in record["measurements"]:
            del measurement["seconds"]
            if measurement["provenance"]:
                del measurement["provenance"]["git_commit"]
        found[f"{path.parent.parent.name}/{path.parent.name}"] = record
    return found


def ended(out: str) -> list[str]:
    """The trials that a sweep says were completed, in order."""
    return re.findall(r"\] (\S+) (?:completed|collapsed): ", out)


def alive(pid: int) -> bool:
    """Whether there is such a process, and not only what is left of one."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until_gone(pids: list[int]) -> None:
    """Until none of some processes is alive; the test fails where that takes too long."""
    until = time.monotonic() + 30
    while time.monotonic() < until and any(map(alive, pids)):
        time.sleep(0.05)
    assert not [pid for pid in pids if alive(pid)]


def undisturbed(
    factory: pytest.TempPathFactory, workers: int, config: dict[str, Any] = CONFIG
) -> tuple[dict[str, Any], float]:
    """What an uninterrupted sweep of so many workers finds, and how many seconds it takes.

    Swept once, for all processes of a test run.
    """
    shared = factory.getbasetemp().parent if os.environ.get("PYTEST_XDIST_WORKER") else factory.getbasetemp()
    kept = shared / f"undisturbed-{workers}-{zlib.crc32(to_yaml(config).encode())}.json"
    with kept.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not kept.exists():
            began = time.monotonic()
            found = _swept(factory.mktemp("undisturbed"), workers, config)
            kept.write_text(json.dumps({"records": found, "seconds": time.monotonic() - began}))
        read = json.loads(kept.read_text())
    return read["records"], read["seconds"]


def _swept(root: Path, workers: int, config: dict[str, Any]) -> dict[str, Any]:
    temporary = root / "tmp"
    temporary.mkdir()
    sweep = Sweep(root, "--workers", str(workers), config=config, environment={"TMPDIR": str(temporary)})
    processes = workers if workers > 1 else 0  # one works in the sweep's own process
    family = sweep.wait_for(lambda: len(sweep.workers()) == processes and sweep.family())
    code, out, err = sweep.end()
    assert (code, err) == (0, ""), out + err
    found = numbers(sweep.logs)
    assert sorted(found) == sorted(trial.name for trial in grid(load_experiment(sweep.config)))
    assert sorted(ended(out)) == sorted(found)
    assert not list(sweep.logs.glob("trials/*/*/checkpoint"))
    wait_until_gone(family)
    assert not sweep.folder.images_path.exists()
    assert not sweep.folder.temporary_path.exists()
    assert {path.name for path in temporary.iterdir()} <= {"dask-scratch-space"}
    return found
