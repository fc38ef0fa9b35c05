"""What a data set is: its shape, its classes, how it is split, and the images themselves."""

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (N, height, width, channels)


NOT_PUBLISHED = "not the published bytes"


Labels = NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set before its images are loaded; sizes are those of the whole splits."""

    name: str  # as a config says it: `mnist`, `my_letters.npz`, `my_data:letters`
    title: str  # for people
    image_shape: tuple[int, int, int]  # (height, width, channels)
    classes: int
    train: int
    validation: int
    test: int
    augment: bool = False  # random crop (pad 4) and horizontal flip, in training only
    class_names: tuple[str, ...] | None = None
    paper_epsilon: float | None = None  # of the paper's attacks; L-infinity, images in [0, 1]
    sha256: str | None = (
        None  # as `Splits.sha256`; None: shipped data, whose readers know the published files
    )


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
    source: str  # where they came from, for people, and what is to be known of them

    @property
    def note(self) -> str:
        """What is to be known of the images: whether they are known not to be the published ones; else empty."""
        return NOT_PUBLISHED if NOT_PUBLISHED in self.source else ""


def to_unit(images: Images) -> NDArray[np.float32]:
    """Bytes 0..255 to float32 in [0, 1], the scale of every epsilon."""
    return images.astype(np.float32) / np.float32(255)


def as_split(arrays: dict[str, NDArray[np.generic]]) -> Split:
    return Split(np.asarray(arrays["image"], np.uint8), np.asarray(arrays["label"], np.int64))


def canonical(split: Split) -> Split:
    """The same images ordered by the SHA-256 of their bytes, then by label: a shuffle that any source gives."""
    keys = [hashlib.sha256(image.tobytes()).digest() for image in split.images]
    order = sorted(range(len(keys)), key=lambda i: (keys[i], split.labels[i]))
    return Split(split.images[order], split.labels[order])
