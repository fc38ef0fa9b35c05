"""TensorFlow Datasets, which downloads."""

import logging
import socket
import urllib.request
from pathlib import Path

from tfsgd.data.dataset import Split, as_split
from tfsgd.errors import RequestError

DOWNLOAD_HOST = "storage.googleapis.com"  # of TFDS


def read_tfds(dataset: str, data_dir: Path | None = None) -> tuple[Split, Split]:
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
    return as_split(train), as_split(test)


def _can_download() -> bool:
    """Whether a download can begin at all; TFDS would find out by minutes of retries."""
    if urllib.request.getproxies():
        return True
    try:
        socket.create_connection((DOWNLOAD_HOST, 443), timeout=10).close()
    except OSError:
        return False
    return True
