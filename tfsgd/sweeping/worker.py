"""One worker of a sweep: a process that asks the chief for trials and runs them.

Started by `tfsgd.sweeping.workers`, never by hand. It speaks on standard output in JSON lines, and dies when
its standard input closes, so that no worker outlives the sweep that started it.
"""

import json
import os
import sys
import threading
import time
import uuid
from pathlib import Path

from tfsgd.errors import RequestError
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.records.lease import Superseded

HEARTBEAT_SECONDS = 5
SUPERSEDED, RETIRED = 3, 4  # exit codes: another worker has this trial now; enough trials for one process


class Speaker:
    """Tells the parent how trials go on."""

    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        _say({"trial": trial.name, "epochs_done": epochs_done, "doing": doing})

    def ended(self, trial: Trial, outcome: str) -> None:
        _say({"trial": trial.name, "outcome": outcome})


def _say(event: dict[str, str | int]) -> None:
    sys.stdout.write(json.dumps(event) + "\n")
    sys.stdout.flush()


def _die_with_parent() -> None:
    def wait() -> None:
        sys.stdin.buffer.read()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def _beat(logs: LogFolder, tuner_id: str) -> None:
    def beat() -> None:
        while True:
            logs.beat(tuner_id, str(uuid.uuid4()))
            time.sleep(HEARTBEAT_SECONDS)

    threading.Thread(target=beat, daemon=True).start()


def main() -> None:
    """Arguments: the logs folder, the number of threads (0: one for each core), data folders ('' is none)."""
    _die_with_parent()
    logs, threads = LogFolder(Path(sys.argv[1])), int(sys.argv[2])
    data_dirs = tuple(Path(folder) if folder else None for folder in sys.argv[3:])
    tuner_id = os.environ["KERASTUNER_TUNER_ID"]
    _beat(logs, tuner_id)
    experiment = logs.read_plan()
    splits = experiment.splits(data_dirs)

    from tfsgd.sweeping.trial import Job
    from tfsgd.sweeping.tuner import Retired, SweepTuner
    from tfsgd.training.devices import configure_tensorflow

    configure_tensorflow(threads or None)
    job = Job(experiment, splits, logs, Speaker(), logs.lease(f"{tuner_id} {uuid.uuid4()}"))
    try:
        SweepTuner(grid(experiment), logs, job).search(verbose=0)
    except Superseded:
        os._exit(SUPERSEDED)
    except Retired:
        os._exit(RETIRED)


if __name__ == "__main__":
    try:
        main()
    except RequestError as refused:
        print(f"error: {refused}", file=sys.stderr, flush=True)
        os._exit(2)  # an orderly exit would abort: a thread waits at standard input
