"""The machine, as the table's head names it."""

import importlib.metadata
import os
import platform
from pathlib import Path


def processor() -> str:
    """The processor's name and how many of its cores this process may use."""
    name = platform.processor() or "unknown processor"
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), name)
    return f"{name}, {len(cores())} cores"


def cores() -> list[int]:
    """The cores that this process may use."""
    return sorted(os.sched_getaffinity(0))


def versions() -> str:
    """The packages that the numbers depend on."""
    packages = ("tensorflow", "keras", "torch", "torchattacks", "PyHessian")
    return ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)


def other_load() -> str:
    """How busy the machine already is, as a sentence.

    The times of several threads mean little beside other load: a thread that waits for another one
    spins, and its waiting counts as CPU time.
    """
    load = os.getloadavg()[0]
    if load < 0.5:
        return f"Other load at the start: {load:.1f} cores."
    return f"Other load at the start: {load:.1f} cores: rows on several cores mean little."
