"""Who may work: one sweep on a folder, one worker on a trial."""

import contextlib
import errno
import fcntl
import os
import socket
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

from tfsgd.errors import RequestError
from tfsgd.plan.trials import Trial
from tfsgd.records.atomic import text_of, write_atomically


@contextlib.contextmanager
def locked(folder: Path, shard: str = "") -> Iterator[None]:
    """Keeps a second sweep out of a folder, for as long as this process lives.

    Args:
        folder: of the sweep.
        shard: `2-of-8`: only sweeps of the same shard are kept out, and those of the whole grid.

    Raises:
        RequestError: another process has it; the line names that process.
    """
    with _lock_file(folder / ".lock") as file, _opened(folder) as directory:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _say_who(file, " on a shard" if shard else "")
            if shard:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            _take(file, shard, file, folder)
        _take(directory, shard, file, folder)  # which stays when `.lock` is removed
        if not shard:
            yield
            return
        with _lock_file(folder / f".lock-{shard}") as own:
            _take(own, "", own, folder)
            _say_who(own, f" on shard {shard}")
            yield


def _take(lock: TextIO | int, shard: str, file: TextIO, folder: Path) -> None:
    """Takes a lock, one of a shard together with others; refuses where it is taken, by whom `file` says."""
    try:
        fcntl.flock(lock, (fcntl.LOCK_SH if shard else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        who = file.read().strip() or "a process whose .lock was removed"
        raise RequestError(
            f"{folder}: another sweep is at work there: {who}; wait for it or stop it"
        ) from None


def _say_who(file: TextIO, part: str) -> None:
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}{part}\n")
    file.flush()


@contextlib.contextmanager
def _lock_file(path: Path) -> Iterator[TextIO]:
    try:
        descriptor = os.open(
            path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK, 0o666
        )
    except OSError as error:
        why = "it is a link" if error.errno == errno.ELOOP else error.strerror
        raise RequestError(f"{path}: cannot be opened: {why}; move it away") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise RequestError(f"{path}: expected a file, found what is not a regular file; move it away")
    with os.fdopen(descriptor, "a+") as file:
        yield file


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class Superseded(BaseException):
    """Another worker has this trial now: leave it alone. No failure, so not an `Exception`."""


@dataclass(frozen=True)
class Lease:
    """A worker's claim on the trial at hand.

    Attributes:
        folder: where claims are written.
        holder: the worker, unlike any other.
    """

    folder: Path
    holder: str

    def take(self, trial: Trial) -> None:
        """Says that this worker has a trial now; whoever had it before leaves it alone."""
        write_atomically(self.folder / trial.name, self.holder)

    def hold(self, trial: Trial) -> None:
        """Sees to it that this worker still has a trial.

        Raises:
            Superseded: it was taken for dead, and its trial was handed out again.
        """
        if text_of(self.folder / trial.name) != self.holder:
            raise Superseded
