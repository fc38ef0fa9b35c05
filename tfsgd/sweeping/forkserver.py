"""Workers that start in no time: one process imports TensorFlow ahead of them, and each is forked from it.

The import takes 2 to 4 seconds of a core, and memory that forked processes share. Nothing has run in that process when
it forks: there is no session, no device and no lock that is held.
"""

import multiprocessing
from multiprocessing import forkserver
from typing import Any


def import_ahead(workers: list[dict[str, Any]]) -> str:
    """Starts that process, unless it is there; it goes on beside this one, and ends with it.

    Workers with an environment of their own, which must be there before TensorFlow is imported, start from scratch;
    where there are none here, none is started.

    Args:
        workers: what each must know, see `tfsgd.sweeping.worker`.

    Returns:
        How Python's `multiprocessing` is to start them: `forkserver` or `spawn`.
    """
    if not workers or any("environment" in worker_spec for worker_spec in workers):
        return "spawn"
    multiprocessing.get_context("forkserver").set_forkserver_preload(["tfsgd.sweeping.forkserver_imports"])
    forkserver.ensure_running()
    return "forkserver"
