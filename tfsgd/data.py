"""MNIST, Fashion-MNIST and CIFAR-10 with the paper's splits, from the published raw files or TFDS.

Whatever the source, a data set is put into one canonical order (by the SHA-256 of each image's
bytes, then by label), so that the same images are in the same split at the same place.
"""

import gzip
import hashlib
import logging
import os
import socket
import struct
import urllib.request
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfsgd.errors import RequestError

Images = NDArray[np.uint8]  # (N, height, width, channels)
Labels = NDArray[np.int64]  # (N,)

DEBIAN_FOLDER = Path("/usr/share/datasets/fashion-mnist")
DOWNLOAD_HOST = "storage.googleapis.com"  # of TFDS


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


DATASETS = {
    "mnist": Dataset((28, 28, 1), 55_000, 5_000, 10_000, False, ("mnist", "MNIST/raw", "")),
    "fashion_mnist": Dataset(
        (28, 28, 1), 55_000, 5_000, 10_000, False,
        ("fashion-mnist", "fashion_mnist", "FashionMNIST/raw", ""),
    ),
    "cifar10": Dataset(
        (32, 32, 3), 40_000, 10_000, 10_000, True, ("cifar-10-batches-bin", "cifar10", "")
    ),
}  # fmt: skip


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


def load_splits(dataset: str, data_dirs: tuple[Path | None, ...] = ()) -> Splits:
    """Loads a data set from the first place that has it.

    Args:
        dataset: a key of `DATASETS`.
        data_dirs: folders to look in first, in this order; `None` entries are passed over. Then
            come the environment's `TFSGD_DATA`, Debian's folder and TFDS.

    Raises:
        RequestError: a named folder is not there, a raw file is truncated or is not what was
            published, or no place has the data set.
    """
    for folder in _raw_folders(dataset, data_dirs):
        train, test = _READERS[dataset](folder)
        return _split(dataset, train, test, str(folder))
    train, test = _read_tfds(dataset)
    return _split(dataset, train, test, "tensorflow_datasets")


def to_unit(images: Images) -> NDArray[np.float32]:
    """Bytes 0..255 to float32 in [0, 1], the scale of every epsilon."""
    return images.astype(np.float32) / np.float32(255)


# Where the raw files are


def _raw_folders(dataset: str, data_dirs: tuple[Path | None, ...]) -> list[Path]:
    """The first folder with the data set's raw files, as a list of one or none."""
    named = [*data_dirs, Path(os.environ["TFSGD_DATA"]) if os.environ.get("TFSGD_DATA") else None]
    for folder in named:
        if folder is not None and not folder.is_dir():
            raise RequestError(f"{folder}: expected a folder with data sets, found none")
    roots = [folder for folder in named if folder is not None]
    if dataset == "fashion_mnist":
        roots.append(DEBIAN_FOLDER)
    marker = _CIFAR_TRAIN[0] if dataset == "cifar10" else _IDX_FILES[0]
    for root in roots:
        for below in DATASETS[dataset].folders:
            folder = root / below
            if _existing(folder / marker) is None:
                continue
            # Two data sets share the IDX names: a folder named after the one can't be the other,
            # the data folder itself can, and its content decides.
            return [folder]
    return []


def _existing(path: Path) -> Path | None:
    for candidate in (path, path.with_name(path.name + ".gz")):
        if candidate.is_file():
            return candidate
    return None


# Raw files: IDX (MNIST and Fashion-MNIST)

_IDX_FILES = (
    "train-images-idx3-ubyte",
    "train-labels-idx1-ubyte",
    "t10k-images-idx3-ubyte",
    "t10k-labels-idx1-ubyte",
)

# SHA-256 of the published files' content, uncompressed: the two data sets have the same file
# names, sizes and ranges, so only the content tells one from the other.
_IDX_SHA256 = {
    "mnist": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
    "fashion_mnist": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}


def _read_idx_dataset(dataset: str, folder: Path) -> tuple[Split, Split]:
    arrays = []
    for name, expected in zip(_IDX_FILES, _IDX_SHA256[dataset], strict=True):
        path = _existing(folder / name)
        if path is None:
            raise RequestError(
                f"{folder / name}[.gz]: missing; {dataset} needs all of {', '.join(_IDX_FILES)}"
            )
        content = _read_bytes(path)
        array = _parse_idx(content, path)
        if hashlib.sha256(content).hexdigest() != expected:
            other = next(
                (d for d, sums in _IDX_SHA256.items() if hashlib.sha256(content).hexdigest() in sums), None
            )
            found = f"{other}'s" if other else "something else"
            raise RequestError(
                f"{path}: expected the published content of {dataset}, found {found}; put the original file there"
            )
        arrays.append(array)
    train = Split(arrays[0][..., np.newaxis], arrays[1].astype(np.int64))
    test = Split(arrays[2][..., np.newaxis], arrays[3].astype(np.int64))
    return train, test


def _read_bytes(path: Path) -> bytes:
    try:
        content = path.read_bytes()
        return gzip.decompress(content) if path.suffix == ".gz" else content
    except (OSError, EOFError, zlib.error) as error:
        raise RequestError(f"{path}: cannot be read ({error}); truncated or damaged, copy it anew") from None


