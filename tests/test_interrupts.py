"""Ctrl-C where Python swallows it is kept, and said by the command alone; while trials are at hand a first one is a wish."""

import signal
import sys
import time
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
    interrupts.listen(gentle=True)
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


def said(capfd: pytest.CaptureFixture[str]) -> str:
    """The line that another thread says."""
    found = ""
    until = time.monotonic() + 30
    while not found.endswith("\n") and time.monotonic() < until:
        found += capfd.readouterr().err
    return found


@pytest.mark.parametrize(
    ("trials", "line"),
    [
        (1, "finishing the trial at hand; Ctrl-C again ends now\n"),
        (3, "finishing the 3 trials at hand; Ctrl-C again ends now\n"),
    ],
)
def test_the_first_at_trials_is_a_wish_and_the_second_none(
    trials: int, line: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with interrupts.finishing(lambda: trials):
        assert not interrupts.is_stopping()
        interrupts.stop()  # which nobody has asked for
        signal.raise_signal(signal.SIGINT)
        assert interrupts.is_stopping()
        interrupts.check()  # which a training does at each epoch
        assert said(capfd) == line
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        interrupts.check()
    assert capfd.readouterr().err == ""


def test_after_what_is_at_hand_the_wish_counts() -> None:
    with interrupts.finishing(lambda: 1):
        signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt) as stopped:
        interrupts.stop()
    assert interrupts.was_meant(stopped.value)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_the_other_signals_are_no_wish(number: signal.Signals) -> None:
    with interrupts.finishing(lambda: 1), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(number)
    assert not interrupts.is_stopping()


def test_of_other_commands_the_first_ends() -> None:
    """As of `measure`, which runs trials, too, and loses a measurement at most."""
    interrupts.listen()
    with interrupts.finishing(lambda: 1), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    assert not interrupts.is_stopping()


def test_without_a_trial_at_hand_the_first_ends() -> None:
    with interrupts.finishing(lambda: 0), pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
    with interrupts.finishing(lambda: 1):
        pass
    assert not interrupts.is_stopping()
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)
