"""The parts of a figure, so that the page can stack them where it is narrow: panels, and the items of the key."""

from collections.abc import Iterator
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox

POINTS = 72.0  # an inch
PANEL_SCALE, KEY_SCALE = 1.45, 1.2  # CSS pixels a point, at most: text of 10.5 points is 15 pixels high
ROOM = 4.0  # points around a part


@dataclass(frozen=True)
class Part:
    """A rectangle of a figure, in points from its upper left corner as in an SVG, and its width on the page."""

    left: float
    top: float
    width: float
    height: float
    pixels: float

    @property
    def view_box(self) -> str:
        return f"{self.left:.1f} {self.top:.1f} {self.width:.1f} {self.height:.1f}"


def parts_of(figure: Figure) -> list[Part]:
    """The panels from left to right and top to bottom, then the key. The figure must have been laid out."""
    panels: dict[tuple[float, ...], list[Bbox]] = {}
    for axes in figure.axes:
        box = axes.get_tightbbox()  # None: it is not visible
        if box is not None:
            panels.setdefault(_place(axes), []).append(box)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for legend in figure.legends:
        legend.draw(renderer)  # its items have no place before
    FigureCanvasBase(figure)  # one that keeps no picture of the figure
    boxes = [Bbox.union(found) for found in panels.values()]
    key = [box for legend in figure.legends for box in _items(legend)]
    return [_part(figure, box, PANEL_SCALE) for box in boxes] + [_part(figure, box, KEY_SCALE) for box in key]


def _place(axes: Axes) -> tuple[float, ...]:
    """Equal for axes that lie upon each other."""
    return tuple(round(float(x), 3) for x in axes.get_position().bounds)


def _items(legend: Legend) -> Iterator[Bbox]:
    """The title of a key, and each handle with its text."""
    if legend.get_title().get_text():
        yield legend.get_title().get_window_extent()
    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
        shown = [text.get_window_extent()] + ([handle.get_window_extent()] if handle else [])
        yield Bbox.union(shown)


def _part(figure: Figure, box: Bbox, scale: float) -> Part:
    """From pixels, counted from the lower left corner."""
    share = POINTS / figure.dpi
    left, right = box.x0 * share - ROOM, box.x1 * share + ROOM
    height = figure.get_figheight() * POINTS
    top, bottom = height - box.y1 * share - ROOM, height - box.y0 * share + ROOM
    return Part(left, top, right - left, bottom - top, scale * (right - left))
