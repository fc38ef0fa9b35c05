"""What a data set is: its shape, its classes, how it is split, and the images themselves."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (N, height, width, channels)


Labels = NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class Dataset:
    """What is published about a data set, and how the paper splits it (Section 2)."""

    image_shape: tuple[int, int, int]
    train: int
    validation: int
    test: int
    augment: bool  # random crop (pad 4) and horizontal flip, in training only
    folders: tuple[str, ...]  # where its raw files may lie, below a data folder
    classes: int = 10


@dataclass(frozen=True)
class Split:
    """Images and their labels, in canonical order."""

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, examples: int | None) -> "Split":
        """The first so many images; `None` means all. The order is a shuffle, so any prefix is a sample."""
        return self if examples is None else Split(self.images[:examples], self.labels[:examples])


@dataclass(frozen=True)
class Splits:
    """A data set as the paper splits it."""

    train: Split
    validation: Split
    test: Split
    sha256: str  # of all images and labels in canonical order
    source: str  # where they came from, for people


def to_unit(images: Images) -> NDArray[np.float32]:
    """Bytes 0..255 to float32 in [0, 1], the scale of every epsilon."""
    return images.astype(np.float32) / np.float32(255)


def as_split(arrays: dict[str, NDArray[np.generic]]) -> Split:
    return Split(np.asarray(arrays["image"], np.uint8), np.asarray(arrays["label"], np.int64))
