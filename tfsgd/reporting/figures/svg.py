"""SVGs for the page: colours as CSS variables, values on hover, and views of their parts."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.backend_bases import FigureCanvasBase
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.legend import Legend
from matplotlib.transforms import Bbox

SVG = "{http://www.w3.org/2000/svg}"
PLACES = ("d", "x", "y")  # attributes that hold places, in points; a hundredth is not seen
COLOURED = ("style", "fill", "stroke")  # attributes that hold colours
PLACE = re.compile(r"-?\d+\.\d{3,}")
COLOUR = re.compile(r"#[0-9a-f]{6}\b")
POINTS = 72.0  # an inch
PANEL_SCALE, KEY_SCALE = 1.45, 1.2  # CSS pixels a point, at most: text of 10.5 points is 15 pixels high
ROOM = 4.0  # points around a part

ET.register_namespace("", SVG[1:-1])
ET.register_namespace("xlink", "http://www.w3.org/1999/xlink")


# Parts: panels and the items of the legend, which the page stacks where it is narrow


@dataclass(frozen=True)
class View:
    """A rectangle of a figure, in points from its upper left corner as in an SVG, and its width on the page."""

    left: float
    top: float
    width: float
    height: float
    pixels: float

    @property
    def view_box(self) -> str:
        return f"{self.left:.1f} {self.top:.1f} {self.width:.1f} {self.height:.1f}"


def views_of(figure: Figure) -> list[View]:
    """The panels from left to right and top to bottom, then the key. The figure must have been laid out."""
    panels: dict[tuple[float, ...], list[Bbox]] = {}  # by their place: axes that lie upon each other are one
    for axes in figure.axes:
        box = axes.get_tightbbox()  # None: it is not visible
        if box is not None:
            place = tuple(round(float(x), 3) for x in axes.get_position().bounds)
            panels.setdefault(place, []).append(box)
    renderer = FigureCanvasAgg(figure).get_renderer()
    for legend in figure.legends:
        legend.draw(renderer)  # its items have no place before
    FigureCanvasBase(figure)  # one that keeps no picture of the figure
    boxes = [(Bbox.union(found), PANEL_SCALE) for found in panels.values()]
    boxes += [(box, KEY_SCALE) for legend in figure.legends for box in _items(legend)]
    return [_view(figure, box, scale) for box, scale in boxes]


def _items(legend: Legend) -> Iterator[Bbox]:
    """The title of a key, and each handle with its text."""
    if legend.get_title().get_text():
        yield legend.get_title().get_window_extent()
    for handle, text in zip(legend.legend_handles, legend.get_texts(), strict=True):
        yield Bbox.union([part.get_window_extent() for part in (text, handle) if part])


def _view(figure: Figure, box: Bbox, scale: float) -> View:
    """From pixels, counted from the lower left corner."""
    share = POINTS / figure.dpi
    left, right = box.x0 * share - ROOM, box.x1 * share + ROOM
    height = figure.get_figheight() * POINTS
    top, bottom = height - box.y1 * share - ROOM, height - box.y0 * share + ROOM
    return View(left, top, right - left, bottom - top, scale * (right - left))


# In the page


def inline(
    text: str,
    name: str,
    title: str,
    hover: Mapping[str, Sequence[str]],
    views: Iterable[View],
    dark: Mapping[str, str],
) -> str:
    """An SVG for the page: colours as CSS variables, values on hover, a name for screen readers; and beside it views of its
    parts, which the page shows instead where it is narrow."""
    root = ET.fromstring(text)
    for metadata in root.findall(f"{SVG}metadata"):
        root.remove(metadata)
    for element in root.iter():
        for attribute, value in list(element.attrib.items()):
            if attribute in PLACES:
                element.set(attribute, re.sub(PLACE, lambda m: f"{float(m[0]):.2f}", value))
            elif attribute in COLOURED:
                variable = re.sub(COLOUR, lambda m: f"var(--c{m[0][1:]})" if m[0] in dark else m[0], value)
                element.set(attribute, variable)
    groups = {group.get("id"): group for group in root.iter(f"{SVG}g")}
    for key, texts in hover.items():
        if key in groups:  # an artist without a visible part is not in the SVG
            _give_titles(groups[key], texts)
    for attribute, value in (("role", "img"), ("aria-label", title), ("class", "whole")):
        root.set(attribute, value)
    everything = ET.Element(f"{SVG}g", {"id": name.replace("%", "_x") + "-all"})
    for element in root.findall(f"{SVG}g"):
        root.remove(element)
        everything.append(element)
    root.append(everything)
    parts = "".join(
        f'<svg viewBox="{view.view_box}" style="width:{view.pixels:.0f}px"><use href="#{everything.get("id")}"/></svg>'
        for view in views
    )
    return f'{ET.tostring(root, encoding="unicode")}<div class="parts" aria-hidden="true">{parts}</div>'


def _give_titles(group: ET.Element, texts: Sequence[str]) -> None:
    """A title for each marker of a group of the SVG, or one for the group if it has no markers."""
    markers = list(group.iter(f"{SVG}use"))
    if not markers:
        title = ET.Element(f"{SVG}title")
        title.text = texts[0]
        group.insert(0, title)
    for marker, text in zip(markers, texts, strict=False):
        marker.set("class", "point")
        ET.SubElement(marker, f"{SVG}title").text = text
