"""The configs that come with the package, found by name from any folder."""

import functools
from pathlib import Path

import tfsgd
from tfsgd.errors import RequestError
from tfsgd.plan.yaml_io import read_yaml
from tfsgd.text import cut, nearest

FOLDER = Path(tfsgd.__file__).parent / "configs"


@functools.cache
def shipped_pairs() -> dict[tuple[str, str], str]:
    """Data set and network of the paper's experiments -> the name of the shipped config that has them."""
    blocks = {path.stem: read_yaml(path) for path in sorted(FOLDER.glob("*.yaml"))}
    return {(block["dataset"], block["model"]): name for name, block in blocks.items()}


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
