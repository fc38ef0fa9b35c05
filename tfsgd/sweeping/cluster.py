"""What a sweep takes from Dask's `distributed`: a scheduler, nannies that start workers, and TLS between them.

A worker runs whatever a peer sends it, so nobody is a peer without this run's certificate, on the loopback
interface either, and there are no HTTP servers beside.
"""

import asyncio
import concurrent.futures
import contextlib
import json
import logging
import os
import signal
import socket
import stat
import threading
import uuid
from collections.abc import Awaitable, Coroutine, Mapping
from pathlib import Path
from typing import Any, TypeVar

import dask
from dask.utils import parse_timedelta
from distributed import Nanny, Scheduler, Security, Status, Worker
from distributed.utils import get_mp_context

from tfsgd.errors import RequestError
from tfsgd.sweeping.address import Address
from tfsgd.sweeping.forkserver import import_ahead
from tfsgd.sweeping.worker import WORKER_SPEC

USERS_FILES = (*dask.config.paths,)
SETTINGS = {
    "distributed.scheduler.allowed-failures": 0,  # a worker's death is counted here, not by Dask
    "distributed.scheduler.worker-ttl": "35s",  # Dask looks as often, so 70 s after its last sign of life at most
    "distributed.scheduler.work-stealing": False,
    "distributed.scheduler.active-memory-manager.start": False,
    "distributed.nanny.pre-spawn-environ": {},  # else every worker has OMP_NUM_THREADS=1
    "distributed.worker.profile.enabled": False,
    "distributed.comm.timeouts.connect": "10s",
    "distributed.comm.timeouts.tcp": "30s",  # of a connection that answers nothing
    "distributed.diagnostics.nvml": False,
    "tfsgd.register": "300s",  # of a worker that has started and finds no scheduler; one that is starved needs its time
}
LOGGERS = ("distributed", "distributed.client", "distributed.gc", "tornado", "tornado.application", "asyncio")
CLOSE_SECONDS = 2.0
STARTS_IN_VAIN = 12  # of a worker in a row, if it was killed each time; a quarter of it if it ended by itself
KEYS = ("key", "certificate")
PRELOAD = ["tfsgd.sweeping.worker"]  # imported by a worker before it registers

T = TypeVar("T")


def _alone() -> None:
    """Takes Dask's own defaults and nothing of the user's: no `~/.config/dask`, and no `DASK_*`, in its children neither.

    What is said there of batch systems counts, see `tfsgd.sweeping.jobs`.
    """
    for name in [name for name in os.environ if name.startswith("DASK_") and "JOBQUEUE" not in name]:
        del os.environ[name]
    dask.config.paths.clear()  # a worker reads anew what is there
    dask.config.refresh()
    dask.config.set(SETTINGS)


_alone()


class QuietScheduler(Scheduler):
    """Dask's scheduler without its HTTP server, unless somebody is to look at it.

    Args:
        dashboard: a port of the loopback interface for Dask's dashboard.
    """

    def __init__(self, address: Address, security: Security, dashboard: int | None = None) -> None:
        self._shows = dashboard is not None
        super().__init__(
            host=address.host, port=address.port, protocol="tls", security=security,
            dashboard=self._shows, dashboard_address=f"127.0.0.1:{dashboard or 0}",
        )  # fmt: skip

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        """Dask's method, which knows no way to have none."""
        if self._shows:
            super().start_http_server(*arguments, **options)


class QuietWorker(Worker):
    """Dask's worker without its HTTP server; it ends where it finds no scheduler."""

    def start_http_server(self, *arguments: Any, **options: Any) -> None:
        """Dask's method, which knows no way to have none."""

    async def _register_with_scheduler(self) -> None:
        """Dask's method, which would try for ever where the sweep was killed while this worker started."""
        seconds = parse_timedelta(dask.config.get("tfsgd.register"))
        await asyncio.wait_for(super()._register_with_scheduler(), seconds)


