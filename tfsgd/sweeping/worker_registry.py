"""Which workers there are, wherever they came from, and which of them has nothing to do."""

import asyncio
from typing import Any

from distributed.diagnostics.plugin import SchedulerPlugin


class WorkerRegistry(SchedulerPlugin):
    """Hears from Dask's scheduler who comes and who goes; lives in its event loop.

    A trial is sent to one worker that is free, and waits nowhere else: what waits at a worker would be lost,
    and blamed, along with it.

    Attributes:
        names: of the workers that are there, by address.
        known: of all that have ever come.
        most: how many there have been at a time.
    """

    name = "worker registry"

    def __init__(self) -> None:
        self.names: dict[str, str] = {}
        self.known: set[str] = set()
        self.most = 0
        self._free: asyncio.Queue[str] = asyncio.Queue()
        self._left: dict[str, asyncio.Event] = {}

    def add_worker(self, scheduler: Any, worker: str) -> None:
        """Dask's hook: one has come."""
        self.names[worker] = str(scheduler.workers[worker].name)
        self.known.add(self.names[worker])
        self.most = max(self.most, len(self.names))
        self._left[worker] = asyncio.Event()
        self._free.put_nowait(worker)

    def remove_worker(self, scheduler: Any, worker: str, **why: Any) -> None:
        """Dask's hook: one has gone, died, or given no sign of life for too long."""
        self.names.pop(worker, None)
        if worker in self._left:
            self._left.pop(worker).set()

    async def acquire(self) -> tuple[str, asyncio.Event]:
        """Waits for a free worker; the event is set when that has gone."""
        while (worker := await self._free.get()) not in self._left:
            pass
        return worker, self._left[worker]

    def release(self, worker: str) -> None:
        """A worker has run a trial, and may have another, if it is still here."""
        if worker in self._left:
            self._free.put_nowait(worker)
