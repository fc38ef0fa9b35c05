"""How a machine is shared out among workers: a core or more to each, or a GPU, or a part of one."""

import os
import resource
import threading
from pathlib import Path
from typing import Any

from tfsgd.errors import RequestError
from tfsgd.text import counted

OF_THE_POOL, OF_A_WORKER, OF_A_CORE = 20, 8, 4  # threads, as they were counted on one core and on two
DEVICES, DRIVER = Path("/dev"), Path("/proc/driver/nvidia")


def visible_gpus() -> list[str]:
    """The GPUs of this machine that TensorFlow can use, by what `CUDA_VISIBLE_DEVICES` calls them.

    TensorFlow is only asked, and imported, where there is a driver.
    """
    if not list(DEVICES.glob("nvidia[0-9]*")):
        return []
    import tensorflow as tf

    count = len(tf.config.list_physical_devices("GPU"))
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(i) for i in range(count)]


def unseen_gpu() -> str:
    """What says that a GPU is here; empty where there is none, or it is hidden on purpose."""
    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    found = [path for path in (*sorted(DEVICES.glob("nvidia[0-9]*")), DRIVER) if path.exists()]
    return str(found[0]) if found and not hidden else ""


def described(workers: list[dict[str, Any]], gpus: list[str], alone: bool) -> str:
    """On what it is trained and by how many: `CPU, 2 workers with 1 thread each`.

    Args:
        workers: as `allocate` gives them; none: they are jobs of a batch system.
        gpus: as `visible_gpus` gives them.
        alone: one process, without a cluster, which takes all there is.
    """
    if not workers:
        return "those of the batch system's jobs"
    what = f"GPU{'s' * (len(gpus) > 1)} {', '.join(gpus)}" if gpus else "CPU"
    threads = counted(workers[0]["threads"], "thread")
    if alone:
        return f"{what}, this process" if gpus else f"{what}, this process with {threads}"
    return f"{what}, {counted(len(workers), 'worker')}" + ("" if gpus else f" with {threads} each")


def default_size(trials: int, gpus: list[str], per_gpu: int = 1) -> int:
    """One worker for each core, or so many for each GPU where there are any; never more than trials."""
    return max(1, min(trials, len(gpus) * per_gpu or len(os.sched_getaffinity(0))))


def allocate(size: int, gpus: list[str], logs: Path) -> list[dict[str, Any]]:
    """What each of a machine's workers must know, see `tfsgd.sweeping.worker`."""
    logs = logs.resolve()
    if not gpus:
        threads = max(1, len(os.sched_getaffinity(0)) // size)
        return [{"logs": str(logs), "threads": threads} for _ in range(size)]
    # Several processes on a GPU: each takes memory as it needs it, and not all at once.
    grow = {"TF_FORCE_GPU_ALLOW_GROWTH": "true"} if size > len(gpus) else {}
    return [
        {"logs": str(logs), "threads": 0, "environment": {"CUDA_VISIBLE_DEVICES": gpus[i % len(gpus)]} | grow}
        for i in range(size)
    ]


def refuse_few_threads(workers: list[dict[str, Any]], alone: bool) -> None:
    """Refuses to begin where the user may not have the threads for it: TensorFlow would abort, without a word.

    Args:
        workers: as `allocate` gives them.
        alone: one process, without a cluster.

    Raises:
        RequestError: they cannot be started; the line names how many, and the limit.
    """
    cores = len(os.sched_getaffinity(0))
    count = sum(OF_A_WORKER + OF_A_CORE * (spec["threads"] or cores) for spec in workers)
    count += 0 if alone else OF_THE_POOL
    if not _can_start(count):
        limit = resource.getrlimit(resource.RLIMIT_NPROC)[0]
        raise RequestError(
            f"--workers {len(workers)}: needs about {count} more threads, and this user may not start as many (ulimit -u: "
            f"{'unlimited' if limit == resource.RLIM_INFINITY else limit}); raise the limit of processes, or choose fewer workers"
        )


def _can_start(threads: int) -> bool:
    """Whether so many can be there at a time, which is tried: limits are a user's, a container's or the machine's."""
    over, started, size = threading.Event(), list[threading.Thread](), threading.stack_size(2**16)
    try:
        for _ in range(threads):
            thread = threading.Thread(target=over.wait, daemon=True)
            thread.start()
            started.append(thread)
    except RuntimeError:
        return False
    finally:
        threading.stack_size(size)
        over.set()
        for thread in started:
            thread.join()
    return True
