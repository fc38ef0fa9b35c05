"""TensorFlow Datasets, which downloads."""

import logging
import re
import socket
import urllib.request
from pathlib import Path
from typing import Any

import numpy as np

from tfsgd.data.dataset import Split, as_split
from tfsgd.errors import RequestError

DOWNLOAD_HOST = "storage.googleapis.com"  # of TFDS
PREFIX = "tfds:"
NAME = re.compile(r"[a-z0-9_]+(/[A-Za-z0-9_.-]+)?")  # no path, and no namespace: neither names code
PUBLISHED = {  # the folder below --data, its files, and where they are published
    "mnist": ("mnist", "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz and "
              "t10k-labels-idx1-ubyte.gz", "Yann LeCun's page The MNIST database"),
    "fashion_mnist": ("fashion-mnist", "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz "
                      "and t10k-labels-idx1-ubyte.gz", "zalandoresearch/fashion-mnist on GitHub, data/fashion, or Debian's "
                      "package dataset-fashion-mnist (apt install)"),
    "cifar10": ("cifar-10-batches-bin", "data_batch_1.bin to data_batch_5.bin and test_batch.bin",
                "cifar-10-binary.tar.gz on Alex Krizhevsky's page The CIFAR-10 dataset"),
}  # fmt: skip


def read_tfds(dataset: str, data_dir: Path | None = None) -> tuple[Split, Split]:
    """The training and test split of a shipped data set.

    Raises:
        RequestError: it is not there, and cannot be downloaded; the line says where its published files are.
    """
    try:
        found = _loaded(dataset, data_dir, ["train", "test"])
    except Exception as error:  # whatever TFDS or the network raises, the user needs the ways out
        folder, files, place = PUBLISHED[dataset]
        raise RequestError(
            f"{dataset}: no data found; put {files} ({place}) into DIR/{folder} and give --data DIR, the config's "
            f"data_dir or the environment's TFSGD_DATA, or let TFDS download it (tried: {_reason(error)})"
        ) from None
    return as_split(found["train"]), as_split(found["test"])


def read_any_tfds(name: str, data_dir: Path | None = None) -> dict[str, Any]:
    """A data set of images by its name in TFDS, such as `kmnist`, `emnist/letters` or `cifar100`.

    Args:
        name: after `tfds:`.
        data_dir: with prepared data sets; `None`: TFDS's own.

    Returns:
        Its arrays, keys as in `tfsgd.data.user_data`.

    Raises:
        RequestError: it is not there and cannot be downloaded, or is none of images of one size with one label each.
    """
    if not NAME.fullmatch(name):
        raise RequestError(
            f"{PREFIX}{name}: expected a name of TFDS's catalogue, such as kmnist or emnist/letters"
        )
    try:
        features, splits = _described(name, data_dir)
        loaded = {} if {"image", "label"} - set(features) else _loaded(name, data_dir, splits)
    except Exception as error:
        raise _not_found(name, error, "--data DIR or ") from None
    if not loaded:
        raise RequestError(
            f"{PREFIX}{name}: expected features image and label, found {', '.join(sorted(features))}"
        )
    arrays: dict[str, Any] = {"title": name, "classes": _classes(features["label"])}
    for part, each in loaded.items():
        arrays |= {
            f"{part}_images": np.asarray(each["image"]),
            f"{part}_labels": np.asarray(each["label"], np.int64),
        }
    return arrays


def prepare(name: str) -> None:
    """Downloads and prepares a data set in TFDS's own folder, where it is not there yet.

    Args:
        name: in TFDS, such as `mnist_corrupted/fog`.

    Raises:
        RequestError: it is not there and cannot be downloaded.
    """
    try:
        builder = _tfds().builder(name)
        if not builder.is_prepared():
            _refuse_offline()
            builder.download_and_prepare()
    except Exception as error:
        raise _not_found(name, error) from None


def read_test(name: str) -> Split:
    """The test split of a data set by its name in TFDS, in TFDS's order.

    Raises:
        RequestError: as `prepare`.
    """
    try:
        [found] = _loaded(name, None, ["test"]).values()
    except Exception as error:
        raise _not_found(name, error) from None
    return as_split(found)


def _not_found(name: str, error: Exception, or_by: str = "") -> RequestError:
    return RequestError(
        f"{PREFIX}{name}: no data found (tried: {_reason(error)}); where there is no way to {DOWNLOAD_HOST}, prepare it "
        f"elsewhere by `tfds build {name}` and give its folder by {or_by}the environment's TFDS_DATA_DIR"
    )


def _classes(label: Any) -> Any:
    names = np.array(getattr(label, "names", None) or [])
    return names if len(set(names)) == label.num_classes else np.array(label.num_classes)


def _tfds() -> Any:
    import tensorflow_datasets as tfds

    logging.getLogger("absl").setLevel(logging.ERROR)
    logging.getLogger("urllib3").setLevel(logging.ERROR)
    tfds.disable_progress_bar()
    return tfds


def _described(name: str, data_dir: Path | None) -> tuple[Any, list[str]]:
    """Its features, and which of the splits train, validation and test it has."""
    info = _tfds().builder(name, data_dir=data_dir).info
    return info.features, [split for split in ("train", "validation", "test") if split in info.splits] or [
        "train"
    ]


def _loaded(dataset: str, data_dir: Path | None, splits: list[str]) -> dict[str, Any]:
    tfds = _tfds()
    if not tfds.builder(dataset, data_dir=data_dir).is_prepared():
        _refuse_offline()
    loaded = tfds.load(
        dataset, split=splits, batch_size=-1, shuffle_files=False, data_dir=data_dir, try_gcs=False
    )
    return {part: tfds.as_numpy(each) for part, each in zip(splits, loaded, strict=True)}


def _reason(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:160]


def _refuse_offline() -> None:
    if not _can_download():
        raise OSError(f"{DOWNLOAD_HOST} is out of reach")


def _can_download() -> bool:
    """Whether a download can begin at all; TFDS would find out by minutes of retries."""
    if urllib.request.getproxies():
        return True
    try:
        socket.create_connection((DOWNLOAD_HOST, 443), timeout=10).close()
    except OSError:
        return False
    return True
