"""Barriers of the loss between networks, as one matrix."""

from collections import defaultdict
from collections.abc import Iterator
from typing import NamedTuple

import matplotlib
import numpy as np

from tfsgd.errors import RequestError
from tfsgd.records.stored_barriers import Barrier, read_barriers
from tfsgd.reporting.figures.heatmaps import INKS, HeatCell, heatmap
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.table.studies import Study


@figure("batch", extra=True)
def barriers(study: Study) -> FigureResult:
    """The mean barrier between seeds, and between regimes, at each batch size."""
    try:
        known = [one for folder in study.folders for one in read_barriers(folder)]
    except RequestError as error:
        yield f"Barriers of the loss between networks: {error}"
        return
    found: dict[tuple[_Row, int], list[float]] = defaultdict(list)
    for one in known:
        for row in _rows(one):
            if one.barrier is not None:
                found[row, one.batch_size].append(one.barrier)
    if not found:
        yield "Barriers of the loss between networks: they were not computed (tfsgd barriers LOGS/NAME)"
        return
    yield _drawing(study, known, {key: (float(np.mean(each)), len(each)) for key, each in found.items()})


class _Row(NamedTuple):
    """Rows in their order: seeds first."""

    of_regimes: bool
    labels: str
    momentum: float

    @property
    def text(self) -> str:
        return f"{self.labels}, γ = {self.momentum:g}{'' if self.of_regimes else ': seeds'}"


def _rows(one: Barrier) -> Iterator[_Row]:
    """Of a network of two regimes, one for each."""
    first, second = one.regimes
    if one.between == "seeds":
        yield from (_Row(False, label, one.momentum) for label in first)
    else:
        yield from (_Row(True, f"{a} – {b}", one.momentum) for a in first if a not in second for b in second)


def _drawing(study: Study, known: list[Barrier], found: dict[tuple[_Row, int], tuple[float, int]]) -> Drawing:
    rows = sorted({row for row, _ in found})
    images = " or ".join(f"{count:,}" for count in sorted({one.examples for one in known}))
    caption = (
        "In nats, the mean over pairs: how far the loss rises above the straight line between the losses of two networks, on the "
        f"straight line between their weights, on the first {images} training images. Between the seeds of one setting, and "
        "between two regimes with the same seed, which begin with the same weights. 0: the two lie in one valley."
    )
    drawing = Drawing("barriers", f"Barriers between networks, {study.place}", caption, 1.8 + 0.3 * len(rows))
    drawing.values = [
        {"between": row.text, "batch size": str(size), "barrier": f"{mean:.3f}", "pairs": str(count)}
        for (row, size), (mean, count) in sorted(found.items())
    ]
    largest = max(max(mean for mean, _ in found.values()), np.finfo(float).tiny)
    cells = [
        HeatCell(
            f"{size:,}", row.text, matplotlib.colormaps["Blues"](0.05 + 0.9 * mean / largest), f"{mean:.2f}",
            f"{row.text}, batch size {size}: {mean:.3f} nats, {count} pairs", {"color": INKS[mean > 0.6 * largest]},
        )
        for (row, size), (mean, count) in sorted(found.items(), key=lambda one: one[0][1])
    ]  # fmt: skip
    axes = heatmap(drawing, cells, [row.text for row in rows])
    axes.set_xlabel("batch size")
    return drawing
