"""Loss and accuracy of a network along lines and planes in its weights."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfsgd.errors import RequestError
from tfsgd.measures.landscape_slice import Slice, filter_normalized
from tfsgd.measures.natural_accuracy import SplitAccuracy, figures
from tfsgd.measures.victim import Images, Labels
from tfsgd.networks.landscape import Landscape
from tfsgd.networks.training_mode import TrainingMode

CHUNK_SIZE = 1_000  # images in one pass; between two networks those whose moments a BatchNorm takes


def between(one: Any, other: Any, images: Images, labels: Labels, points: int) -> Slice:
    """Along the line of weights from one network to another, its ends included.

    The ends are the networks themselves in inference mode. Between them running statistics of BatchNorm would be those of
    neither, so there it uses the moments of the images, 1,000 at a time.

    Raises:
        RequestError: there are too few points; their weights do not have the same shapes; or BatchNorm's moments cannot be taken anew.
    """
    _refuse_few(points)
    shapes = [[tuple(v.shape) for v in network.trainable_variables] for network in (one, other)]
    if shapes[0] != shapes[1]:
        raise RequestError(
            f"other: expected weights of the shapes of {one.name}'s, received {_said(shapes[1])} for {_said(shapes[0])}"
        )
    ends = [_at(Landscape(network, images, labels, chunk_size=CHUNK_SIZE)) for network in (one, other)]
    line = Landscape(one, images, labels)
    way = Landscape(other, images, labels).weights - line.weights
    inside = Landscape(TrainingMode(one), images, labels, chunk_size=CHUNK_SIZE)
    coordinates = np.linspace(0, 1, points)
    found = [ends[0], *(_at(inside, share * way) for share in coordinates[1:-1]), ends[1]]
    return _slice(coordinates, found, (points,))


def around(
    network: Any, images: Images, labels: Labels, directions: int, extent: float, points: int, seed: int
) -> Slice:
    """Along one or two filter-normalized directions that are drawn, from -extent to extent, in inference mode.

    Raises:
        RequestError: a number is not what it should be.
    """
    _refuse_few(points)
    if directions not in (1, 2):
        raise RequestError(f"directions: expected 1 or 2, received {directions!r:.60}")
    if isinstance(extent, bool) or not isinstance(extent, int | float) or not 0 < extent < np.inf:
        raise RequestError(f"extent: expected a number above 0, received {extent!r:.60}")
    landscape, rng = Landscape(network, images, labels, chunk_size=CHUNK_SIZE), np.random.default_rng(seed)
    weights = [np.asarray(v, np.float64) for v in network.trainable_variables]
    drawn = [np.concatenate([d.ravel() for d in filter_normalized(weights, rng)]) for _ in range(directions)]
    coordinates = np.linspace(-extent, extent, points)
    places = np.stack(np.meshgrid(*[coordinates] * directions, indexing="ij"), -1).reshape(-1, directions)
    found = [_at(landscape, place @ np.stack(drawn) if place.any() else None) for place in places]
    return _slice(coordinates, found, (points,) * directions)


def _at(landscape: Landscape, shift: NDArray[Any] | None = None) -> SplitAccuracy:
    return figures(landscape.answers(shift), landscape.labels)


def _slice(coordinates: NDArray[Any], found: list[SplitAccuracy], shape: tuple[int, ...]) -> Slice:
    losses, accuracies = (
        np.array(each).reshape(shape) for each in zip(*((f.loss, f.accuracy) for f in found), strict=True)
    )
    return Slice(coordinates, losses, accuracies)


def _refuse_few(points: int) -> None:
    if isinstance(points, bool) or not isinstance(points, int) or points < 2:
        raise RequestError(f"points: expected a whole number from 2, received {points!r:.60}")


def _said(shapes: list[tuple[int, ...]]) -> str:
    return f"{len(shapes)} variables of {sum(int(np.prod(s)) for s in shapes):,} weights"
