"""Workers that a batch system starts: SLURM, PBS, LSF or SGE, by dask-jobqueue and its own configuration file.

A job's command is `tfsgd.sweeping.job_entrypoint` instead of Dask's, so that its workers have what those of any other
machine have. A job that has reached its walltime is followed by another one.
"""

import asyncio
import contextlib
import importlib
import itertools
import os
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import dask
from distributed.utils import get_ip, get_ip_interface

from tfsgd.errors import RequestError
from tfsgd.sweeping.address import Address
from tfsgd.sweeping.cluster import USERS_FILES
from tfsgd.sweeping.worker_registry import WorkerRegistry
from tfsgd.terminal.progress import warn

JobMaker = Callable[[str, str], Any]
QUEUES = {"slurm": "SLURMJob", "pbs": "PBSJob", "lsf": "LSFJob", "sge": "SGEJob"}
LOOK_SECONDS = 1.0
SILENT_SECONDS = 600.0  # after which a job that has brought no worker is spoken of
GONE_SECONDS = 5.0  # a worker that died comes again sooner, with its job
ANSWER_SECONDS = 120.0  # that the command of a batch system may take
AGAIN_SECONDS = 60.0  # until a batch system that has refused a job is asked again
MOST_REFUSALS = 60  # of each job in a row, where one was taken before


def job_maker(queue: str, logs: Path) -> JobMaker:
    """How a job of a batch system is made, by the scheduler's address and the job's name.

    Args:
        queue: a key of `QUEUES`.
        logs: the sweep's folder, as the jobs see it too.

    Raises:
        RequestError: dask-jobqueue is not installed, or its configuration does not suffice.
    """
    if queue not in QUEUES:
        raise RequestError(f"--jobqueue {queue}: expected one of {', '.join(QUEUES)}")
    theirs, dask.config.PATH = dask.config.PATH, os.devnull  # else the import writes into the user's home
    try:
        cls = getattr(importlib.import_module(f"dask_jobqueue.{queue}"), QUEUES[queue])
    except ImportError:
        raise RequestError("--jobqueue: needs dask-jobqueue; pip install 'tfsgd[cluster]'") from None
    finally:
        dask.config.PATH = theirs
    ours = dask.config.collect(list(USERS_FILES))  # of the user's settings those of batch systems alone
    dask.config.set(jobqueue=dask.config.merge(dask.config.get("jobqueue"), ours.get("jobqueue") or {}))
    told = dask.config.get(f"jobqueue.{queue}")
    workers = told["processes"] or told["cores"]  # of a job

    def make(scheduler: str, name: str) -> Any:
        return cls(
            scheduler, name=name, job_name=name, log_directory=str(logs / "tuner"), death_timeout=60,
            worker_command="tfsgd.sweeping.job_entrypoint", worker_extra_args=["--logs", str(logs), "--nworkers", workers],
        )  # fmt: skip

    try:
        make("tls://127.0.0.1:1", "test")
    except ValueError as error:
        first = str(error).splitlines()[0].partition(", for")[0]
        raise RequestError(
            f"--jobqueue {queue}: {first}; set jobqueue.{queue}.cores, memory, queue, account and walltime in "
            "~/.config/dask/jobqueue.yaml"
        ) from None
    return make


def own_address(queue: str) -> Address:
    """Where jobs reach this machine, at any port: by the configured interface, or the one that leads outwards."""
    interface = dask.config.get(f"jobqueue.{queue}.interface", None)
    return Address(get_ip_interface(interface) if interface else get_ip(), 0)


class Jobs:
    """So many jobs at a time, as long as the sweep lasts; made in a running event loop.

    Args:
        make: see `job_maker`.
        scheduler: its address.
        count: of jobs.
        registry: which workers are there.

    Attributes:
        refusal: why the batch system took no job, in one line.
    """

    def __init__(self, make: JobMaker, scheduler: str, count: int, registry: WorkerRegistry) -> None:
        self._make, self._scheduler = make, scheduler
        self._registry = registry
        self._jobs: dict[int, Any] = {}
        self.refusal: str | None = None
        self._refusals = [0] * count  # in a row
        self._any_taken = False
        self._kept = [asyncio.ensure_future(self._keep(number)) for number in range(count)]

    @property
    def have_ended(self) -> bool:
        """Whether no job is there or will come: a batch system that takes not even the first ones is not asked again."""
        return min(self._refusals) > (MOST_REFUSALS if self._any_taken else 0)

    async def close(self) -> None:
        """Cancels all jobs."""
        for kept in self._kept:
            kept.cancel()
        with contextlib.suppress(Exception):  # the batch system may be gone
            await asyncio.wait_for(asyncio.gather(*(job.close() for job in self._jobs.values())), 5)

    async def _keep(self, number: int) -> None:
        """One job after the other."""
        for name in (f"tfsgd-{uuid.uuid4().hex[:6]}-{number}-{i}" for i in itertools.count()):
            job = self._jobs[number] = self._make(self._scheduler, name)
            try:
                await asyncio.wait_for(job.start(), ANSWER_SECONDS)
            except Exception as error:
                if isinstance(error, asyncio.TimeoutError):
                    error = TimeoutError(f"its command has not returned within {ANSWER_SECONDS:g} seconds")
                if await self._is_over(number, error):
                    return
                continue
            self._any_taken, self._refusals[number] = True, 0
            waited = 0.0
            while not any(worker.startswith(f"{name}-") for worker in self._registry.known):
                await asyncio.sleep(LOOK_SECONDS)  # as long as it waits in the queue
                waited += LOOK_SECONDS
                if waited - LOOK_SECONDS < SILENT_SECONDS <= waited:
                    warn(
                        f"--jobqueue: job {job.job_id} has brought no worker for {SILENT_SECONDS / 60:.0f} minutes: it "
                        "waits in the queue, or it has ended; ask the batch system, and look into the job's log"
                    )
            while await self._is_here(name):
                await asyncio.sleep(LOOK_SECONDS)
            await job.close()

    async def _is_over(self, number: int, error: Exception) -> bool:
        """Whether a refusal is the end; else it is time to ask again."""
        lines = [line for line in str(error).splitlines() if line.strip()]
        self.refusal = f"--jobqueue: no job was taken: {' '.join(lines)[:500]}"
        self._refusals[number] += 1
        await asyncio.sleep(GONE_SECONDS)
        if self.have_ended:
            return True
        if self._refusals[number] == 1:
            warn(f"{self.refusal}; the sweep goes on with the others, and asks again each minute")
        await asyncio.sleep(AGAIN_SECONDS)
        return self.have_ended

    async def _is_here(self, name: str) -> bool:
        """Whether any of a job's workers is here, or comes again soon."""
        for _ in range(int(GONE_SECONDS / LOOK_SECONDS)):
            if any(worker.startswith(f"{name}-") for worker in self._registry.names.values()):
                return True
            await asyncio.sleep(LOOK_SECONDS)
        return False
