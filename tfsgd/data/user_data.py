"""Data of one's own: the arrays of an `.npz` file or of a function, checked and split.

What such a file holds, or such a function returns as a dict:

| key | what | if it is left out |
|---|---|---|
| `train_images` | uint8 `(N, height, width)` or `(N, height, width, channels)`, or float32/float64 in [0, 1] that are whole 255ths | it is needed |
| `train_labels` | integers `(N,)`, 0 to classes - 1 | it is needed |
| `test_images`, `test_labels` | likewise | the last sixth of the training images |
| `validation_images`, `validation_labels` | likewise | the last tenth of the training images that are left |
| `classes` | their number, or their names | the greatest label + 1 |
| `augment` | bool: random crop and horizontal flip in training | False |
| `epsilon` | the epsilon that a paper attacked this data with; L-infinity, images in [0, 1] | none |
| `title` | the name for people | the file's or the function's |
| `scale` | of images of other numbers what stands for black and white, `[-1, 1]`, or white alone, `255` | bytes, or [0, 1] |
| `first_label` | the label of the first class | 0 |

Keras's names `x_train`, `y_train`, `x_test`, `y_test` are understood, too, and labels of shape `(N, 1)`.

"The last" are those of the canonical order (by the SHA-256 of each image's bytes, then by label),
which is a shuffle that does not depend on the order in the file.
"""

import difflib
import hashlib
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfsgd.data.dataset import (
    CHANNELS_FIRST,
    SEEN,
    Dataset,
    Images,
    Labels,
    Split,
    Splits,
    canonical,
    is_channels_first,
)
from tfsgd.errors import RequestError

KEYS = (
    "train_images",
    "train_labels",
    "test_images",
    "test_labels",
    "validation_images",
    "validation_labels",
    "classes",
    "augment",
    "epsilon",
    "title",
    "scale",
    "first_label",
)
KERAS = {  # Keras's names
    f"{letter}_{short}": f"{part}_{what}"
    for letter, what in (("x", "images"), ("y", "labels"))
    for short, part in (("train", "train"), ("test", "test"), ("val", "validation"))
}
TITLE_LENGTH = 60
MOST_CLASSES = 100_000


