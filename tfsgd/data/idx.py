"""MNIST and Fashion-MNIST: the IDX format, verified by content."""

import hashlib
import math
import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfsgd.data.dataset import Split
from tfsgd.data.raw_files import existing, read_bytes
from tfsgd.errors import RequestError

IDX_FILES = (
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


def read_idx_dataset(dataset: str, folder: Path) -> tuple[Split, Split]:
    arrays = []
    for name, expected in zip(IDX_FILES, _IDX_SHA256[dataset], strict=True):
        path = existing(folder / name)
        if path is None:
            raise RequestError(
                f"{folder / name}[.gz]: missing; {dataset} needs all of {', '.join(IDX_FILES)}"
            )
        content = read_bytes(path)
        array = _parse_idx(content, path)
        found = hashlib.sha256(content).hexdigest()
        if found != expected:
            raise RequestError(
                f"{path}: expected the published content of {dataset}'s {name}, found {_known(found)}; "
                "put the original file there"
            )
        arrays.append(array)
    train = Split(arrays[0][..., np.newaxis], arrays[1].astype(np.int64))
    test = Split(arrays[2][..., np.newaxis], arrays[3].astype(np.int64))
    return train, test


def _known(sha256: str) -> str:
    """Which published file it is."""
    for dataset, sums in _IDX_SHA256.items():
        if sha256 in sums:
            return f"{dataset}'s {IDX_FILES[sums.index(sha256)]}"
    return "something else"


def _parse_idx(content: bytes, path: Path) -> NDArray[np.uint8]:
    """IDX: two zero bytes, the type (8: unsigned byte), the rank, the sizes (big-endian), the data."""
    rank = 3 if "idx3" in path.name else 1
    header = 4 + 4 * rank
    if len(content) < header or content[:4] != bytes((0, 0, 8, rank)):
        raise RequestError(
            f"{path}: expected an IDX file of unsigned bytes with {rank} dimension(s), found another format"
        )
    shape = struct.unpack(f">{rank}I", content[4:header])
    if len(content) - header != math.prod(shape):  # of Python's integers: a product of 64 bits may be 0
        raise RequestError(
            f"{path}: expected {math.prod(shape):,} bytes of data as its header says, found "
            f"{len(content) - header:,}; truncated or damaged, copy it anew"
        )
    return np.frombuffer(content, np.uint8, offset=header).reshape(shape)
