"""Models and data of one's own: what the names in a config stand for, beside the config or on the path.

A model is a function `(image_shape, classes) -> keras.Model`, named `module:function`: from float32
images in [0, 1], shape `(N, *image_shape)`, to logits, shape `(N, classes)`.

A data set is an `.npz` file, a folder of images by class, a name of TFDS, or a function without arguments, named
`module:function`, that returns the same arrays as a dict; `tfsgd/data/user_data.py` says which.
"""

import contextlib
import functools
import sys
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfsgd.data.dataset import Dataset, Splits
from tfsgd.data.image_folder import image_files, read_image_folder
from tfsgd.data.load import data_folders
from tfsgd.data.raw_files import is_file, is_folder
from tfsgd.data.tfds import PREFIX, read_any_tfds
from tfsgd.data.user_data import own_data, read_npz
from tfsgd.errors import RequestError
from tfsgd.models.structure import (
    make_known,
    refuse_losses,
    refuse_unfit,
    refuse_unstorable,
    structure_sha256,
)
from tfsgd.plan.import_string import call_own, file_of, import_code, is_own_name, locate, resolve
from tfsgd.text import one_line, shown_path

# Fields of an `Experiment` that no config has.
SET_BY_THE_TOOL = ("profile", "code_dir", "own_data", "own_code")
NOT_NAMED = "a folder of results runs no code; name the config that has it, --config CONFIG"


def import_layers(code: str) -> Any:
    """Imports code that a person has named, so that Keras finds the layers of a stored network in it.

    Returns:
        What has the name that is given after the colon; `None`: no name is given.

    Raises:
        RequestError: as `tfsgd.plan.import_string.import_code`.
    """
    module, found = import_code(code)
    make_known(module)
    return found


def is_own_dataset(name: Any) -> bool:
    """Whether it is `FILE.npz`, `FOLDER/`, `tfds:NAME` or `module:function`."""
    return is_own_name(name) or (
        isinstance(name, str) and (name.endswith((".npz", "/")) or name.startswith(PREFIX))
    )


def with_own(
    raw: dict[str, Any], folder: Path | None = None, data_folder: Path | None = None
) -> dict[str, Any]:
    """The keys of a config, and for names of one's own `code_dir` and `own_data`.

    A resolved config has both already: it is read without the module or the file.

    Args:
        raw: the keys, not validated yet.
        folder: of the file that they were read from; `None`: they are a resolved config's.
        data_folder: where an `.npz` may lie, besides.

    Raises:
        ValueError: a name stands for nothing, or for data that cannot be used; one line.
    """
    if folder is not None:
        for key in SET_BY_THE_TOOL[1:]:
            if key in raw:
                raise ValueError(f"{key}: it is set by the tool, not by hand")
        if holds_own_name(raw):
            raw = raw | {"code_dir": str(folder.resolve()), "own_code": own_names(raw)}
    code_dir = Path(raw["code_dir"]) if isinstance(raw.get("code_dir"), str) else None
    try:
        if folder is not None and is_own_name(raw.get("model")):
            locate(raw["model"], code_dir, "model")
        if is_own_dataset(raw.get("dataset")) and raw.get("own_data") is None:
            own_dir = Path(raw["data_dir"]) if isinstance(raw.get("data_dir"), str) else None
            named = raw.get("own_code") or ()
            source = _source(raw["dataset"], code_dir, (data_folder, own_dir), named)
            raw = raw | {"own_data": _known(source)}
    except RequestError as error:
        raise ValueError(str(error)) from None
    return raw


def holds_own_name(value: Any) -> bool:
    """Whether something in a config stands for code or data of one's own."""
    return bool(own_names(value)) or (isinstance(value, dict) and is_own_dataset(value.get("dataset")))


def own_names(value: Any) -> list[str]:
    """Every `module:name` in a config, each once."""
    inside = value.values() if isinstance(value, dict) else value if isinstance(value, list | tuple) else ()
    found = [value] if is_own_name(value) else [name for each in inside for name in own_names(each)]
    return sorted(set(found))


# Data


def load_own_splits(
    data: Dataset, code_dir: Path | None, data_dirs: tuple[Path | None, ...], named: Collection[str]
) -> Splits:
    """The images of a data set of one's own, in canonical order.

    Args:
        data: what is known of it.
        code_dir: the config's folder.
        data_dirs: where an `.npz` may lie, besides.
        named: the names of code that may be imported.

    Raises:
        RequestError: they cannot be found, are not what they should be, or are others than before.
    """
    source = _source(data.name, code_dir, data_dirs, named)
    _, splits = _read(source)
    if splits.sha256 != data.sha256:
        changed = _read(source)[1].sha256 == splits.sha256  # else it differs each time
        raise RequestError(
            f"dataset: {splits.source}: "
            + (
                "its images or labels are no longer those that it had; put back what was there"
                if changed
                else "it gave other images or labels than a moment ago; it must give the same each time, fix its seed"
            )
        )
    return splits


