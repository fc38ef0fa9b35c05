"""The smallest epsilon that breaks an image, against the batch size."""

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from matplotlib.axes import Axes

from tfsgd.reporting.figures import curves, style
from tfsgd.reporting.figures.curves import Curve
from tfsgd.reporting.figures.legend import handle, legend
from tfsgd.reporting.figures.registry import figure
from tfsgd.reporting.figures.style import Drawing, FigureResult
from tfsgd.reporting.paper import MOMENTUM_FIGURES, attack_name
from tfsgd.reporting.table.columns import Attack, smallest_column
from tfsgd.reporting.table.studies import Study

QUARTILES = ("lower_quartile", "median", "upper_quartile")


@figure(12)
def smallest_epsilon(study: Study) -> FigureResult:
    """Median and quartiles, over the images, of the smallest ε that breaks each."""
    regimes = curves.regime_curves(study)
    if not study.searched or not regimes:
        yield "The smallest ε for each image: it was not measured (attacks: minimal)"
        return
    for attack in study.searched:
        yield _smallest(study, regimes, attack)
        for kind in MOMENTUM_FIGURES:
            several = curves.momentum_curves(study, kind)
            if len(several) > 1:
                yield _smallest(study, several, attack, kind)


@dataclass(frozen=True)
class _Quartiles:
    """Of a cell, means over its seeds, in the order of `QUARTILES`; `None`: in some seed so many images hold out."""

    batch_size: int
    seeds: int
    values: tuple[float | None, ...]
    bound: float

    @classmethod
    def of(cls, cell: pd.DataFrame, attack: Attack) -> "_Quartiles":
        found = (cell[smallest_column(attack, name)].astype(float) for name in QUARTILES)
        means = tuple(None if values.isna().any() else float(values.mean()) for values in found)
        return cls(int(cell["batch_size"].iloc[0]), len(cell), means, attack[1])

    @property
    def median(self) -> float | None:
        return self.values[1]

    @property
    def shown(self) -> list[float]:
        """The values, the bound where one lies above it."""
        return [self.bound if value is None else value for value in self.values]

    @property
    def words(self) -> list[str]:
        return [f"above {self.bound:g}" if value is None else f"{value:.3g}" for value in self.values]


def _smallest(study: Study, lines: Sequence[Curve], key: Attack, momenta_of: str = "") -> Drawing:
    attack, bound = key
    whose = f"momenta of {momenta_of}, " if momenta_of else ""
    title = f"Smallest ε that breaks an image, {whose}{curves.place(study)}, {attack_name(attack)} up to ε = {bound:g}"
    name = f"smallest-{style.file_name(attack)}-{bound:g}"
    name += f"-{curves.momentum_stem(momenta_of)}" if momenta_of else ""
    caption = (
        "Markers: the median over the images, mean over the seeds; bars: from the lower to the upper quartile. An "
        "image that is misclassified unchanged counts as 0."
    )
    drawing = Drawing(name, title, caption, 4.2)
    axes = drawing.figure.subplots()
    cells: list[_Quartiles] = []
    for line, shift in curves.dodge(lines):
        rows = line.completed[line.completed[smallest_column(key, "censored")].notna()]
        of_line = [_Quartiles.of(cell, key) for _, cell in rows.groupby("batch_size")]
        _quartile_curve(drawing, axes, line, of_line, shift)
        cells += of_line
    if any(None in q.values for q in cells):
        drawing.caption += (
            f" Where a quartile is not reached at ε = {bound:g}, the bar ends there, and a median that is not stands "
            "there with a hollow marker: it is larger than shown."
        )
    curves.batch_axes([axes], lines)
    axes.set_ylim(bottom=0)
    axes.set_ylabel("smallest ε")
    handles = curves.handles_of(lines)
    if any(q.median is None for q in cells):
        hollow = {"marker": "o", "markerfacecolor": style.PAPER, "linestyle": "none"}
        handles.append(handle(f"median above {bound:g}", **hollow))
    legend(drawing.figure, handles, 3)
    return drawing


def _quartile_curve(
    drawing: Drawing, axes: Axes, line: Curve, cells: Sequence[_Quartiles], shift: float
) -> None:
    known = [(q.batch_size * shift, q.median) for q in cells if q.median is not None]
    if known:
        axes.plot(*zip(*known, strict=True), color=line.colour)
    x = [q.batch_size * shift for q in cells]
    axes.vlines(x, [q.shown[0] for q in cells], [q.shown[2] for q in cells], line.colour, lw=1.1)
    for hollow in (False, True):
        points = []
        for q in cells:
            if (q.median is None) == hollow:
                lower, median, upper = q.words
                says = f"median {median}, quartiles {lower} and {upper}"
                says = f"{line.label}, batch size {q.batch_size}: {says}"
                points.append((q.batch_size * shift, q.shown[1], says))
        face = style.PAPER if hollow else line.colour
        curves.markers(drawing, axes, line, points, line.marker, markerfacecolor=face)
    for q in cells:
        row = {"curve": line.label, "batch size": f"{q.batch_size}"}
        row |= {name.replace("_", " "): words for name, words in zip(QUARTILES, q.words, strict=True)}
        drawing.values.append(row | {"seeds": f"{q.seeds}"})
