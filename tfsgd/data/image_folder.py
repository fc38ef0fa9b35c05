"""A folder of images by class, as arrays: `CLASS/*.png`, or `train/CLASS/*.png` with `test/` and `validation/` beside it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfsgd.errors import RequestError

PARTS = {
    "train": "train",
    "test": "test",
    "validation": "validation",
    "val": "validation",
    "valid": "validation",
}
ENDINGS = (".png", ".bmp", ".jpg", ".jpeg", ".gif", ".tif", ".tiff", ".webp")


def image_files(folder: Path) -> list[Path]:
    """All images below a folder, in order."""
    return sorted(p for p in folder.rglob("*") if p.suffix.lower() in ENDINGS and p.is_file())


def read_image_folder(folder: Path) -> dict[str, Any]:
    """Its arrays, keys as in `tfsgd.data.user_data`; classes are the names of the folders, sorted.

    Images are grey where all are, else they have three channels.

    Raises:
        RequestError: there are no images by class, one cannot be read, or their sizes differ.
    """
    inside = [path.name for path in folder.iterdir() if path.is_dir()]
    parts = {name: PARTS[name] for name in inside if name in PARTS} if "train" in inside else {"": "train"}
    if len(set(parts.values())) < len(parts):
        raise RequestError(
            f"{folder}: expected one folder of validation images, found {', '.join(sorted(parts))}"
        )
    train = next(name for name, part in parts.items() if part == "train")
    classes = sorted({file.parent.name for file in image_files(folder / train)})
    found = {part: _labelled(folder / name, classes) for name, part in parts.items()}
    grey = all(_is_grey(file) for files in found.values() for file, _ in files)
    arrays: dict[str, Any] = {"classes": np.array(classes), "title": folder.name[:60]}
    for part, files in found.items():
        arrays[f"{part}_images"] = _stacked([file for file, _ in files], "L" if grey else "RGB", folder)
        arrays[f"{part}_labels"] = np.array([label for _, label in files])
    return arrays


def _labelled(folder: Path, classes: list[str]) -> list[tuple[Path, int]]:
    files = image_files(folder)
    for file in files:
        if file.parent.parent != folder or file.parent.name not in classes:
            raise RequestError(
                f"{file}: expected it in a folder of its class, one of {', '.join(classes[:20]) or 'none'}"
            )
    if not files:
        raise RequestError(
            f"{folder}: expected images by class, such as {folder.name}/CLASS/1.png, found none of {', '.join(ENDINGS)}"
        )
    return [(file, classes.index(file.parent.name)) for file in files]


def _is_grey(file: Path) -> bool:
    return _opened(file).mode in ("1", "L")


def _opened(file: Path) -> Any:
    from PIL import Image  # matplotlib brings it

    try:
        image = Image.open(file)
    except Exception as error:  # whatever is wrong with the file
        raise RequestError(f"{file}: cannot be read as an image ({type(error).__name__})") from None
    if image.mode.startswith(("I", "F")):
        raise RequestError(f"{file}: expected 8 bits a channel, found mode {image.mode}; convert it")
    return image


def _stacked(files: list[Path], mode: str, folder: Path) -> NDArray[np.uint8]:
    size, images = _opened(files[0]).size, []
    for file in files:
        try:
            image = np.asarray(_opened(file).convert(mode), np.uint8)
        except OSError as error:
            raise RequestError(
                f"{file}: cannot be read: {error}; truncated or damaged, copy it anew"
            ) from None
        if image.shape[1::-1] != size:
            raise RequestError(
                f"{file}: expected {size[0]} x {size[1]} pixels as {files[0].relative_to(folder)} has, found "
                f"{image.shape[1]} x {image.shape[0]}; resize them to one size"
            )
        images.append(image)
    return np.stack(images)
