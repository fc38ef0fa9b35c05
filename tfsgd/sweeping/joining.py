"""Workers for a sweep on another machine, which shares the logs folder: they stay until it is over."""

import asyncio
import time
from types import TracebackType
from typing import Any

from distributed import Client
from typing_extensions import Self

from tfsgd import interrupts
from tfsgd.errors import RequestError
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.sweeping.address import Address
from tfsgd.sweeping.cluster import (
    LoopThread,
    WorkerSupervisor,
    address_towards,
    closed,
    read_certificate,
    security_of,
)
from tfsgd.sweeping.worker import TOPIC
from tfsgd.trials.outcome import Callbacks

CONNECT_SECONDS = 10
LOOK_SECONDS = 0.2


class RemoteWorkers:
    """This machine's workers at another machine's sweep; used as a context manager.

    Args:
        address: where that listens.
        trials: of the sweep.
        folder: where it writes, as this machine sees it.
        workers: what each must know; see `tfsgd.sweeping.allocation`.
        callbacks: told how the trials go on that are run here.

    Attributes:
        failures: of the trials that were run here, an error in one line each.
    """

    def __init__(
        self, address: Address, trials: list[Trial], folder: LogFolder, workers: list[dict[str, Any]],
        callbacks: Callbacks,
    ) -> None:  # fmt: skip
        self._address = address
        self._trials = {trial.name: trial for trial in trials}
        self._folder = folder
        self._workers = workers
        self._callbacks = callbacks
        self._supervisor: WorkerSupervisor | None = None
        self.failures: dict[str, str] = {}

    def __enter__(self) -> Self:
        self._loop = LoopThread()
        try:
            self._loop.call(self._open())
        except (OSError, asyncio.TimeoutError):
            self._loop.end()
            raise RequestError(
                f"--join {self._address}: nothing listens there, or another sweep; start the other sweep with "
                "--listen first"
            ) from None
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loop.end(self._close())

    def wait(self) -> None:
        """Until the other sweep is over.

        Raises:
            RequestError: it is gone, and not all trials have ended.
        """
        assert self._supervisor is not None
        while not self._supervisor.have_left:
            time.sleep(LOOK_SECONDS)
            interrupts.check()
        if not all(self._folder.has_ended(trial) for trial in self._trials.values()):
            raise RequestError(f"--join {self._address}: the other sweep is gone; start it again, then this")

    async def _open(self) -> None:
        security = security_of(read_certificate(self._folder.certificate_path, f"--join {self._address}"))
        scheduler = f"tls://{self._address}"
        self._client = await asyncio.wait_for(
            Client(
                scheduler, security=security, asynchronous=True, set_as_default=False, timeout=CONNECT_SECONDS
            ),
            CONNECT_SECONDS + 1,
        )
        self._client.subscribe_topic(TOPIC, self._hear)
        self._supervisor = WorkerSupervisor(
            scheduler, address_towards(self._address), security, self._workers, leave=True
        )

    async def _close(self) -> None:
        if self._supervisor is not None:
            await self._supervisor.close()
        await closed(self._client.close(timeout=1))

    def _hear(self, event: tuple[float, dict[str, Any]]) -> None:
        """A worker, perhaps one of these, says how its trial goes on."""
        said = event[1]
        if self._supervisor is None or said["name"] not in self._supervisor.names:
            return
        trial = self._trials[said["trial"]]
        if "outcome" not in said:
            self._callbacks.progress(trial, said["epochs_done"], said["doing"])
            return
        if said["outcome"].startswith("failed: "):
            self.failures[trial.name] = said["outcome"].removeprefix("failed: ")
        self._callbacks.ended(trial, said["outcome"])
