"""The configs that come with the package, found by name from any folder."""

from pathlib import Path

import tfsgd
from tfsgd.errors import RequestError
from tfsgd.text import cut, nearest

FOLDER = Path(tfsgd.__file__).parent / "configs"


def find_config(path: Path) -> Path:
    """The file that is meant: the path if there is such a file, else the shipped config of that name.

    `fmnist_stdcnn`, `fmnist_stdcnn.yaml` and `configs/fmnist_stdcnn.yaml` name the same one. So do `sam` and `configs/extensions/sam.yaml`.

    Raises:
        RequestError: there is neither; the line names the nearest shipped one.
    """
    shipped = {file.stem: file for file in sorted(FOLDER.rglob("*.yaml"))}
    named = path.parent in (Path(), Path("configs"), Path("configs/extensions")) and path.suffix in (
        "",
        ".yaml",
    )
    found = shipped.get(path.stem) if named else None
    if path.exists() and not (found and path.is_dir()):
        return path
    if found:
        return found
    raise RequestError(
        f"{cut(str(path))}: no such config; expected a YAML file or one of the shipped {', '.join(shipped)}"
        + nearest(path.stem, shipped)
    )
