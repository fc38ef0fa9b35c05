"""Several workers, one chief: the same search, spread over processes and machines.

The sweep is keras-tuner's chief: it hands out trials over gRPC, on the loopback interface unless told
otherwise. Its workers are processes of their own, each with its share of the processor or a GPU of
its own; one that dies is replaced and goes on from its trial's last checkpoint. On another machine,
with the same logs folder, a sweep that joins brings its own workers to the chief.
"""

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfsgd.errors import RequestError
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.sweeping.trial import Observer
from tfsgd.sweeping.tuner import SweepTuner
from tfsgd.sweeping.worker import RETIRED, SUPERSEDED

DEATHS_OF_A_TRIAL = 3  # at the same epoch: then the trial is a failure
CHIEF_GONE_SECONDS = 60
STOP_SECONDS = 5


@dataclass(frozen=True)
class Address:
    """Where the chief listens."""

    host: str
    port: int

    @staticmethod
    def parse(text: str, option: str) -> "Address":
        """Reads HOST:PORT.

        Raises:
            RequestError: it is no such thing.
        """
        host, colon, port = text.rpartition(":")
        if not (colon and host and port.isdigit() and 0 < int(port) < 65536):
            raise RequestError(f"{option} {text}: expected HOST:PORT, such as 127.0.0.1:7070")
        return Address(host, int(port))

    @staticmethod
    def free_on_loopback() -> "Address":
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return Address("127.0.0.1", probe.getsockname()[1])

    def answers(self) -> bool:
        """Whether anything listens there."""
        try:
            with socket.create_connection((self.host, self.port), timeout=5):
                return True
        except OSError:
            return False


@dataclass
class _Worker:
    number: int
    tuner_id: str
    process: subprocess.Popen[str]
    trial: str | None = None  # at which it is, by name