@dataclass(frozen=True)
class _Source:
    """A file, or a function; a file that was written anew is another one."""

    name: str
    what: str  # to begin a refusal with
    stamp: tuple[Any, ...]
    arrays: Callable[[], Any] = field(compare=False)


def _source(
    name: str, code_dir: Path | None, data_dirs: tuple[Path | None, ...], named: Collection[str]
) -> _Source:
    if is_own_name(name):
        if name not in named:
            raise RequestError(f"dataset: {shown_path(name)}: {NOT_NAMED}")
        function = resolve(name, code_dir, "dataset")
        what = f"{name} ({file_of(function)})"
        return _Source(name, what, (code_dir,), functools.partial(call_own, function, code_dir, what))
    folders = [*([code_dir] if code_dir else []), *data_folders(data_dirs)] or [Path()]
    if name.startswith(PREFIX):
        plain = name.removeprefix(PREFIX)
        place = next((folder for folder in folders if is_folder(folder / plain.partition("/")[0])), None)
        return _Source(name, name, (place,), functools.partial(read_any_tfds, plain, place))
    for path in (folder / name for folder in folders):
        if name.endswith("/") and is_folder(path):
            stamps = ((str(p), p.stat().st_size, p.stat().st_mtime_ns) for p in image_files(path))
            return _Source(name, str(path), tuple(stamps), functools.partial(read_image_folder, path))
        if is_file(path):
            stamp = (path.stat().st_size, path.stat().st_mtime_ns)
            return _Source(name, str(path), stamp, functools.partial(read_npz, path))
    raise RequestError(
        f"dataset: {name}: no such {'folder' if name.endswith('/') else 'file'} in "
        f"{', '.join(map(str, dict.fromkeys(folders)))}; put it beside the "
        "config, or give its folder by --data DIR, the config's data_dir or the environment's TFSGD_DATA"
    )


@functools.lru_cache(maxsize=8)
def _known(source: _Source) -> Dataset:
    return _read(source)[0]


def _read(source: _Source) -> tuple[Dataset, Splits]:
    try:
        arrays = source.arrays()
        if not isinstance(arrays, Mapping):
            raise RequestError(
                f"{source.what}: expected to return a dict with train_images and train_labels, returned {type(arrays).__name__}"
            )
        return own_data(source.name, arrays, source.what)
    except RequestError as error:
        raise RequestError(f"dataset: {error}") from None


# Models


_BUILT: dict[Any, str] = {}  # what each function built first: `structure_sha256`


@dataclass(frozen=True)
class UserModel:
    """A function of one's own that builds a network; it may take images of any shape."""

    name: str  # `module:function`
    code_dir: Path | None
    is_named: bool = True  # by a person: only then its module is imported

    @property
    def image_shape(self) -> None:
        """The only images that it takes: unknown before it is built."""
        return None

    @property
    def title(self) -> str:
        return self.name.rpartition(":")[2]

    def build(self, image_shape: tuple[int, int, int], classes: int) -> Any:
        """Calls the function; each time it must build the same.

        Args:
            image_shape: `(height, width, channels)`.
            classes: number of logits.

        Raises:
            RequestError: the function is not there, raises, or returns no such network, or another one than before.
        """
        function = self._resolve()
        what = self._what(function)
        model = call_own(function, self.code_dir, what, image_shape, classes)
        refuse_unfit(model, image_shape, classes, what)
        structure = structure_sha256(model)
        if _BUILT.setdefault((function, image_shape, classes), structure) != structure:
            raise RequestError(
                f"{what}: built again, it has another structure; layers and settings must be the same each time"
            )
        return model

    def check(self, image_shape: tuple[int, int, int], classes: int) -> None:
        """Builds the network twice and runs it once, before a sweep trains it many times.

        Raises:
            RequestError: as `build`, or the network is another each time, or has losses of its own.
        """
        first, _ = (self.build(image_shape, classes) for _ in range(2))
        what = self._what(self._resolve())
        refuse_unstorable(first, what)
        try:
            refuse_losses(first, what)
        except RequestError:
            raise
        except Exception as error:  # of a layer of the user's
            raise RequestError(f"{what}: on two black images it raised {one_line(error)}") from None

    def import_if_there(self) -> None:
        """Imports its module, so that Keras finds the layers of a stored network in it; most networks need none."""
        if not self.is_named:
            return
        with contextlib.suppress(RequestError):
            self._resolve()

    def _resolve(self) -> Any:
        if not self.is_named:
            raise RequestError(f"model: {shown_path(self.name)}: {NOT_NAMED}")
        function = resolve(self.name, self.code_dir, "model")
        make_known(sys.modules[self.name.partition(":")[0]])
        return function

    def _what(self, function: Any) -> str:
        """The function and its file, to begin a refusal with."""
        return f"model: {self.name} ({file_of(function)})"
