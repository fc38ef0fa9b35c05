"""What runs in a worker's process: one trial after the other, as they are sent.

Dask's nanny starts the process, imports this file in it, and calls `dask_setup`. The environment's
`TFSGD_WORKER` says what the worker must know, as JSON: `logs`, the sweep's folder as this machine sees it;
`threads` within an operation, 0 for as many as there are cores; `name`.
"""

import functools
import json
import os
import tempfile
import uuid
from pathlib import Path
from typing import Any

from tfsgd import interrupts
from tfsgd.data.shared_memory import read_shared
from tfsgd.imports import quickly
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import Superseded

WORKER_SPEC = "TFSGD_WORKER"
TOPIC = "tfsgd"  # under which it says how trials go on


def dask_setup(worker: Any) -> None:
    """Dask's hook, before a worker registers: TensorFlow is there and set up when the first trial comes."""
    worker_spec = json.loads(os.environ[WORKER_SPEC])
    folder = LogFolder(Path(worker_spec["logs"]), worker_spec.get("shard", ""))
    _send_output_to(log_of(folder, worker_spec["name"]))
    folder.temporary_path.mkdir(exist_ok=True)
    tempfile.tempdir = str(folder.temporary_path)
    interrupts.ignore()  # the sweep ends its workers

    with quickly():
        from tfsgd.training.devices import configure_tensorflow
        from tfsgd.trials import attempt  # noqa: F401  # TensorFlow

    configure_tensorflow(worker_spec["threads"] or None)
    folder.refuse_other_code(folder.read_plan())


def log_of(logs: LogFolder, name: str) -> Path:
    """Where a worker's standard output and error go."""
    return logs.tuner_path / f"worker-{name}.log"


def _send_output_to(path: Path) -> None:
    file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for descriptor in (1, 2):
        os.dup2(file, descriptor)
    os.close(file)


def work(trial: Trial) -> Any:
    """The task: runs one trial.

    Returns:
        A `TrialOutcome`; `None`: another worker has the trial now.
    """
    from tfsgd.trials.attempt import attempt
    from tfsgd.trials.trial import SweepContext

    folder, experiment, splits = _shared()
    name = json.loads(os.environ[WORKER_SPEC])["name"]
    context = SweepContext(
        experiment,
        splits,
        folder,
        ProgressReporter(name),
        folder.lease(f"{name} {os.getpid()} {uuid.uuid4()}"),
    )
    try:
        outcome = attempt(trial, context)
    except Superseded:
        return None
    context.callbacks.ended(trial, outcome.said)
    return outcome


@functools.cache
def _shared() -> tuple[LogFolder, Experiment, Any]:
    """What all trials have in common, read once in the life of a worker."""
    worker_spec = json.loads(os.environ[WORKER_SPEC])
    folder = LogFolder(Path(worker_spec["logs"]), worker_spec.get("shard", ""))
    return folder, folder.read_plan(), read_shared(folder.images_path)


class ProgressReporter:
    """Reports how trials go on, to whoever listens.

    Args:
        name: of this worker.
    """

    def __init__(self, name: str) -> None:
        self._name = name

    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        self._say({"trial": trial.name, "epochs_done": epochs_done, "doing": doing})

    def ended(self, trial: Trial, outcome: str) -> None:
        self._say({"trial": trial.name, "outcome": outcome})

    def _say(self, event: dict[str, Any]) -> None:
        from distributed import get_worker

        get_worker().log_event(TOPIC, event | {"name": self._name})  # Dask adds `worker`, its address
