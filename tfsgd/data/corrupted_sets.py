"""Published corrupted test sets, by way of TensorFlow Datasets: MNIST-C and CIFAR-10-C."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tfsgd.data.dataset import Labels, canonical_order, to_unit
from tfsgd.data.tfds import PREFIX, read_test
from tfsgd.errors import RequestError

UnitImages = NDArray[np.float32]


@dataclass(frozen=True)
class CorruptedSet:
    """A corrupted test set, a part of TFDS for each family, or each family and severity.

    TFDS shuffles a test set by each image's number in its file alone, so the parts and `clean` have one order.

    Attributes:
        of: the data set that is corrupted.
        clean: its test images as they are, by their name in TFDS.
        families: all of them.
        severities: from the least to the largest; of a single one no part's name tells.
    """

    of: str
    clean: str
    families: tuple[str, ...]
    severities: tuple[int, ...]


SETS = {
    "mnist_corrupted": CorruptedSet(  # MNIST-C: Mu and Gilmer 2019
        "mnist", "mnist_corrupted/identity",
        ("shot_noise", "impulse_noise", "glass_blur", "motion_blur", "shear", "scale", "rotate", "brightness", "translate",
         "stripe", "fog", "spatter", "dotted_line", "zigzag", "canny_edges"),
        (1,),
    ),
    "cifar10_corrupted": CorruptedSet(  # CIFAR-10-C: Hendrycks and Dietterich 2019
        "cifar10", "cifar10",
        ("gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "frosted_glass_blur", "motion_blur", "zoom_blur",
         "snow", "frost", "fog", "brightness", "contrast", "elastic", "pixelate", "jpeg_compression", "gaussian_blur",
         "saturate", "spatter", "speckle_noise"),
        (1, 2, 3, 4, 5),
    ),
}  # fmt: skip


def part_of(name: str, family: str, severity: int) -> str:
    """The name in TFDS of a part of a set of `SETS`."""
    return f"{name}/{family}" if len(SETS[name].severities) == 1 else f"{name}/{family}_{severity}"


def corrupted_images(name: str, images: UnitImages, labels: Labels) -> Callable[[str, int], UnitImages]:
    """The corrupted counterparts of test images: family and severity -> images `(N, height, width, channels)` in [0, 1].

    Args:
        name: of a set of `SETS`.
        images: the first N of the clean test set in canonical order, in [0, 1].
        labels: theirs, `(N,)`.

    Raises:
        RequestError: a part is not there and cannot be downloaded, the clean images are not those of the set, or a part has
            other labels or another order.
    """
    clean = read_test(SETS[name].clean)
    order = canonical_order(clean)[: len(labels)]
    if not (
        np.array_equal(to_unit(clean.images[order]), images) and np.array_equal(clean.labels[order], labels)
    ):
        raise RequestError(
            f"{PREFIX}{SETS[name].clean}: expected the {SETS[name].of} test images that are measured, found others"
        )

    def counterparts(family: str, severity: int) -> UnitImages:
        part = part_of(name, family, severity)
        found = read_test(part)
        if not np.array_equal(found.labels, clean.labels):
            raise RequestError(
                f"{PREFIX}{part}: expected the labels of {SETS[name].clean} in its order, found others"
            )
        return to_unit(found.images[order])

    return counterparts
