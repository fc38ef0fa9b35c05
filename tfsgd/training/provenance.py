"""Where and with what a number was measured."""

import functools
import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import tensorflow as tf
from tensorflow.python.util import _pywrap_util_port

from tfsgd.measures.spec import Provenance
from tfsgd.training.devices import replica_devices


@functools.cache
def provenance() -> Provenance:
    """Of everything that this process measures; asked once, before its first trial."""
    return Provenance(
        versions=versions(),
        device=device(),
        threads=tf.config.threading.get_intra_op_parallelism_threads() or len(os.sched_getaffinity(0)),
        onednn=_pywrap_util_port.IsMklEnabled(),
        replicas=len(replica_devices()),
        git_commit=git_commit(),
    )


def versions() -> dict[str, str]:
    """Versions of the packages that the numbers depend on: those that run, whatever pip has installed since."""
    names = ("tfsgd", "tensorflow", "keras", "keras-tuner", "cleverhans", "numpy", "scipy")
    return {name: _running(name) or version(name) for name in names}


def _running(name: str) -> str | None:
    return getattr(sys.modules.get(name.replace("-", "_")), "__version__", None)


def device() -> str:
    """The processor that the network ran on."""
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return "CPU"
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), "CPU")


def git_commit() -> str | None:
    """The commit of the checkout that runs, marked where it has changes; `None` outside of one."""

    def git(*arguments: str) -> str:
        command = ["git", "-C", str(Path(__file__).parent), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "HEAD") + ("-dirty" if changed else "")
    except (OSError, subprocess.CalledProcessError):
        return None
