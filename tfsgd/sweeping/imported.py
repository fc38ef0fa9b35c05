"""What a worker needs, imported once by the process that workers are forked from; see `tfsgd.sweeping.ahead`.

A module that cannot be imported here is imported by each worker, which says why it cannot.
"""

import importlib

from tfsgd.imports import quickly

with quickly():
    for module in ("distributed", "tfsgd.sweep", "tfsgd.sweeping.worker", "tfsgd.sweeping.attempt"):
        importlib.import_module(module)