class WorkerNanny(Nanny):
    """Dask's nanny, which starts a worker, and starts it again when it ends, but gives up one that dies as it starts.

    Attributes:
        why: it has closed; empty until then.
        was_killed: whether its last worker was, and did not end by itself.
    """

    why = ""
    was_killed = False
    _is_up = False

    async def instantiate(self) -> Status:
        """Dask's method: starts a worker, for the first time or again."""
        self._is_up = False
        status = await super().instantiate()
        self._is_up = status == Status.running
        return status

    def _on_worker_exit_sync(self, exitcode: int) -> None:
        """Dask's method."""
        self.was_killed = exitcode < 0
        if not self._is_up:  # Dask would try for ever
            self.why = self.why or "died as it started"
            self.close_gracefully()
        super()._on_worker_exit_sync(exitcode)

    async def close(self, *arguments: Any, **options: Any) -> Any:
        """Dask's method."""
        self.why = self.why or options.get("reason", "closed")
        return await super().close(*arguments, **options)


class WorkerSupervisor:
    """This machine's workers, each in a process that a nanny of Dask's starts, and starts again when it ends.

    Made in a running event loop; the workers come while others have the processor.

    Args:
        scheduler: its address.
        host: where the workers listen for the scheduler.
        security: the certificate.
        worker_specs: what each worker must know, see `tfsgd.sweeping.worker`; its `environment` is the process's besides.
        leave: whether a worker that is told to leave does so for good; else another one comes.
        machine: with which their names begin, unlike any other's.

    Attributes:
        names: of the workers, unlike all others of the sweep.
    """

    def __init__(
        self,
        scheduler: str,
        host: str,
        security: Security,
        worker_specs: list[dict[str, Any]],
        leave: bool = False,
        machine: str = "",
    ) -> None:
        machine = machine or f"{socket.gethostname()}-{uuid.uuid4().hex[:6]}"
        self.names = [f"{machine}-{i}" for i in range(len(worker_specs))]
        self._scheduler, self._host, self._security = scheduler, host, security
        self._leave = leave
        dask.config.set({"distributed.worker.multiprocessing-method": import_ahead(worker_specs)})
        get_mp_context()  # at its first call Dask says what is to be imported ahead, so this goes before our word
        import_ahead(worker_specs)
        self._is_over = False
        self._nannies: dict[str, WorkerNanny] = {}
        self._kept = [
            asyncio.ensure_future(self._keep(name, worker_spec))
            for name, worker_spec in zip(self.names, worker_specs, strict=True)
        ]

    @property
    def have_left(self) -> bool:
        """Whether none of the workers is here, nor will come again."""
        return all(kept.done() for kept in self._kept)

    async def close(self) -> None:
        """Ends the workers at once, wherever they are: what they have finished is on the disk, whole."""
        self._is_over = True
        nannies = [nanny for nanny in self._nannies.values() if not nanny.why]
        for nanny in nannies:
            nanny.close_gracefully()  # no new worker
            if nanny.pid is not None:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(nanny.pid, signal.SIGKILL)
        await closed(asyncio.gather(*(nanny.close(timeout=2) for nanny in nannies)))
        for kept in self._kept:
            kept.cancel()

    async def _keep(self, name: str, worker_spec: dict[str, Any]) -> None:
        """A nanny, and another one where that gives up: it does if its worker dies as it starts."""
        in_vain = 0
        while not self._is_over and in_vain < STARTS_IN_VAIN:
            nanny = self._nannies[name] = self._nanny(name, worker_spec)
            with contextlib.suppress(Exception):  # Dask's log and the worker's own have it
                await nanny
                in_vain = 0
                await nanny.finished()
            if self._leave and nanny.why == "nanny-close-gracefully":
                return
            in_vain += 1 if nanny.was_killed else STARTS_IN_VAIN // 4
            await nanny.close()

    def _nanny(self, name: str, worker_spec: dict[str, Any]) -> WorkerNanny:
        return WorkerNanny(
            self._scheduler, nthreads=1, name=name, host=self._host, security=self._security,
            worker_class=QuietWorker, preload=PRELOAD,
            memory_limit=0,  # else Dask kills a worker at 95 % of its share
            env={WORKER_SPEC: json.dumps(worker_spec | {"name": name})} | worker_spec.get("environment", {}),
        )  # fmt: skip


