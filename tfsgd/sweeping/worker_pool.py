"""The workers of a sweep as one cluster: a trial is handed in, sent to a free worker, and comes back ended.

Everything of Dask's lives in one event loop, in a thread of its own. The search's threads hand in trials and
wait. A worker that dies takes nothing along: its trial goes to another one, which goes on from the last
checkpoint.
"""

import asyncio
import concurrent.futures
import traceback
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from distributed import Client, KilledWorker
from distributed.client import FutureCancelledError
from typing_extensions import Self

from tfsgd.errors import OutputLost, RequestError
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.records.preflight import refuse_gone
from tfsgd.sweeping.address import LOOPBACK, Address
from tfsgd.sweeping.cluster import (
    LoopThread,
    QuietScheduler,
    WorkerSupervisor,
    closed,
    fresh_certificate,
    security_of,
    write_certificate,
)
from tfsgd.sweeping.jobs import JobMaker, Jobs
from tfsgd.sweeping.worker import TOPIC, log_of, work
from tfsgd.sweeping.worker_registry import WorkerRegistry
from tfsgd.trials.outcome import Callbacks, TrialOutcome, in_a_line

DEATHS_OF_A_TRIAL = 3  # without a new epoch: then the trial is a failure
TAIL = 10_000  # characters of a dead worker's log


@dataclass
class _Submitted:
    """A trial that was handed in and has not ended."""

    trial: Trial
    run: asyncio.Task[Any]
    has_begun: bool = False
    epochs_done: int = -1
    deaths: int = 0  # of its workers since then