def read_npz(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of an `.npz` file; Python objects in it are refused, never loaded.

    Raises:
        RequestError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            is_archive = zipfile.is_zipfile(file)
    except OSError as error:
        raise RequestError(f"{path}: cannot be read: {error.strerror}") from None
    if not is_archive:
        raise RequestError(f"{path}: expected an .npz file as numpy.savez writes it, found another format")
    try:
        with np.load(path, allow_pickle=False) as file:
            return {key: file[key] for key in file.files}
    except Exception as error:  # zip, zlib and NumPy each raise errors of their own
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        if "pickle" in said or "Object arrays" in said:
            raise RequestError(
                f"{path}: it holds Python objects, which are not loaded; save arrays of numbers or words"
            ) from None
        raise RequestError(f"{path}: cannot be read ({said}); truncated or damaged, make it anew") from None


def own_data(name: str, arrays: Mapping[str, Any], source: str) -> tuple[Dataset, Splits]:
    """Checks the arrays of a data set of one's own and splits them.

    Args:
        name: as the config says it.
        arrays: as in the table at the top of this file.
        source: the file or function, for refusals and for people.

    Raises:
        RequestError: an array is missing or is not what it should be; the line names source and key.
    """
    arrays = _renamed(arrays, source)
    _refuse_unknown(arrays, source)
    train = _split(arrays, "train", source)
    if train is None:
        raise RequestError(
            f"{source}: train_images: missing; expected at least train_images and train_labels"
        )
    test, validation = (_split(arrays, part, source) for part in ("test", "validation"))
    for part, split in (("test", test), ("validation", validation)):
        if split is not None and split.images.shape[1:] != train.images.shape[1:]:
            raise RequestError(
                f"{source}: {part}_images: expected images of shape {train.images.shape[1:]} like those of the "
                f"training, found {split.images.shape[1:]}"
            )
    if test is None:
        train, test = _cut_last(train, 6, "test", source)
    if validation is None:
        train, validation = _cut_last(train, 10, "validation", source)
    parts = {"train": train, "validation": validation, "test": test}
    classes, class_names = _classes(arrays, parts, source)
    augment = _augment(arrays, source)
    height, width, channels = train.images.shape[1:]
    dataset = Dataset(
        name=name,
        title=_title(arrays, name, source),
        image_shape=(height, width, channels),
        classes=classes,
        train=len(train),
        validation=len(validation),
        test=len(test),
        augment=augment,
        class_names=class_names,
        paper_epsilon=_epsilon(arrays, source),
        sha256=_sha256(parts, classes, augment),
    )
    return dataset, Splits(train, validation, test, str(dataset.sha256), source + _seen(train, test))


def _seen(train: Split, test: Split) -> str:
    """How many test images SGD sees as well, for people; empty where none."""
    known = {hashlib.sha256(image).digest() for image in train.images}
    count = sum(hashlib.sha256(image).digest() in known for image in test.images)
    return f" ({count:,} of {len(test):,} {SEEN})" if count else ""


def _renamed(arrays: Mapping[str, Any], source: str) -> dict[str, Any]:
    """With Keras's names replaced."""
    for keras, ours in KERAS.items():
        if keras in arrays and ours in arrays:
            raise RequestError(f"{source}: {keras}: it is {ours}, which is there, too; leave one of them out")
    return {KERAS.get(key, key): value for key, value in arrays.items()}


def _refuse_unknown(arrays: Mapping[str, Any], source: str) -> None:
    for key in arrays:
        if key not in KEYS:
            near = difflib.get_close_matches(str(key), KEYS, n=1, cutoff=0.5)
            question = f"; did you mean '{near[0]}'?" if near else f"; expected some of {', '.join(KEYS)}"
            raise RequestError(f"{source}: {key}: unknown{question}")


# Images and labels


def _split(arrays: Mapping[str, Any], part: str, source: str) -> Split | None:
    """One split in canonical order; `None`: neither its images nor its labels are there."""
    keys = f"{part}_images", f"{part}_labels"
    for key, other in (keys, keys[::-1]):
        if key not in arrays and other in arrays:
            raise RequestError(f"{source}: {key}: missing beside {other}")
    if keys[0] not in arrays:
        return None
    images = _images(arrays[keys[0]], f"{source}: {keys[0]}", _scale(arrays, source))
    labels = _labels(arrays[keys[1]], f"{source}: {keys[1]}", _first_label(arrays, source))
    if len(images) != len(labels):
        raise RequestError(f"{source}: {keys[1]}: {len(labels):,} labels for {len(images):,} images")
    return canonical(Split(images, labels))


def _scale(arrays: Mapping[str, Any], source: str) -> tuple[float, float] | None:
    """What stands for black and for white; `None`: nobody says it."""
    if "scale" not in arrays:
        return None
    found = _array(arrays["scale"], f"{source}: scale")
    ends = found.ravel().tolist() if found.dtype.kind in "iuf" else []
    black, white = [0, *ends] if len(ends) == 1 else ends if len(ends) == 2 else (0, 0)
    if not -np.inf < black < white < np.inf:
        raise RequestError(
            f"{source}: scale: expected [black, white] such as [-1, 1], or white, found {_shown(found)}"
        )
    return float(black), float(white)


def _first_label(arrays: Mapping[str, Any], source: str) -> int:
    found = _array(arrays.get("first_label", 0), f"{source}: first_label")
    if found.ndim or found.dtype.kind not in "iu":
        raise RequestError(f"{source}: first_label: expected a whole number such as 1, found {_shown(found)}")
    return int(found)


def _images(found: Any, what: str, scale: tuple[float, float] | None) -> Images:
    """Bytes `(N, height, width, channels)`."""
    images = _array(found, what)
    if images.ndim == 3:
        images = images[..., np.newaxis]
    if images.ndim != 4 or 0 in images.shape:
        raise RequestError(
            f"{what}: expected images of shape (N, height, width) or (N, height, width, channels), "
            f"found {np.shape(found)}"
        )
    if is_channels_first(images.shape):
        raise RequestError(f"{what}: found shape {images.shape}, {CHANNELS_FIRST}")
    if scale is not None and images.dtype.kind in "iuf":
        black, white = scale
        images = (images.astype(np.float64) - black) / (white - black)
    if images.dtype == np.uint8:
        return _not_black(np.ascontiguousarray(images), what)
    if images.dtype not in (np.float32, np.float64):
        raise RequestError(
            f"{what}: expected uint8, or float32 or float64 in [0, 1], found {images.dtype}; if that is 0 to 255, give "
            "images.astype('uint8'), or scale=255 beside it"
        )
    return _not_black(_as_bytes(images, what), what)


def _not_black(images: Images, what: str) -> Images:
    """Refuses what was divided by 255 twice, or rounded to 0 and 1 as bytes: any epsilon would be huge beside it."""
    if images.max() <= 1:
        raise RequestError(
            f"{what}: expected bytes up to 255 or floats up to 1, found none above {images.max()} of 255; "
            "if the pixels are 0 and 1, give floats, or 255 times them"
        )
    return images


def _as_bytes(images: NDArray[Any], what: str) -> Images:
    """Floats in [0, 1] as the 255ths that they are; nothing is rounded away."""
    if not np.isfinite(images).all():
        raise RequestError(f"{what}: expected numbers, found NaN or infinity")
    if images.min() < 0 or images.max() > 1:
        raise RequestError(
            f"{what}: expected floats in [0, 1], found {images.min():g} to {images.max():g}; give beside them what stands for "
            "black and white, such as scale=[-1, 1] or scale=255, or give uint8"
        )
    levels = np.rint(images * 255.0)
    between = np.abs(images * 255.0 - levels) > 1e-3
    if between.any():
        raise RequestError(
            f"{what}: {between.mean():.0%} of the values are between two of 256 levels, such as "
            f"{images[between][0]:g}; if they may be rounded, give numpy.rint(255 * images).astype('uint8')"
        )
    return np.ascontiguousarray(levels.astype(np.uint8))


def _labels(found: Any, what: str, first: int) -> Labels:
    labels = _array(found, what)
    if labels.ndim == 2 and labels.shape[1] == 1:  # as Keras has those of CIFAR
        labels = labels[:, 0]
    if labels.ndim != 1 or not np.issubdtype(labels.dtype, np.integer):
        raise RequestError(
            f"{what}: expected integers of shape (N,), found {labels.dtype} of shape {labels.shape}"
        )
    labels = labels.astype(np.int64) - first
    if len(labels) and labels.min() < 0:
        raise RequestError(f"{what}: expected labels from {first}, found {labels.min() + first}")
    if len(labels) and labels.max() >= MOST_CLASSES:
        raise RequestError(f"{what}: expected labels below {MOST_CLASSES:,}, found {labels.max():,}")
    return labels


def _array(found: Any, what: str) -> NDArray[Any]:
    try:
        array = np.asarray(found)
    except (ValueError, TypeError):  # lists of unequal lengths
        array = np.array(None)
    if array.dtype == object:
        raise RequestError(f"{what}: expected an array of numbers or words, found {type(found).__name__}")
    return array


def _cut_last(train: Split, share: int, part: str, source: str) -> tuple[Split, Split]:
    """What is left for training, and the last so-many-th in canonical order."""
    count = len(train) // share
    if count == 0:
        raise RequestError(
            f"{source}: train_images: {len(train)} images are too few to take a {part} split from; "
            f"give more, or {part}_images and {part}_labels"
        )
    left = len(train) - count
    return train.first(left), Split(train.images[left:], train.labels[left:])


# What else is known


def _classes(
    arrays: Mapping[str, Any], parts: Mapping[str, Split], source: str
) -> tuple[int, tuple[str, ...] | None]:
    """How many classes there are, and their names if they have any."""
    greatest = max(int(split.labels.max()) for split in parts.values())
    found = _array(arrays["classes"], f"{source}: classes") if "classes" in arrays else np.array(greatest + 1)
    names = None
    if found.ndim == 1 and found.dtype.kind == "U":
        names = tuple(str(name) for name in found)
        if len(set(names)) < len(names) or not all(_is_word(name) for name in names):
            raise RequestError(f"{source}: classes: expected names that differ, each a line of text")
        classes = len(names)
    elif found.ndim == 0 and np.issubdtype(found.dtype, np.integer):
        classes = int(found)
    else:
        raise RequestError(
            f"{source}: classes: expected their number or their names, found {found.dtype} of shape {found.shape}"
        )
    if classes > MOST_CLASSES:
        raise RequestError(f"{source}: classes: expected at most {MOST_CLASSES:,}, found {classes:,}")
    if greatest >= classes:
        part = next(part for part, split in parts.items() if split.labels.max() == greatest)
        raise RequestError(
            f"{source}: {part}_labels: expected 0 to {classes - 1} for {classes} classes, found {greatest}"
        )
    if len(np.unique(parts["train"].labels)) < 2:
        raise RequestError(f"{source}: train_labels: expected at least two classes in the training images")
    if "classes" not in arrays:
        _refuse_gap(parts["train"].labels, greatest, source)
    return classes, names


def _refuse_gap(labels: Labels, greatest: int, source: str) -> None:
    """Where nobody says how many classes there are, each label up to the greatest is to be trained."""
    missing = sorted(set(range(greatest + 1)) - set(labels.tolist()))
    if missing and missing == list(range(missing[-1] + 1)):
        first = missing[-1] + 1
        raise RequestError(
            f"{source}: train_labels: labels begin at {first}, expected 0; give train_labels - {first} (and so test_labels), "
            f"or first_label={first} beside them"
        )
    if missing:
        raise RequestError(
            f"{source}: train_labels: no training image of class {missing[0]}, though there are labels up to "
            f"{greatest}; labels count from 0: give `classes` if that is meant"
        )


def _augment(arrays: Mapping[str, Any], source: str) -> bool:
    found = _array(arrays.get("augment", False), f"{source}: augment")
    if found.ndim or found.dtype != bool:
        raise RequestError(f"{source}: augment: expected True or False, found {_shown(found)}")
    return bool(found)


def _epsilon(arrays: Mapping[str, Any], source: str) -> float | None:
    if "epsilon" not in arrays:
        return None
    found = _array(arrays["epsilon"], f"{source}: epsilon")
    if found.ndim or found.dtype.kind not in "iuf" or not 0 < float(found) <= 1:
        raise RequestError(
            f"{source}: epsilon: expected a number above 0 and at most 1, found {_shown(found)}"
        )
    return float(found)


def _title(arrays: Mapping[str, Any], name: str, source: str) -> str:
    plain = Path(name).stem if name.endswith(".npz") else name.rpartition(":")[2]
    found = _array(arrays.get("title", plain), f"{source}: title")
    if found.ndim or found.dtype.kind != "U" or not _is_word(str(found)):
        raise RequestError(
            f"{source}: title: expected a line of at most {TITLE_LENGTH} characters, found {_shown(found)}"
        )
    return str(found)


def _is_word(text: str) -> bool:
    return bool(text.strip()) and text.isprintable() and len(text) <= TITLE_LENGTH


def _shown(found: NDArray[Any]) -> str:
    return repr(found.item()) if found.ndim == 0 else f"{found.dtype} of shape {found.shape}"


def _sha256(parts: Mapping[str, Split], classes: int, augment: bool) -> str:
    """Of everything in the data that a training depends on: splits, shape, classes and augmentation."""
    digest = hashlib.sha256()
    for part, split in parts.items():
        digest.update(f"{part} {split.images.shape}\n".encode())
        digest.update(split.images.tobytes())
        digest.update(split.labels.astype("<i8").tobytes())
    digest.update(f"classes {classes} augment {augment}\n".encode())
    return digest.hexdigest()
