"""What may be read and written below `LOGS/NAME`, found out before anything is read, written or trained.

Nothing is trained in the place of what cannot be read: it may be there.
"""

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from tfsgd.errors import RequestError
from tfsgd.records.atomic import from_json
from tfsgd.text import shown_path

LARGEST_TEXT = 50_000_000  # bytes of a record or another file of the tool: 10,000 epochs are 2 MB


def is_there(path: Path) -> bool:
    """Whether a folder has such an entry, whatever it is; a link that leads nowhere is one.

    Raises:
        RequestError: nobody can tell, because the folder may not be looked into.
    """
    try:
        os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError as error:
        raise RequestError(
            f"{shown_path(path)}: cannot be looked for: {error.strerror}; nothing is trained in its place"
        ) from None
    return True


def folders_in(folder: Path) -> Iterator[Path]:
    """The folders in a folder, sorted; none where it is not there.

    Raises:
        RequestError: it cannot be read.
    """
    try:
        with os.scandir(folder) as entries:
            found = sorted(entry.name for entry in entries if entry.is_dir())
    except FileNotFoundError:
        return
    except OSError as error:
        raise RequestError(
            f"{folder}: cannot be read: {error.strerror}; nothing is trained in the place of what is in it"
        ) from None
    yield from (folder / name for name in found)


def read_json(path: Path) -> Any:
    """What a JSON file holds; `None`: it cannot be read, or is none."""
    try:
        return from_json(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None


def read_text(path: Path) -> str:
    """The text of a file of the tool.

    Raises:
        OSError: it cannot be read.
        ValueError: it is no regular file, is too large, or is no UTF-8.
    """
    status = os.stat(path)  # before it is opened: a FIFO would wait for a writer
    if not stat.S_ISREG(status.st_mode):
        raise ValueError(
            "found a folder" if stat.S_ISDIR(status.st_mode) else "found what is not a regular file"
        )
    if status.st_size > LARGEST_TEXT:
        raise ValueError(f"found a file of {status.st_size:,} bytes, which no such file has")
    return path.read_text(encoding="utf-8")


def refuse_irregular(path: Path) -> None:
    """Refuses a FIFO, a device or a socket in the place of a file: to read it could wait for ever.

    Raises:
        OSError: it is not there.
        RequestError: it is no regular file.
    """
    if not stat.S_ISREG(os.stat(path).st_mode):
        raise RequestError(
            f"{shown_path(path)}: expected a file, found what is not a regular file; move it away"
        )


OUTCOMES = "outcomes.npz"  # what became of every image under every attack, beside a trial's record


def refuse_unusable(folder: Path) -> None:
    """Refuses a `LOGS/NAME` in which something is in the way of a sweep.

    Raises:
        RequestError: the line names what is in the way.
    """
    for path in (folder / "tuner", folder / "trials"):
        _refuse_other_than_folder(path)
    _refuse_other_than_file(folder / ".lock", os.R_OK | os.W_OK)
    _refuse_other_than_file(folder / "experiment.yaml", os.R_OK)


def refuse_unusable_trials(trials: Iterable[Path]) -> None:
    """Refuses to train or measure where results could not be written.

    Args:
        trials: their folders, whether they are there or not.

    Raises:
        RequestError: the line names what is in the way.
    """
    trials = list(trials)
    places = (place for trial in trials for place in (trial.parent.parent, trial.parent, trial))
    for path in dict.fromkeys(places):
        _refuse_other_than_folder(path)
        if is_there(path) and not os.access(path, os.R_OK | os.W_OK | os.X_OK):
            raise RequestError(
                f"{path}: cannot be read and written: Permission denied; nothing is trained in its place"
            )
    for trial in trials:
        _refuse_other_than_file(trial / OUTCOMES, os.F_OK)


def _refuse_other_than_folder(path: Path) -> None:
    if is_there(path) and not path.is_dir():
        raise RequestError(f"{path}: expected a folder, found a file; move it away")


def _refuse_other_than_file(path: Path, mode: int) -> None:
    if not is_there(path):
        return
    if not path.is_file():
        found = "a folder" if path.is_dir() else "what is not a regular file"
        raise RequestError(f"{path}: expected a file, found {found}; move it away")
    if not os.access(path, mode):
        raise RequestError(f"{path}: cannot be {'read' if mode == os.R_OK else 'written'}: Permission denied")


def is_gone(folder: Path) -> bool:
    """Whether a `LOGS/NAME` in which a sweep runs was removed, whatever its workers have written there since."""
    return not is_there(folder / "experiment.yaml")


def refuse_gone(folder: Path) -> None:
    """Ends a sweep whose folder `is_gone`.

    Raises:
        RequestError: it is.
    """
    if is_gone(folder):
        raise RequestError(
            f"{shown_path(folder)}: it was removed while the sweep ran; the same command begins it anew"
        )


def refuse_among_records(path: Path, option: str) -> None:
    """Refuses to write what was asked for among the records of a sweep.

    Raises:
        RequestError: it lies below `LOGS/NAME/trials` or `LOGS/NAME/tuner`, by whatever links.
    """
    for above in (path.resolve(), *path.resolve().parents):
        if above.name in ("trials", "tuner") and is_there(above.parent / "experiment.yaml"):
            raise RequestError(
                f"{option} {shown_path(path)}: expected a place outside of {above}, where records and networks are"
            )


def refuse_unwritable(folder: Path, option: str = "--logs") -> None:
    """Refuses a folder for results in which nothing could be written, without writing anything.

    Args:
        folder: whether it is there or not.
        option: that chose it.

    Raises:
        RequestError: it cannot be there, or is not the user's to write in.
    """
    try:
        there = next(above for above in (folder, *folder.absolute().parents) if above.exists())
        problem = "" if there.is_dir() else f"{shown_path(there)} is not a folder"
    except OSError as error:
        problem = error.strerror or "no such path"
    else:
        if not problem and not os.access(there, os.W_OK | os.X_OK):
            problem = "Permission denied"
    if problem:
        raise RequestError(
            f"{shown_path(folder)}: cannot be written to: {problem}; choose another folder with {option}"
        )
