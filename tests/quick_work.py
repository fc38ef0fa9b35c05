"""What workers do in the tests of the worker pool, instead of training: quickly, and as a file beside says."""

import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import dask

from tfsgd.plan.trials import Trial
from tfsgd.sweeping.worker import WORKER_SPEC, ProgressReporter
from tfsgd.trials.outcome import TrialOutcome


def dask_setup(worker: Any) -> None:
    """Where it is a worker's hook: it cannot start once a trial has spoilt it, and waits while it is held up."""
    logs = Path(json.loads(os.environ[WORKER_SPEC])["logs"])
    if (logs / "spoilt").exists():
        os._exit(1)
    while (logs / "held up").exists():
        time.sleep(0.05)


def work(trial: Trial) -> TrialOutcome | None:
    """Does what `LOGS/script.json` says for this seed and try; without a word there, ends the trial."""
    worker_spec = json.loads(os.environ[WORKER_SPEC])
    logs = Path(worker_spec["logs"])
    with (logs / f"ran-{trial.seed}").open("a") as file:
        file.write(f"{os.getpid()} {worker_spec['name']}\n")
    tries = len((logs / f"ran-{trial.seed}").read_text().splitlines())
    script = json.loads((logs / "script.json").read_text()) if (logs / "script.json").exists() else {}
    for step in script.get(str(trial.seed), {}).get(
        str(tries), script.get(str(trial.seed), {}).get("each", [])
    ):
        if step == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        elif step == "spoil":
            (logs / "spoilt").touch()
        elif step == "wait":
            while (logs / "held up").exists():
                time.sleep(0.05)
        elif step == "freeze":
            os.kill(os.getpid(), signal.SIGSTOP)
        elif step == "epoch":
            ProgressReporter(worker_spec["name"]).progress(trial, tries, "an epoch")
            time.sleep(0.5)  # it is on its way before the worker dies
        elif step == "tell":
            (logs / "told").write_text(json.dumps(dask.config.config["distributed"]))
        elif step == "raise":
            raise OSError("no such card")
        elif step == "lose":
            return None
        elif step == "sleep":
            time.sleep(600)
    time.sleep(0.1)
    return TrialOutcome(0.5, f"done by {os.getpid()}")
