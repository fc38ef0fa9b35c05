"""The range that trains: a claim is judged on adjoining batch sizes at which no trial diverged or collapsed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from tfsgd.reporting.claims.evidence import Evidence, Impossible
from tfsgd.reporting.paper import BAD, MIN_BATCH_SIZES
from tfsgd.reporting.table.cells import Cell, Cells, Metric

Gather = Callable[[Cells, Metric], Evidence]


def where_it_trains(gather: Gather, concerns: Callable[[Cell], bool]) -> Gather:
    """The same evidence, from the largest range of batch sizes that trains.

    A batch size at which any trial that the claim concerns diverged or collapsed is left out. What is
    left falls into ranges of adjoining batch sizes. The one with the most batch sizes for the claim is
    taken; of equally large ones that with more seeds, then that of the smaller batch sizes. The choice sees
    which trials trained and were measured, and none of their numbers.

    Where no range has enough batch sizes, the evidence is that of all of them, and what spoils it is in it.

    Args:
        gather: gives the evidence on the cells that it is given.
        concerns: the cells that the claim is about, at whatever batch size.
    """

    def evidence(cells: Cells, metric: Metric) -> Evidence:
        bad = cells.bad_trials(concerns)
        whole = gather(cells, metric)
        if not bad:
            return whole
        trained = sorted({cell.batch_size for cell in cells.all_cells if concerns(cell)})
        ranges = adjoining(trained, bad)
        found = [(sizes, gather(cells.only(sizes), metric)) for sizes in ranges]
        found = [
            (sizes, e)
            for sizes, e in found
            if not isinstance(e, Impossible) and e.batch_sizes >= MIN_BATCH_SIZES
        ]
        if not found:
            return replace(whole, spoilt=whole.spoilt or cells.spoilt(metric, concerns))
        sizes, best = max(found, key=lambda item: (item[1].batch_sizes, item[1].seeds))  # the first of equals
        return replace(best, trains=tuple(sizes), left_out=left_out(trained, sizes, bad))

    return evidence


def adjoining(trained: Iterable[int], bad: Iterable[int]) -> list[list[int]]:
    """The ranges of adjoining batch sizes between the bad ones, from small to large."""
    ranges: list[list[int]] = [[]]
    for size in sorted(trained):
        if size in bad:
            ranges.append([])
        else:
            ranges[-1].append(size)
    return [sizes for sizes in ranges if sizes]


def left_out(trained: Sequence[int], sizes: Sequence[int], bad: dict[int, Counter[str]]) -> str:
    """What is left out and why: `at 4096 3 of 3 collapsed`.

    Args:
        trained: all batch sizes.
        sizes: those that are judged.
        bad: batch sizes at which trials diverged or collapsed, with how many of each status.
    """
    said = []
    for size, counts in sorted(bad.items()):
        of_all = sum(counts.values())
        what = " and ".join(f"{counts[kind]} of {of_all} {kind}" for kind in BAD if counts[kind])
        said.append(f"at {size} {what}")
    shorter = [f"{size}" for size in trained if size not in sizes and size not in bad]
    if shorter:
        said.append(f"{', '.join(shorter)} not judged")
    return "; ".join(said)