class Crew:
    """The workers of this machine, and the chief if it is here.

    Args:
        trials: those that are not complete.
        logs: where everything is written.
        observe: told how the trials go on.
        size: how many workers.
        data_dirs: where they look for the images.
        address: where the chief listens, or is to listen.
        joins: the chief is on another machine.
    """

    def __init__(
        self,
        trials: list[Trial],
        logs: LogFolder,
        observe: Observer,
        *,
        size: int,
        data_dirs: tuple[Path | None, ...],
        address: Address,
        joins: bool,
    ) -> None:
        self._trials = {trial.name: trial for trial in trials}
        self._logs = logs
        self._observe = observe
        self._size = size
        self._data_dirs = data_dirs
        self._address = address
        self._chief = None if joins else self._start_chief(trials)
        self._events: queue.Queue[tuple[int, dict[str, Any]]] = queue.Queue()
        self._progress: dict[str, int] = {}  # epochs done, by trial
        self._deaths: dict[str, int] = {}  # since that epoch, by trial; or at a worker's start
        self._id = uuid.uuid4().hex[:12]
        self._workers: list[_Worker] = []
        self._told: set[str] = set()
        self._is_deserted = False  # the chief on another machine has left, with everything done
        self.failures: dict[str, str] = {}

    def run(self) -> dict[str, str]:
        """Runs until every trial has ended.

        Returns:
            The trials that failed here, with an error of one line each.

        Raises:
            RequestError: the workers cannot start, or the chief on another machine is gone.
        """
        self._workers = [self._start_worker(i, f"w{self._id}-{i}") for i in range(self._size)]
        try:
            while not self._is_over():
                self._hear()
                self._replace_the_dead()
            self._hear()
            self._let_others_go()
            return self.failures
        finally:
            self._stop()

    def _start_chief(self, trials: list[Trial]) -> Any:
        os.environ |= self._environment("chief")
        tuner = SweepTuner(trials, self._logs, None)
        threading.Thread(target=tuner.search, kwargs={"verbose": 0}, daemon=True).start()
        for _ in range(100):
            if self._address.answers():
                return tuner.oracle
            time.sleep(0.1)
        raise RequestError(
            f"{self._address.host}:{self._address.port}: cannot listen there; choose another with --listen"
        )

    def _environment(self, tuner_id: str) -> dict[str, str]:
        """keras-tuner's variables, and no proxy between chief and workers."""
        return {
            "KERASTUNER_TUNER_ID": tuner_id,
            "KERASTUNER_ORACLE_IP": self._address.host,
            "KERASTUNER_ORACLE_PORT": str(self._address.port),
            "no_grpc_proxy": self._address.host,
        }

    def _start_worker(self, number: int, tuner_id: str) -> _Worker:
        gpus = visible_gpus()
        threads = max(1, len(os.sched_getaffinity(0)) // self._size)
        environment = os.environ | self._environment(tuner_id)
        if gpus:
            environment |= {"CUDA_VISIBLE_DEVICES": gpus[number % len(gpus)]}
        self._logs.tuner_path.mkdir(parents=True, exist_ok=True)
        with (self._logs.tuner_path / f"{tuner_id}.log").open("ab") as said:
            process = subprocess.Popen(
                [sys.executable, "-m", "tfsgd.sweeping.worker", str(self._logs.path), str(0 if gpus else threads),
                 *(str(folder or "") for folder in self._data_dirs)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=said, text=True, env=environment,
                start_new_session=True,
            )  # fmt: skip
        threading.Thread(target=self._listen_to, args=(number, process), daemon=True).start()
        return _Worker(number, tuner_id, process)

    def _listen_to(self, number: int, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            if line.startswith("{"):  # keras-tuner prints a line now and then
                self._events.put((number, json.loads(line)))

    def _is_over(self) -> bool:
        if self._chief is not None:
            return bool(self._chief.done)
        return self._is_deserted or all(worker.process.poll() == 0 for worker in self._workers)

    def _hear(self) -> None:
        """Passes on what the workers say, for half a second."""
        until = time.monotonic() + 0.5
        while (left := until - time.monotonic()) > 0:
            try:
                number, event = self._events.get(timeout=left)
            except queue.Empty:
                break
            self._take(self._workers[number], event)
        if self._chief is not None:
            ours = {worker.tuner_id for worker in self._workers}
            for tuner_id, trial in list(self._chief.ended):
                if tuner_id not in ours and trial.name not in self._told:
                    self._told.add(trial.name)
                    self._observe.ended(trial, "ended on another machine")

    def _take(self, worker: _Worker, event: dict[str, Any]) -> None:
        trial = self._trials[event["trial"]]
        self._deaths.pop(_start_of(worker), None)
        if "outcome" in event:
            worker.trial = None
            if trial.name in self._told:
                return
            self._told.add(trial.name)
            if event["outcome"].startswith("failed: "):
                self.failures[trial.name] = event["outcome"].removeprefix("failed: ")
            self._observe.ended(trial, event["outcome"])
            return
        worker.trial = trial.name
        if event["epochs_done"] > self._progress.get(trial.name, -1):
            self._progress[trial.name] = event["epochs_done"]
            self._deaths[trial.name] = 0
        self._observe.progress(trial, event["epochs_done"], event["doing"])

    def _replace_the_dead(self) -> None:
        for i, worker in enumerate(self._workers):
            code = worker.process.poll()
            if code is None or (code == 0 and self._chief is None):
                continue
            self._hear_last_words()
            if not self._is_over():
                self._account_for(worker, code)
                self._workers[i] = self._start_worker(worker.number, worker.tuner_id)
        if self._chief is None and not self._is_over():
            self._check_chief()

    def _hear_last_words(self) -> None:
        time.sleep(0.2)
        self._hear()

    def _account_for(self, worker: _Worker, code: int) -> None:
        if code in (SUPERSEDED, RETIRED):
            return
        log = self._logs.tuner_path / f"{worker.tuner_id}.log"
        if code == 2:
            raise RequestError(_last_line(log).removeprefix("error: "))
        name = worker.trial or _start_of(worker)
        self._deaths[name] = self._deaths.get(name, 0) + 1
        if self._deaths[name] < DEATHS_OF_A_TRIAL:
            return
        reason = f"its worker died {DEATHS_OF_A_TRIAL} times, the last time with exit code {code}: {_last_line(log)}"
        trial = self._chief.give_up(worker.tuner_id) if self._chief is not None else None
        if trial is None:
            raise RequestError(f"{log}: workers cannot start: {reason}")
        self.failures[trial.name] = reason
        self._logs.write_failure(trial, reason, log.read_text(errors="replace")[-10_000:])
        self._told.add(trial.name)
        self._observe.ended(trial, f"failed: {reason}")

    def _check_chief(self) -> None:
        since = time.monotonic()
        while not self._address.answers():
            if all(self._logs.has_ended(trial) for trial in self._trials.values()):
                self._is_deserted = True
                return
            if time.monotonic() - since > CHIEF_GONE_SECONDS:
                raise RequestError(
                    f"--join {self._address.host}:{self._address.port}: the chief is gone; start it again, then this"
                )
            time.sleep(1)

    def _let_others_go(self) -> None:
        """Stays until the workers on other machines have asked once more, and heard that all is done."""
        until = time.monotonic() + STOP_SECONDS
        while self._chief is not None and self._chief.tuner_ids and time.monotonic() < until:
            time.sleep(0.1)

    def _stop(self) -> None:
        """Closes the workers' standard input, at which they die, and waits for them."""
        for worker in self._workers:
            if worker.process.stdin is not None:
                worker.process.stdin.close()
        for worker in self._workers:
            try:
                worker.process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                worker.process.kill()
                worker.process.wait()
        for name in self._environment("chief"):  # what this process does next it may do alone
            if name.startswith("KERASTUNER_"):
                os.environ.pop(name, None)


def visible_gpus() -> list[str]:
    """The GPUs of this machine, by what `CUDA_VISIBLE_DEVICES` calls them."""
    import tensorflow as tf

    count = len(tf.config.list_physical_devices("GPU"))
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(i) for i in range(count)]


def default_size(trials: int) -> int:
    """One worker for each GPU, else for each core; never more than trials."""
    return max(1, min(trials, len(visible_gpus()) or len(os.sched_getaffinity(0))))


def _start_of(worker: _Worker) -> str:
    """What a worker is at before it has said a word."""
    return f"(start of worker {worker.number})"


def _last_line(path: Path) -> str:
    lines = path.read_text(errors="replace").strip().splitlines() if path.exists() else []
    return lines[-1] if lines else "it said nothing"
