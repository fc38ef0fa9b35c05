"""Ctrl-C where Python swallows it is kept, and said by the command alone."""

import signal
import sys
from collections.abc import Iterator

import pytest

from tfsgd import interrupts


class Raises:
    """Python cannot pass on what is raised while something is thrown away, as it cannot at a fork."""

    def __init__(self, error: BaseException) -> None:
        self.error = error

    def __del__(self) -> None:
        raise self.error


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)}
    monkeypatch.setattr("sys.unraisablehook", sys.__unraisablehook__)
    interrupts.listen()
    yield
    interrupts.listen()
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_swallowed_interrupt_is_not_spoken_of_and_not_lost(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    Raises(KeyboardInterrupt())
    assert capfd.readouterr() == ("", "")
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()


def test_other_errors_are_shown_as_ever(capfd: pytest.CaptureFixture[str]) -> None:
    Raises(ValueError("what is this"))
    assert "ValueError: what is this" in capfd.readouterr().err