class WorkerPool:
    """A scheduler, this machine's workers, and whoever joins; used as a context manager.

    Args:
        folder: where everything is written.
        workers: of this machine, what each must know; see `tfsgd.sweeping.allocation`.
        listen: where workers of other machines may come; `None`: nobody may.
        dashboard: a port of the loopback interface for Dask's dashboard; `None`: it has none.
        jobs: of a batch system, how many and how each is made; `None`: none.

    Attributes:
        callbacks: told how the trials go on; to be set before the first is handed in.
        failures: of the trials, an error in one line each.
    """

    callbacks: Callbacks

    def __init__(
        self,
        folder: LogFolder,
        workers: list[dict[str, Any]],
        listen: Address | None = None,
        dashboard: int | None = None,
        jobs: tuple[int, JobMaker] | None = None,
    ) -> None:
        self._folder = folder
        self._workers = workers
        self._listen = listen
        self._dashboard = dashboard
        self._asked_jobs = jobs
        self._jobs: Jobs | None = None
        self._registry = WorkerRegistry()
        self._under_way: dict[str, _Submitted] = {}
        self._is_over = False
        self._begins_no_more = False
        self._lost: OutputLost | None = None
        self.failures: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._loop = LoopThread()
        try:
            self._loop.call(self._open())
        except (OSError, RuntimeError) as error:  # Dask wraps the one into the other
            self._loop.end()
            why = error.__cause__ or error
            raise RequestError(
                f"{self._listen or LOOPBACK}: cannot listen there: {getattr(why, 'strerror', None) or why}; choose "
                "another address with --listen"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._is_over = True
        self._loop.end(self._close())
        self._folder.certificate_path.unlink(missing_ok=True)

    @property
    def address(self) -> str:
        """HOST:PORT where the scheduler listens."""
        return str(self._scheduler.address).removeprefix("tls://")

    @property
    def dashboard(self) -> str | None:
        """Where Dask's dashboard is."""
        if self._dashboard is None:
            return None
        return f"http://127.0.0.1:{self._scheduler.http_server.port}/status"

    @property
    def size(self) -> int:
        """How many workers there are at most, of those that have come so far."""
        return max(1, len(self._workers), self._registry.most)

    def run(self, trial: Trial) -> TrialOutcome:
        """Has a trial run by a worker, and returns when it has ended; may be called by many threads.

        Raises:
            SystemExit: the pool is over or begins no more, and with it the thread that waits.
        """
        try:
            return self._loop.call(self._run(trial))
        except BaseException as error:
            if self._is_over or isinstance(error, concurrent.futures.CancelledError):
                raise SystemExit from error
            raise

    @property
    def at_hand(self) -> int:
        """How many trials a worker has begun that have not ended."""
        return sum(under_way.has_begun for under_way in list(self._under_way.values()))

    def begin_no_more(self) -> None:
        """Takes back the trials that wait for a worker; those at hand are finished, by another worker if theirs dies."""
        self._loop.call(self._take_back())

    def check(self) -> None:
        """Sees to it that there are workers, or may be.

        Raises:
            RequestError: none can start.
        """
        if self._lost:
            raise self._lost
        refuse_gone(self._folder.path)
        if self._jobs and self._jobs.refusal and self._jobs.have_ended and not self._registry.names:
            raise RequestError(self._jobs.refusal)
        if self._workers and not self._registry.names and self._listen is None and self._supervisor.have_left:
            log = log_of(self._folder, self._supervisor.names[0])
            raise RequestError(f"{log}: workers cannot start: {_last_line(log)}")

    async def _open(self) -> None:
        certificate = fresh_certificate()
        security = security_of(certificate)
        self._scheduler = await QuietScheduler(self._listen or LOOPBACK, security, self._dashboard)
        self._scheduler.add_plugin(self._registry)
        if self._listen:
            write_certificate(self._folder.certificate_path, certificate)
        address = self._scheduler.address
        self._supervisor = WorkerSupervisor(address, "127.0.0.1", security, self._workers)
        if self._asked_jobs:
            count, make = self._asked_jobs
            self._jobs = Jobs(make, address, count, self._registry)
        self._client = await Client(address, security=security, asynchronous=True, set_as_default=False)
        self._client.subscribe_topic(TOPIC, self._hear)

    async def _close(self) -> None:
        for under_way in self._under_way.values():
            under_way.run.cancel()
        if self._jobs:
            await self._jobs.close()
        await self._supervisor.close()
        await closed(self._client.close(timeout=1))
        await closed(self._scheduler.close())

    async def _take_back(self) -> None:
        self._begins_no_more = True
        for under_way in self._under_way.values():
            if not under_way.has_begun:
                under_way.run.cancel()

    async def _run(self, trial: Trial) -> TrialOutcome:
        if self._begins_no_more:
            raise asyncio.CancelledError
        this = asyncio.current_task()
        assert this is not None
        under_way = self._under_way[trial.name] = _Submitted(trial, this)
        try:
            while (outcome := await self._tried(under_way)) is None:
                pass
        finally:
            del self._under_way[trial.name]
        if outcome.error is not None:
            self.failures[trial.name] = outcome.error
        self._tell(lambda: self.callbacks.ended(trial, outcome.said))
        return outcome

    async def _tried(self, under_way: _Submitted) -> TrialOutcome | None:
        """Sends a trial to a free worker; `None`: it must be sent again."""
        worker, gone = await self._registry.acquire()
        under_way.has_begun = True
        log = log_of(self._folder, self._registry.names[worker])
        try:
            outcome = await self._sent(under_way.trial, worker, gone)
        except Exception as error:  # the worker could not even begin
            return TrialOutcome.failed(
                under_way.trial, in_a_line(error), traceback.format_exc(), self._folder
            )
        finally:
            self._registry.release(worker)
        if outcome is None and gone.is_set():
            under_way.deaths += 1
            if under_way.deaths == DEATHS_OF_A_TRIAL:
                reason = f"its worker died {DEATHS_OF_A_TRIAL} times without a new epoch; {log} ends: {_last_line(log)}"
                return TrialOutcome.failed(under_way.trial, reason, _tail(log), self._folder)
        return outcome

    async def _sent(self, trial: Trial, worker: str, gone: asyncio.Event) -> TrialOutcome | None:
        """Waits for what a worker makes of a trial; `None`: the worker has gone, or is no longer at it."""
        future = self._client.submit(
            work, trial, key=f"{trial.name} {uuid.uuid4()}", workers=[worker], pure=False
        )
        answer = asyncio.ensure_future(future.result())
        absence = asyncio.ensure_future(gone.wait())
        try:
            await asyncio.wait((answer, absence), return_when=asyncio.FIRST_COMPLETED)
            if not answer.done() or answer.cancelled():
                return None
            outcome: TrialOutcome | None = answer.result()
            return outcome
        except FutureCancelledError:  # by Dask, which gave the worker up after it had ended the trial
            return None
        except KilledWorker:
            await asyncio.wait_for(gone.wait(), 10)
            return None
        finally:
            answer.cancel()
            absence.cancel()
            future.release()

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        """A worker says how its trial goes on."""
        said = event[1]
        under_way = self._under_way.get(said["trial"])
        if under_way is None or "epochs_done" not in said:
            return
        if said["epochs_done"] > under_way.epochs_done:
            under_way.epochs_done, under_way.deaths = said["epochs_done"], 0
        self._tell(lambda: self.callbacks.progress(under_way.trial, said["epochs_done"], said["doing"]))

    def _tell(self, said: Callable[[], None]) -> None:
        """What is raised in Dask's event loop would end its client, and nobody would hear it: `check` raises it."""
        try:
            said()
        except OutputLost as lost:
            self._lost = lost


def _tail(log: Path) -> str:
    return log.read_text(errors="replace")[-TAIL:] if log.exists() else ""


def _last_line(log: Path) -> str:
    lines = _tail(log).strip().splitlines()
    return lines[-1] if lines else "it said nothing"
