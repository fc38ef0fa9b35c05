"""Ctrl-C, TERM and HUP: heard once, and not forgotten where a library swallows the exception."""

import _thread
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any

_heard = threading.Event()
_stopping = threading.Event()
_listening = False
_gentle = False
_texts_around = _sent = 0
_at_hand: Callable[[], int] = int  # none
ENOUGH = 100  # times that a signal is sent again, a hundredth of a second apart


def ignore() -> None:
    """In a worker: Ctrl-C is the sweep's, so that a KeyboardInterrupt here is none."""
    global _listening
    _listening = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def listen(gentle: bool = False) -> None:
    """From now on each of the three signals raises KeyboardInterrupt, and is kept in mind.

    Args:
        gentle: a first Ctrl-C waits for what is at hand, see `finishing`.
    """
    global _listening, _gentle, _texts_around, _sent
    _heard.clear()
    _stopping.clear()
    _listening, _gentle, _texts_around, _sent = True, gentle, _texts(sys._getframe()), 0
    sys.unraisablehook = _forgiving
    if threading.current_thread() is not threading.main_thread():
        return
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) != signal.SIG_IGN:  # `nohup` ignores one of them
            signal.signal(ending, _raise)


@contextlib.contextmanager
def finishing(at_hand: Callable[[], int]) -> Iterator[None]:
    """Within it a first Ctrl-C of a gentle command raises nothing as long as trials are at hand: `is_stopping` tells that no
    new one is to begin.

    Args:
        at_hand: how many trials have begun and not ended; called in the middle of anything.
    """
    global _at_hand
    before, _at_hand = _at_hand, at_hand
    try:
        yield
    finally:
        _at_hand = before


def is_stopping() -> bool:
    """Whether a first Ctrl-C was heard while trials were at hand."""
    return _stopping.is_set()


def stop() -> None:
    """Once what was at hand is finished: that Ctrl-C counts now.

    Raises:
        KeyboardInterrupt: there was one.
    """
    if _stopping.is_set():
        _heard.set()
        raise KeyboardInterrupt


def was_meant(error: BaseException) -> bool:
    """Whether an exception is a Ctrl-C or another signal's; code of one's own may raise KeyboardInterrupt, too."""
    return isinstance(error, KeyboardInterrupt) and (_heard.is_set() or not _listening)


def check() -> None:
    """Says it again: what is imported or traced may have caught it, whatever it was.

    Raises:
        KeyboardInterrupt: one of the signals was heard.
    """
    if _heard.is_set():
        raise KeyboardInterrupt


def end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    """A `sys.excepthook`: while a command is imported, nothing is open that would have to be closed."""
    if not issubclass(kind, KeyboardInterrupt):
        sys.__excepthook__(kind, error, trace)
        return
    print("interrupted", file=sys.stderr, flush=True)
    os._exit(130)


def _forgiving(swallowed: "sys.UnraisableHookArgs") -> None:
    """A `sys.unraisablehook`: of a Ctrl-C that Python swallows at a fork nothing is lost, see `check`."""
    if not issubclass(swallowed.exc_type, KeyboardInterrupt):
        sys.__unraisablehook__(swallowed)


def _raise(number: int, frame: Any) -> None:
    global _sent
    if _texts(frame) > _texts_around and _sent < ENOUGH:
        _sent += 1
        with contextlib.suppress(RuntimeError):
            _thread.start_new_thread(_send_again, (number,))
        return
    trials = _at_hand() if _gentle and number == signal.SIGINT and not _stopping.is_set() else 0
    if not trials:
        _heard.set()
        raise KeyboardInterrupt
    _stopping.set()
    with contextlib.suppress(
        RuntimeError
    ):  # of a thread that cannot start; this one may be in the middle of a line
        _thread.start_new_thread(_say_what_is_finished, (trials,))


def _texts(frame: Any) -> int:
    """How many texts are being executed, as a dataclass's is: after a KeyboardInterrupt in one Python ends by SIGINT, not with
    130."""
    found = 0
    while frame is not None:
        found += (frame.f_code.co_filename, frame.f_code.co_name) == ("<string>", "<module>")
        frame = frame.f_back
    return found


def _send_again(number: int) -> None:
    time.sleep(0.01)
    os.kill(os.getpid(), number)


def _say_what_is_finished(trials: int) -> None:
    what = "the trial" if trials == 1 else f"the {trials} trials"
    with contextlib.suppress(OSError):  # a terminal that is gone
        # In one write: of two, as `print` does, another thread's line may come between them.
        sys.stderr.write(f"finishing {what} at hand; Ctrl-C again ends now\n")
        sys.stderr.flush()
