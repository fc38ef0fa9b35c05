"""Images that several processes read: files that are mapped into memory, there once for all of them."""

import dataclasses
import json
from pathlib import Path

import numpy as np

from tfsgd.data.dataset import Split, Splits

NAMES = ("train", "validation", "test")


def write_shared(splits: Splits, folder: Path) -> None:
    """Writes a data set for `read_shared`.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in NAMES:
        split = getattr(splits, name)
        np.save(folder / f"{name}-images.npy", split.images)
        np.save(folder / f"{name}-labels.npy", split.labels)
    (folder / "about.json").write_text(json.dumps({"sha256": splits.sha256, "source": splits.source}))


def read_shared(folder: Path) -> Splits:
    """The data set that `write_shared` wrote there; its images are read as they are used."""
    about = json.loads((folder / "about.json").read_text())
    read = {
        name: Split(*(np.load(folder / f"{name}-{what}.npy", mmap_mode="r") for what in ("images", "labels")))
        for name in NAMES
    }
    return dataclasses.replace(Splits(**read, sha256="", source=""), **about)
