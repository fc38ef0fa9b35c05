"""All figures: the paper's, redrawn from a study's trials, and those that go beyond it.

Every figure is drawn once, in colours for white paper, and saved as PNG and SVG. The page shows the
SVG itself, with each colour replaced by a CSS variable, so that it follows light and dark mode, and
with a title at each point, so that its value shows on hover.

A figure is a function `Study -> FigureResult` with the decorator `figure`, in a file of this folder: that is all.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path

from tfsgd.reporting.figures.style import Drawing, Drawn, FigureResult, drawn
from tfsgd.reporting.table.studies import Study

FigureFunction = Callable[[Study], FigureResult]

FIGURES: dict[FigureFunction, int] = {}  # -> its place on the page


def figure(place: int) -> Callable[[FigureFunction], FigureFunction]:
    """Decorates a function that draws figures of a study; they come in the order of their places."""

    def register(function: FigureFunction) -> FigureFunction:
        FIGURES[function] = place
        return function

    return register


@functools.cache
def figures() -> list[FigureFunction]:
    """All of them, in the order of the page."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__name__.rpartition('.')[0]}.{module.name}")
    return sorted(FIGURES, key=lambda function: FIGURES[function])


def draw(study: Study, done: Callable[[Drawing], None] = lambda drawing: None) -> Drawn:
    """All figures that the records can draw, and in words those that they cannot, and why."""
    return drawn((result for function in figures() for result in function(study)), done)
