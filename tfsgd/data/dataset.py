"""What a data set is: its shape, its classes, how it is split, and the images themselves."""

import hashlib
import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Images = NDArray[np.uint8]  # (N, height, width, channels)


NOT_PUBLISHED = "not the published bytes"
SEEN = "test images are among the training images"


Labels = NDArray[np.int64]  # (N,)


@dataclass(frozen=True)
class Dataset:
    """What is known of a data set before its images are loaded.

    Attributes:
        name: as a config says it: `mnist`, `my_letters.npz`, `my_data:letters`.
        title: for people.
        image_shape: `(height, width, channels)`.
        classes: how many.
        train: images of the whole split.
        validation: likewise.
        test: likewise.
        augment: random crop (pad 4) and horizontal flip, in training only.
        class_names: for figures and tables.
        paper_epsilon: of the paper's attacks; L-infinity, images in [0, 1].
        sha256: as `Splits.sha256`; `None`: shipped data, whose readers know the published files.
    """

    name: str
    title: str
    image_shape: tuple[int, int, int]
    classes: int
    train: int
    validation: int
    test: int
    augment: bool = False
    class_names: tuple[str, ...] | None = None
    paper_epsilon: float | None = None
    sha256: str | None = None


CHANNELS_FIRST = "channels first; expected (N, height, width, channels): np.moveaxis(images, 1, -1)"


def is_channels_first(shape: tuple[int, ...]) -> bool:
    """Whether images of a shape `(N, ., ., .)` are clearly pixels by pixels behind 1, 3 or 4 channels.

    A strip of many channels, such as signals `(N, 1, 128, 9)`, is none: heights and widths are about as large.
    """
    if len(shape) != 4:
        return False
    channels, short, long = shape[1], *sorted(shape[2:])
    return channels in (1, 3, 4) and shape[3] > 4 and channels < short and long <= 2 * short


@dataclass(frozen=True)
class Split:
    """Images and their labels, in canonical order.

    Attributes:
        images: bytes 0..255, `(N, height, width, channels)`; `to_unit` scales them.
        labels: true classes, integers from 0, `(N,)`.
    """

    images: Images
    labels: Labels

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, examples: int | None) -> "Split":
        """The first so many images; `None` means all. The order is a shuffle, so any prefix is a sample."""
        return self if examples is None else Split(self.images[:examples], self.labels[:examples])


@dataclass(frozen=True)
class Splits:
    """A data set as the paper splits it.

    Attributes:
        train: what SGD sees.
        validation: held out of the published training images.
        test: the published test images.
        sha256: of all images and labels in canonical order.
        source: where they came from, for people, and what is to be known of them.
    """

    train: Split
    validation: Split
    test: Split
    sha256: str
    source: str

    @property
    def note(self) -> str:
        """What is to be known of the images: that they are not the published ones, or not all unseen; else empty."""
        if NOT_PUBLISHED in self.source:
            return NOT_PUBLISHED
        seen = re.search(rf"[\d,]+ of [\d,]+ {SEEN}", self.source)
        return seen[0] if seen else ""


def to_unit(images: NDArray[Any]) -> NDArray[np.float32]:
    """Bytes 0..255 to float32 in [0, 1], the scale of every epsilon; float32 is there already. The shape stays."""
    if images.dtype == np.float32:
        return images
    return images.astype(np.float32) / np.float32(255)


def as_split(arrays: dict[str, NDArray[np.generic]]) -> Split:
    """A split from arrays `image`, `(N, height, width, channels)` in 0..255, and `label`, `(N,)`."""
    return Split(np.asarray(arrays["image"], np.uint8), np.asarray(arrays["label"], np.int64))


def canonical(split: Split) -> Split:
    """The same images ordered by the SHA-256 of their bytes, then by label: a shuffle that any source gives."""
    order = canonical_order(split)
    return Split(split.images[order], split.labels[order])


def canonical_order(split: Split) -> list[int]:
    """The places of a split's images in canonical order."""
    keys = [hashlib.sha256(image.tobytes()).digest() for image in split.images]
    return sorted(range(len(keys)), key=lambda i: (keys[i], split.labels[i]))
