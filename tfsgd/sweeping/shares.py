"""How a machine is shared out among workers: a core or more to each, or a GPU, or a part of one."""

import os
from pathlib import Path
from typing import Any


def visible_gpus() -> list[str]:
    """The GPUs of this machine that TensorFlow can use, by what `CUDA_VISIBLE_DEVICES` calls them.

    TensorFlow is only asked, and imported, where there is a driver.
    """
    if not list(Path("/dev").glob("nvidia[0-9]*")):
        return []
    import tensorflow as tf

    count = len(tf.config.list_physical_devices("GPU"))
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    return named[:count] if named else [str(i) for i in range(count)]


def default_size(trials: int, gpus: list[str], per_gpu: int = 1) -> int:
    """One worker for each core, or so many for each GPU where there are any; never more than trials."""
    return max(1, min(trials, len(gpus) * per_gpu or len(os.sched_getaffinity(0))))


def shares(size: int, gpus: list[str], logs: Path) -> list[dict[str, Any]]:
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