def address_towards(address: Address) -> str:
    """This machine's address in the network that leads to another one; nothing is sent."""
    family, kind, protocol, _, target = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_DGRAM
    )[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(target)
        return str(probe.getsockname()[0])


async def closed(closing: Awaitable[Any]) -> None:
    """Waits for something of Dask's to close, but not for ever: the process ends anyway."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(closing, CLOSE_SECONDS)


class LoopThread:
    """An event loop in a thread of its own, for everything of Dask's in this process."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="event loop", daemon=True)
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T], timeout: float | None = None) -> T:
        """Runs a coroutine there and waits for what it returns."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout)

    def end(self, last: Coroutine[Any, Any, None] | None = None) -> None:
        """Runs a last coroutine, if there is one, and stops the loop, whatever is left in it."""
        if last is not None:
            with contextlib.suppress(concurrent.futures.TimeoutError):
                self.call(last, timeout=4 * CLOSE_SECONDS)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(2)


class LogFile(logging.FileHandler):
    """A log whose lines are lost where its disk is full: what a full disk does to a sweep, its trials say."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """In place of a traceback on the terminal."""


def log_to(path: Path) -> None:
    """Sends what Dask says to a file, and nothing of it to the terminal."""
    handler = LogFile(path)
    handler.setFormatter(logging.Formatter("%(asctime)s %(name)s %(levelname)s %(message)s"))
    for name in LOGGERS:
        logger = logging.getLogger(name)
        logger.handlers[:] = [] if name.startswith("distributed.") else [handler]
        logger.propagate = name.startswith("distributed.")


# The certificate of a run: whoever has it may send work


def fresh_certificate() -> dict[str, str]:
    """A key and a certificate that signs itself, made now, as PEM."""
    made = Security.temporary()
    return dict(zip(KEYS, (made.tls_scheduler_key, made.tls_scheduler_cert), strict=True))


def security_of(certificate: Mapping[str, str]) -> Security:
    """TLS both ways: each side shows the certificate, and trusts no other one."""
    key, cert = (certificate[name] for name in KEYS)
    roles = {
        f"tls_{role}_{what}": value
        for role in ("scheduler", "worker", "client")
        for what, value in (("key", key), ("cert", cert))
    }
    return Security(require_encryption=True, tls_ca_file=cert, **roles)


def write_certificate(path: Path, certificate: Mapping[str, str]) -> None:
    """Writes it where its user alone can read it.

    Raises:
        OSError: it cannot be written.
    """
    path.unlink(missing_ok=True)
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        json.dump(dict(certificate), file)


def _refuse_shared(path: Path) -> None:
    """Whoever can write the certificate can send work, and have it run."""
    status = path.lstat()
    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o077:
        raise RequestError(
            f"{path}: expected a file that nobody else can read or write (mode 600), found "
            + (f"mode {status.st_mode & 0o777:o}" if stat.S_ISREG(status.st_mode) else "no regular file")
            + f" of user {status.st_uid}; start the sweep that listens anew"
        )


def read_certificate(path: Path, option: str) -> dict[str, str]:
    """The certificate of a sweep that listens.

    Raises:
        RequestError: nobody listens, or another user's sweep does.
    """
    try:
        _refuse_shared(path)
        found = json.loads(path.read_text())
        return {name: str(found[name]) for name in KEYS}
    except FileNotFoundError:
        raise RequestError(
            f"{option}: no sweep listens in {path.parent.parent}; start it with --listen first, with the same --logs"
        ) from None
    except OSError as error:
        raise RequestError(
            f"{path}: cannot be read: {error.strerror}; join as the user who runs the sweep"
        ) from None
    except (ValueError, KeyError, TypeError):
        raise RequestError(f"{path}: no certificate; start the sweep that listens anew") from None
