"""MNIST, Fashion-MNIST and CIFAR-10 with the paper's splits, from the published raw files or TFDS.

Whatever the source, a data set is put into one canonical order (by the SHA-256 of each image's
bytes, then by label), so that the same images are in the same split at the same place.
"""

import hashlib
import os
from collections.abc import Callable
from pathlib import Path

from tfsgd.data.cifar import CIFAR_TRAIN, is_published, read_cifar10
from tfsgd.data.dataset import NOT_PUBLISHED, Dataset, Split, Splits, canonical
from tfsgd.data.idx import IDX_FILES, read_idx_dataset
from tfsgd.data.raw_files import existing, is_folder
from tfsgd.data.tfds import read_tfds
from tfsgd.errors import RequestError

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
HERE = Path("data")  # of the current folder


DATASETS = {
    "mnist": Dataset(
        "mnist", "MNIST", (28, 28, 1), 10, 55_000, 5_000, 10_000,
        class_names=tuple("0123456789"), paper_epsilon=0.3,
    ),
    "fashion_mnist": Dataset(
        "fashion_mnist", "Fashion-MNIST", (28, 28, 1), 10, 55_000, 5_000, 10_000,
        class_names=("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat",
                     "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        paper_epsilon=0.3,
    ),
    "cifar10": Dataset(
        "cifar10", "CIFAR-10", (32, 32, 3), 10, 40_000, 10_000, 10_000, augment=True,
        class_names=("airplane", "automobile", "bird", "cat", "deer",
                     "dog", "frog", "horse", "ship", "truck"),
        paper_epsilon=0.02,
    ),
}  # fmt: skip


# Where a data set's raw files may lie, below a data folder.
FOLDERS = {
    "mnist": ("mnist", "MNIST/raw", ""),
    "fashion_mnist": ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", ""),
    "cifar10": ("cifar-10-batches-bin", "cifar10", ""),
}


def load_splits(dataset: str, data_dirs: tuple[Path | None, ...] = ()) -> Splits:
    """Loads a data set from the first place that has it.

    Args:
        dataset: a key of `DATASETS`.
        data_dirs: folders to look in first, in this order; `None` entries are passed over. Then
            come the environment's `TFSGD_DATA`, `data/` in the current folder, Debian's folder and TFDS.

    Returns:
        Train, validation and test split, images as bytes `(N, height, width, channels)`: 55,000, 5,000 and 10,000
        of MNIST and Fashion-MNIST, 40,000, 10,000 and 10,000 of CIFAR-10.

    Raises:
        RequestError: it is none of these, a named folder is not there, a raw file is truncated or is not what was
            published, or no place has the data set.
    """
    if dataset not in DATASETS:
        raise RequestError(
            f"{dataset}: expected one of {', '.join(DATASETS)}; images of one's own are split in the same way by "
            "own_data(name, arrays, source) of tfsgd.data.user_data"
        )
    folder = _raw_folder(dataset, data_dirs)
    if folder is None:
        return _split(dataset, *read_tfds(dataset), "tensorflow_datasets")
    published = dataset != "cifar10" or is_published(folder)  # the others' readers refuse what is not
    return _split(
        dataset, *_READERS[dataset](folder), f"{folder}{'' if published else f' ({NOT_PUBLISHED})'}"
    )


# Where the raw files are


def data_folders(data_dirs: tuple[Path | None, ...]) -> list[Path]:
    """The folders that were named, the environment's `TFSGD_DATA` last.

    Raises:
        RequestError: one of them is not there.
    """
    named = [*data_dirs, Path(os.environ["TFSGD_DATA"]) if os.environ.get("TFSGD_DATA") else None]
    for folder in named:
        if folder is not None and not is_folder(folder):
            raise RequestError(f"{folder}: expected a folder with data sets, found none")
    return [folder for folder in named if folder is not None]


def _raw_folder(dataset: str, data_dirs: tuple[Path | None, ...]) -> Path | None:
    """The first folder with the data set's raw files."""
    roots = [*data_folders(data_dirs), HERE]
    if dataset == "fashion_mnist":
        roots.append(DEBIAN_FOLDER)
    marker = CIFAR_TRAIN[0] if dataset == "cifar10" else IDX_FILES[0]
    for root in roots:
        for below in FOLDERS[dataset]:
            folder = root / below
            # Two data sets share the IDX names: a folder named after the one can't be the other,
            # the data folder itself can, and its content decides.
            if existing(folder / marker) is not None:
                return folder
    return None


_READERS: dict[str, Callable[[Path], tuple[Split, Split]]] = {
    "mnist": lambda folder: read_idx_dataset("mnist", folder),
    "fashion_mnist": lambda folder: read_idx_dataset("fashion_mnist", folder),
    "cifar10": read_cifar10,
}


# The paper's splits


def _split(dataset: str, train: Split, test: Split, source: str) -> Splits:
    """Validation is the last images of the training set in canonical order."""
    spec = DATASETS[dataset]
    for split, expected in ((train, spec.train + spec.validation), (test, spec.test)):
        if split.images.shape != (expected, *spec.image_shape):
            raise RequestError(
                f"{source}: expected {expected:,} {dataset} images of shape {spec.image_shape}, found {split.images.shape}"
            )
    train, test = canonical(train), canonical(test)
    digest = hashlib.sha256()
    for split in (train, test):
        digest.update(split.images.tobytes())
        digest.update(split.labels.astype("<i8").tobytes())
    return Splits(
        train=Split(train.images[: spec.train], train.labels[: spec.train]),
        validation=Split(train.images[spec.train :], train.labels[spec.train :]),
        test=test,
        sha256=digest.hexdigest(),
        source=source,
    )
