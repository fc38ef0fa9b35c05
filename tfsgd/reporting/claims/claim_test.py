"""A claim's test: a function of the cells and a metric, whose docstring is the prose that the page shows.

A claim is judged on adjoining batch sizes at which no trial diverged or collapsed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from tfsgd.reporting.claims.evidence import Evidence, Impossible
from tfsgd.reporting.paper import FACTS, MIN_BATCH_SIZES
from tfsgd.reporting.table.cell import CellFilter
from tfsgd.reporting.table.cells import Cells
from tfsgd.reporting.table.metrics import Metric

TestFunction = Callable[[Cells, Metric], Evidence]


@dataclass(frozen=True)
class ClaimTest:
    """One kind of test.

    Attributes:
        function: (cells, metric, parameters by name) -> evidence.
        concerns: parameters -> the cells that the claim is about; `None`: all cells are judged, whatever trained.
    """

    function: Callable[..., Evidence]
    concerns: Callable[..., CellFilter] | None

    def __call__(self, cells: Cells, metric: Metric, **parameters: Any) -> Evidence:
        test = partial(self.function, **parameters)
        if self.concerns is None:
            return test(cells, metric)
        return on_trained_range(test, self.concerns(**parameters), cells, metric)

    @property
    def prose(self) -> str:
        """The docstring with the margins filled in."""
        return " ".join((inspect.getdoc(self.function) or "").split()).format(**FACTS)


def claim_test(
    concerns: Callable[..., CellFilter] | None = None,
) -> Callable[[Callable[..., Evidence]], ClaimTest]:
    """Decorates the function of a claim's test."""
    return lambda function: ClaimTest(function, concerns)


def on_trained_range(test: TestFunction, concerns: CellFilter, cells: Cells, metric: Metric) -> Evidence:
    """The evidence from the largest range of batch sizes that trains.

    A batch size at which any trial that the claim concerns diverged or collapsed is left out. What is
    left falls into ranges of adjoining batch sizes. The one with the most batch sizes for the claim is
    taken; of equally large ones that with more seeds, then that of the smaller batch sizes. The choice sees
    which trials trained and were measured, and none of their numbers.

    Where no range has enough batch sizes, the evidence is that of all of them, with its invalid trials.
    """
    bad = cells.bad_trials(concerns)
    whole = test(cells, metric)
    if not bad:
        return whole
    trained = sorted({cell.batch_size for cell in cells.all_cells if concerns(cell)})
    found = [(sizes, test(cells.only(sizes), metric)) for sizes in adjoining(trained, bad)]
    found = [
        (sizes, e) for sizes, e in found if not isinstance(e, Impossible) and e.batch_sizes >= MIN_BATCH_SIZES
    ]
    if not found:
        return replace(whole, invalid_trials=whole.invalid_trials or cells.invalid_trials(metric, concerns))
    sizes, best = max(found, key=lambda item: (item[1].batch_sizes, item[1].seeds))  # the first of equals
    others = tuple(size for size in trained if size not in sizes and size not in bad)
    return replace(best, trains=tuple(sizes), bad=bad, not_judged=others)


def adjoining(trained: Iterable[int], bad: Iterable[int]) -> list[list[int]]:
    """The ranges of adjoining batch sizes between the bad ones, from small to large."""
    ranges: list[list[int]] = [[]]
    for size in sorted(trained):
        if size in bad:
            ranges.append([])
        else:
            ranges[-1].append(size)
    return [sizes for sizes in ranges if sizes]
