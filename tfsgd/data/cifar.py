"""CIFAR-10, the binary version."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfsgd.data.dataset import Split
from tfsgd.data.files import existing, read_bytes
from tfsgd.errors import RequestError

CIFAR_TRAIN = tuple(f"data_batch_{i}.bin" for i in range(1, 6))


_CIFAR_RECORD = 1 + 3 * 32 * 32  # label, then the red, green and blue planes


_CIFAR_FILE_IMAGES = 10_000


def read_cifar10(folder: Path) -> tuple[Split, Split]:
    train = _read_cifar_files([folder / name for name in CIFAR_TRAIN], per_class=5_000)
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
