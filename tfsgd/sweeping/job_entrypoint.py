"""The command of a batch system's job: workers for the sweep that has submitted it, until that is over.

`python -m tfsgd.sweeping.job_entrypoint ADDRESS --name NAME --logs DIR`, in the script that dask-jobqueue writes, with
what that says besides.
"""

import argparse
import asyncio
from pathlib import Path

from tfsgd.records.folder import LogFolder
from tfsgd.sweeping.address import Address
from tfsgd.sweeping.allocation import allocate, visible_gpus
from tfsgd.sweeping.cluster import WorkerSupervisor, address_towards, log_to, read_certificate, security_of


def main() -> None:
    """Brings as many workers as the job has GPUs, or as its configuration says, until the sweep is over."""
    parser = argparse.ArgumentParser()
    parser.add_argument("scheduler")
    parser.add_argument("--name", required=True)
    parser.add_argument("--logs", required=True, type=Path)
    parser.add_argument("--nworkers", type=int, default=1)
    asked, _ = parser.parse_known_args()
    folder = LogFolder(asked.logs)
    log_to(folder.tuner_path / f"{asked.name}-dask.log")
    asyncio.run(_work(asked.scheduler, asked.name, folder, asked.nworkers))


async def _work(scheduler: str, name: str, folder: LogFolder, workers: int) -> None:
    security = security_of(read_certificate(folder.certificate_path, scheduler))
    host = address_towards(Address.parse(scheduler.removeprefix("tls://"), "scheduler"))
    worker_specs = allocate(workers, visible_gpus(), folder.path)
    supervisor = WorkerSupervisor(scheduler, host, security, worker_specs, leave=True, machine=name)
    while not supervisor.have_left:
        await asyncio.sleep(0.5)


if __name__ == "__main__":
    main()