def _parse_idx(content: bytes, path: Path) -> NDArray[np.uint8]:
    """IDX: two zero bytes, the type (8: unsigned byte), the rank, the sizes (big-endian), the data."""
    rank = 3 if "idx3" in path.name else 1
    header = 4 + 4 * rank
    if len(content) < header or content[:4] != bytes((0, 0, 8, rank)):
        raise RequestError(
            f"{path}: expected an IDX file of unsigned bytes with {rank} dimension(s), found another format"
        )
    shape = struct.unpack(f">{rank}I", content[4:header])
    if len(content) - header != int(np.prod(shape)):
        raise RequestError(
            f"{path}: expected {int(np.prod(shape)):,} bytes of data as its header says, found "
            f"{len(content) - header:,}; truncated or damaged, copy it anew"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)


# Raw files: CIFAR-10's binary version

_CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))
_CIFAR_RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes
_CIFAR_FILE_IMAGES = 10_000


def _read_cifar10(folder: Path) -> tuple[Split, Split]:
    train = _read_cifar_files([folder / name for name in _CIFAR_TRAIN], per_class=5_000)
    test = _read_cifar_files([folder / "test_batch.bin"], per_class=1_000)
    return train, test


def _read_cifar_files(paths: list[Path], per_class: int) -> Split:
    records = np.concatenate([_parse_cifar(path) for path in paths])
    labels = records[:, 0].astype(np.int64)
    counts = np.bincount(labels, minlength=10)
    if not (counts == per_class).all():
        raise RequestError(
            f"{paths[0].parent}: expected {per_class:,} images of each class in {paths[0].name}{' ...' if len(paths) > 1 else ''}, found {counts.tolist()}"
        )
    images = records[:, 1:].reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
    return Split(np.ascontiguousarray(images), labels)


def _parse_cifar(path: Path) -> NDArray[np.uint8]:
    found = _existing(path)
    if found is None:
        raise RequestError(
            f"{path}: missing; cifar10 needs data_batch_1.bin to data_batch_5.bin and test_batch.bin"
        )
    content = _read_bytes(found)
    expected = _CIFAR_FILE_IMAGES * _CIFAR_RECORD
    if len(content) != expected:
        raise RequestError(
            f"{found}: expected {expected:,} bytes ({_CIFAR_FILE_IMAGES:,} records of {_CIFAR_RECORD:,}), found {len(content):,}; truncated or damaged, copy it anew"
        )
    records = np.frombuffer(content, np.uint8).reshape(-1, _CIFAR_RECORD)
    if records[:, 0].max() > 9:
        raise RequestError(
            f"{found}: expected labels 0 to 9, found {records[:, 0].max()}; it is no CIFAR-10 file"
        )
    return records


_READERS: dict[str, Callable[[Path], tuple[Split, Split]]] = {
    "mnist": lambda folder: _read_idx_dataset("mnist", folder),
    "fashion_mnist": lambda folder: _read_idx_dataset("fashion_mnist", folder),
    "cifar10": _read_cifar10,
}


# TensorFlow Datasets


def _read_tfds(dataset: str, data_dir: Path | None = None) -> tuple[Split, Split]:
    try:
        import tensorflow_datasets as tfds

        logging.getLogger("absl").setLevel(logging.ERROR)
        logging.getLogger("urllib3").setLevel(logging.ERROR)
        tfds.disable_progress_bar()
        if not tfds.builder(dataset, data_dir=data_dir).is_prepared() and not _can_download():
            raise OSError(f"{DOWNLOAD_HOST} is out of reach")
        loaded = tfds.load(
            dataset,
            split=["train", "test"],
            batch_size=-1,
            shuffle_files=False,
            data_dir=data_dir,
            try_gcs=False,
        )
        train, test = (tfds.as_numpy(part) for part in loaded)
    except Exception as error:  # whatever TFDS or the network raises, the user needs the ways out
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0][:160]
        package = (
            ", Debian's package dataset-fashion-mnist (apt install)" if dataset == "fashion_mnist" else ""
        )
        raise RequestError(
            f"{dataset}: no data found; give its raw files by --data DIR, the config's data_dir or the "
            f"environment's TFSGD_DATA{package}, or let TFDS download it (tried: {reason})"
        ) from None
    return _as_split(train), _as_split(test)


def _can_download() -> bool:
    """Whether a download can begin at all; TFDS would find out by minutes of retries."""
    if urllib.request.getproxies():
        return True
    try:
        socket.create_connection((DOWNLOAD_HOST, 443), timeout=10).close()
    except OSError:
        return False
    return True


def _as_split(arrays: dict[str, NDArray[np.generic]]) -> Split:
    return Split(np.asarray(arrays["image"], np.uint8), np.asarray(arrays["label"], np.int64))


# The paper's splits


def _split(dataset: str, train: Split, test: Split, source: str) -> Splits:
    """Validation is the last images of the training set in canonical order."""
    spec = DATASETS[dataset]
    for split, expected in ((train, spec.train + spec.validation), (test, spec.test)):
        if split.images.shape != (expected, *spec.image_shape):
            raise RequestError(
                f"{source}: expected {expected:,} {dataset} images of shape {spec.image_shape}, found {split.images.shape}"
            )
    train, test = _canonical(train), _canonical(test)
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


def _canonical(split: Split) -> Split:
    keys = [hashlib.sha256(image.tobytes()).digest() for image in split.images]
    order = sorted(range(len(keys)), key=lambda i: (keys[i], split.labels[i]))
    return Split(split.images[order], split.labels[order])
