"""Ctrl-C, TERM and HUP: heard once, and not forgotten where a library swallows the exception."""

import os
import signal
import sys
import threading
from types import TracebackType
from typing import Any

_heard = threading.Event()
_listening = False


def ignore() -> None:
    """In a worker: Ctrl-C is the sweep's, so that a KeyboardInterrupt here is none."""
    global _listening
    _listening = True
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def listen() -> None:
    """From now on each of the three signals raises KeyboardInterrupt, and is kept in mind."""
    global _listening
    _heard.clear()
    _listening = True
    sys.unraisablehook = _forgiving
    if threading.current_thread() is not threading.main_thread():
        return
    for ending in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(ending) != signal.SIG_IGN:  # `nohup` ignores one of them
            signal.signal(ending, _raise)


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
    _heard.set()
    raise KeyboardInterrupt
