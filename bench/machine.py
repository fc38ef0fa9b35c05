"""The machine, as the table's head names it."""

import importlib.metadata
import os
import platform
from pathlib import Path

VECTORS = {"avx512_vnni": "AVX-512 VNNI", "avx512f": "AVX-512", "avx2": "AVX2"}  # the best one first


def processor() -> str:
    """The processor's name, its vector instructions, and how many of its cores this process may use."""
    name, flags = platform.processor() or "unknown processor", ""
    if Path("/proc/cpuinfo").exists():
        lines = [line.partition(":") for line in Path("/proc/cpuinfo").read_text().splitlines()]
        said = {key.strip(): value.strip() for key, _, value in lines}
        name, flags = said.get("model name", name), said.get("flags", "")
    vectors = next((f" with {text}" for flag, text in VECTORS.items() if flag in flags.split()), "")
    return f"{name}{vectors}, {len(cores())} cores"


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
