"""CIFAR-10, the binary version, verified by content."""

import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfsgd.data.dataset import Split
from tfsgd.data.raw_files import existing, read_bytes
from tfsgd.errors import RequestError

# SHA-1 of the published files, as MXNet's `gluon.data.vision.CIFAR10` knows them (Apache MXNet 1.9,
# python/mxnet/gluon/data/vision/datasets.py).
_SHA1 = {
    "data_batch_1.bin": "aadd24acce27caa71bf4b10992e9e7b2d74c2540",
    "data_batch_2.bin": "c0ba65cce70568cd57b4e03e9ac8d2a5367c1795",
    "data_batch_3.bin": "1dd00a74ab1d17a6e7d73e185b69dbf31242f295",
    "data_batch_4.bin": "aab85764eb3584312d3c7f65fd2fd016e36a258e",
    "data_batch_5.bin": "26e2849e66a845b7f1e4614ae70f4889ae604628",
    "test_batch.bin": "67eb016db431130d61cd03c7ad570b013799c88c",
}


CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))


_CIFAR_RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes


_CIFAR_FILE_IMAGES = 10_000


def read_cifar10(folder: Path) -> tuple[Split, Split]:
    train = _read_cifar_files([folder / name for name in CIFAR_TRAIN], per_class=5_000)
    test = _read_cifar_files([folder / "test_batch.bin"], per_class=1_000)
    return train, test


def is_published(folder: Path) -> bool:
    """Whether every file in a folder is the published one, to the bit.

    Other copies hold the same kind of images, some of them in another order or from lossy files: they can be
    trained on, and numbers on them are not those of CIFAR-10.
    """
    return all(
        hashlib.sha1(read_bytes(existing(folder / name) or folder / name), usedforsecurity=False).hexdigest()
        == sha1
        for name, sha1 in _SHA1.items()
    )


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
    found = existing(path)
    if found is None:
        raise RequestError(
            f"{path}: missing; cifar10 needs data_batch_1.bin to data_batch_5.bin and test_batch.bin"
        )
    content = read_bytes(found)
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
