"""What a worker needs, imported once by the process that workers are forked from; see `tfsgd.sweeping.forkserver`.

A module that cannot be imported here is imported by each worker, which says why it cannot.
"""

import ctypes
import importlib
import signal

from tfsgd.imports import quickly

PR_SET_PDEATHSIG = 1
ctypes.CDLL(None).prctl(
    PR_SET_PDEATHSIG, signal.SIGTERM
)  # it ends with its command, also in the middle of an import

with quickly():
    for module in ("tfsgd.sweeping.cluster", "tfsgd.sweep", "tfsgd.sweeping.worker", "tfsgd.trials.attempt"):
        importlib.import_module(module)
