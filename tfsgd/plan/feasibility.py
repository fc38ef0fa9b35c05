"""Whether a network and a machine can give what a config asks for, found out before anything is trained."""

from pathlib import Path

from tfsgd.errors import RequestError
from tfsgd.plan.config import Experiment

MEMINFO = Path("/proc/meminfo")
GIGABYTE = 1e9


def refuse_unfit(experiment: Experiment, dimension: int, workers: int = 1) -> None:
    """Refuses curvature measures that the network is too small for, or the memory.

    Args:
        experiment: what is asked for.
        dimension: trainable parameters of its network.
        workers: processes that measure at the same time.

    Raises:
        RequestError: the line names the key.
    """
    free = free_memory()
    for label, measure in experiment.curvature.items():
        for batch_size in experiment.batch_sizes:
            reason = measure.unfit(dimension, batch_size)
            if reason:
                raise RequestError(f"curvature.{label}.{reason}")
        needed = 8 * measure.vectors(dimension) * dimension * workers
        if free is not None and needed > free:
            raise RequestError(
                f"curvature.{label}: it keeps {measure.vectors(dimension)} vectors of {dimension:,} parameters, "
                f"{needed / GIGABYTE:.1f} GB with {workers} workers, and {free / GIGABYTE:.1f} GB of memory are free; "
                "take smaller settings or fewer --workers"
            )


def free_memory() -> int | None:
    """Bytes that this machine can give; `None` where it does not tell."""
    try:
        [line] = [line for line in MEMINFO.read_text().splitlines() if line.startswith("MemAvailable:")]
        return int(line.split()[1]) * 1024
    except (OSError, ValueError, IndexError):
        return None
