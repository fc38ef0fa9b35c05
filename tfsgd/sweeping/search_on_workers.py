"""A search on many workers: as many threads of keras-tuner's, each waiting for one trial."""

import contextlib
import threading
import time

from tfsgd import interrupts
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.sweeping.tuner import GridOracle, GridTuner
from tfsgd.sweeping.worker_pool import WorkerPool

LOOK_SECONDS = 0.05  # between two looks at the threads


def search_on_workers(trials: list[Trial], pool: WorkerPool, logs: LogFolder) -> dict[str, str]:
    """Has the given trials trained and measured by workers.

    Returns:
        The trials that failed, with an error of one line each.

    Raises:
        RequestError: no worker can start.
    """
    oracle, threads = GridOracle(trials), list[threading.Thread]()
    while oracle.waiting or any(thread.is_alive() for thread in threads):
        at_work = sum(thread.is_alive() for thread in threads)
        for _ in range(min(pool.size - at_work, oracle.waiting)):
            tuner = GridTuner(oracle, pool.run, str(logs.tuner_path), f"thread {len(threads)}")
            threads.append(threading.Thread(target=_search, args=(tuner,), name=tuner.tuner_id, daemon=True))
            threads[-1].start()
        time.sleep(LOOK_SECONDS)  # and not in a join, which would not hear Ctrl-C
        interrupts.check()
        pool.check()
    return pool.failures


def _search(tuner: GridTuner) -> None:
    with contextlib.suppress(SystemExit):  # the pool is over
        tuner.search(verbose=0)
