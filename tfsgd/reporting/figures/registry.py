"""All figures: the paper's, redrawn from a study's trials, and those that go beyond it.

Every figure is drawn once, in colours for white paper. The page shows the SVG itself, with each colour replaced by a CSS
variable, so that it follows light and dark mode, and with a title at each point, so that its value shows on hover.

A figure is a function `Study -> FigureResult` with the decorator `figure`, in a file of this folder: that is all.
"""

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from tfsgd.errors import RequestError
from tfsgd.reporting.figures.style import Drawing, Drawn, FigureResult, Look, drawn
from tfsgd.reporting.table.studies import Study
from tfsgd.text import known_keys

FigureFunction = Callable[[Study], FigureResult]
SECTIONS = {  # of the page -> the question that its figures answer
    "overview": "",
    "batch": "What does a larger batch change?",
    "momentum": "What does momentum change?",
    "agreement": "Does curvature explain robustness?",
    "edge": "Are the networks at the edge of stability?",
    "attacks": "What do attacks find?",
    "equal": "And after equal training?",
}
ALL = "all"


class _Figure(NamedTuple):
    section: str
    extra: bool  # drawn only where it is asked for
    function: FigureFunction


_FIGURES: dict[str, _Figure] = {}


def figure(section: str, extra: bool = False) -> Callable[[FigureFunction], FigureFunction]:
    """Decorates a function that draws figures of a study, for a section of the page. Its name is the figure's."""

    def register(function: FigureFunction) -> FigureFunction:
        _FIGURES[function.__name__.replace("_", "-")] = _Figure(section, extra, function)
        return function

    return register


@functools.cache
def figures() -> Mapping[str, _Figure]:
    """All of them by their names, in the order of the page."""
    for module in pkgutil.iter_modules([str(Path(__file__).parent)]):
        importlib.import_module(f"{__name__.rpartition('.')[0]}.{module.name}")
    sections = [*SECTIONS]
    return dict(sorted(_FIGURES.items(), key=lambda f: (sections.index(f[1].section), f[1].extra, f[0])))


def refuse_unknown_figures(names: Sequence[str]) -> None:
    """Refuses names that no figure has.

    Raises:
        RequestError: one line, with the name that is near.
    """
    for name in names:
        if name not in (ALL, *figures()):
            raise RequestError(f"--figures: no figure '{name}'{known_keys(name, [*figures(), ALL])}")


def draw(
    study: Study,
    done: Callable[[Drawing], None] = lambda drawing: None,
    names: Sequence[str] = (),
    look: Look | None = None,
) -> Drawn:
    """The figures that the records can draw, and in words those that they cannot, and why.

    Args:
        study: the trials.
        done: is called with each when it is laid out.
        names: of those that are wanted, `all` for all; by default those that are not extra.
        look: how large they are.
    """

    def results() -> FigureResult:
        for name, one in figures().items():
            if (ALL in names or name in names) if names else not one.extra:
                for result in one.function(study):
                    if isinstance(result, str):
                        yield result
                    elif names or not result.extra:
                        result.section = one.section
                        yield result

    return drawn(results, done, look)
