"""What Python code may call about the loss between networks, around one, and along an attack; `tfsgd` hands it out."""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfsgd.errors import RequestError
from tfsgd.measures.attack import IterativeAttack
from tfsgd.measures.attack_path import AttackPath, path_of
from tfsgd.measures.landscape_slice import Slice
from tfsgd.plan.specs import asked_attack, refuse_no_seed
from tfsgd.text import shown

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


def barrier(
    one: Any,
    other: Any,
    images: "NDArray[np.floating[Any]]",
    labels: "NDArray[np.integer[Any]]",
    *,
    points: int = 11,
) -> Slice:
    """Loss and accuracy along the straight line of weights between two networks, and how far the loss rises on it.

    The ends are the networks as they are; between them BatchNorm takes its statistics anew from the images, 1,000 at a time.

    Args:
        one: a Keras model, images to logits `(N, classes)`; or what `load_network` returns of a `.keras` file.
        other: another one with weights of the same shapes.
        images, labels: as of `attack`.
        points: on the line, with its ends.

    Returns:
        `coordinates`, from 0 to 1; `losses` and `barrier`, in nats; and `accuracies`.

    Raises:
        RequestError: something does not fit; one line that says which.
    """
    from tfsgd.networks.arguments import checked
    from tfsgd.networks.slices import between

    checked(other, images, labels)
    return between(one, other, *checked(one, images, labels), points)


def landscape(
    model: Any,
    images: "NDArray[np.floating[Any]]",
    labels: "NDArray[np.integer[Any]]",
    *,
    directions: int = 1,
    extent: float = 1.0,
    points: int = 21,
    seed: int = 0,
) -> Slice:
    """Loss and accuracy around a network along random directions whose filters have the lengths of its own (Li et al. 2018).

    Args:
        model: a Keras model, images to logits `(N, classes)`; or what `load_network` returns.
        images, labels: as of `attack`.
        directions: 1 for a line, 2 for a plane.
        extent: how far to either side, 1 is the length of the weights.
        points: along each direction; with an odd number the network itself is the middle one.
        seed: of the directions.

    Returns:
        `coordinates`, from -extent to extent; `losses` in nats; `accuracies`; `(points,)` or `(points, points)`.

    Raises:
        RequestError: something does not fit; one line that says which.
    """
    from tfsgd.networks.arguments import checked
    from tfsgd.networks.slices import around

    refuse_no_seed(seed)
    return around(model, *checked(model, images, labels), directions, extent, points, seed)


def attack_path(
    model: Any,
    images: "NDArray[np.floating[Any]]",
    labels: "NDArray[np.integer[Any]]",
    kind: str = "pgd",
    *,
    epsilon: float,
    seed: int = 0,
    **settings: Any,
) -> AttackPath:
    """Loss and accuracy on what an attack would leave of the images after each of its steps.

    With early stopping an image stays where it is broken; `early_stop=False` lets those of `pgd` and `bim` go on. Of `apgd`,
    which always stops, an image that is not broken counts where its loss was largest so far.

    Args:
        model, images, labels, epsilon, seed: as of `attack`.
        kind: `pgd`, `bim` or `apgd`, or `module:Class` of an `IterativeAttack`.
        settings: of the attack, such as `steps=100`; one run, without `restarts` or `target="all"`.

    Returns:
        `steps` from 0, the images as they are; `losses`, the mean cross-entropy in nats; and `accuracies`. The last ones are
        those of what `attack` returns.

    Raises:
        RequestError: as `attack`; or it has no steps, or is more than one run.
    """
    from tfsgd.networks.arguments import checked
    from tfsgd.networks.compiled_victim import CompiledVictim

    spec = asked_attack(kind, epsilon, settings)
    if not isinstance(spec, IterativeAttack):
        raise RequestError(f"{kind}: it has no path of steps; expected pgd, bim or apgd")
    refuse_no_seed(seed)
    pixels, classes = checked(model, images, labels)
    return path_of(spec, CompiledVictim.of(model), pixels, classes, spec.epsilon[0], seed)


def picture(found: Slice | AttackPath, file: str | Path, title: str = "") -> None:
    """Draws loss and accuracy along a line or an attack's path, or the contours of the loss over a plane.

    Args:
        found: what `barrier`, `landscape` or `attack_path` returned.
        file: a PNG file; one that is there is written over.
        title: over the picture.

    Raises:
        RequestError: the file is no .png in a folder that is there.
    """
    target = Path(file)
    if target.suffix != ".png" or not target.parent.is_dir() or target.is_dir():
        raise RequestError(f"file: expected a .png in a folder that is there, received {shown(str(file))}")
    from tfsgd.trials.pictures import slice_picture

    target.write_bytes(slice_picture(found, title))
