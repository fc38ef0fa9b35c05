"""Several workers: every trial once, whoever dies, and nobody where nobody was asked for."""

import contextlib
import os
import random
import re
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.conftest import mounted
from tests.sweeps import (
    CONFIG,
    KILLS,
    Sweep,
    alive,
    ended,
    numbers,
    phases,
    undisturbed,
    wait_until_gone,
)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted sweep of two workers finds."""
    return undisturbed(tmp_path_factory, workers=2)[0]


@pytest.mark.long  # beside the frozen worker, whose trial another one goes on with
def test_killed_worker_is_replaced_and_changes_no_number(reference: dict[str, Any], tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "--workers", "2")
    sweep.wait_for_epoch(3)
    os.kill(sweep.workers()[0], signal.SIGKILL)
    code, _, err = sweep.end()
    assert (code, err) == (0, "")
    assert numbers(sweep.logs) == reference


@pytest.mark.long
def test_the_process_that_workers_are_forked_from_may_die(reference: dict[str, Any], tmp_path: Path) -> None:
    """They end with it, and come again from another one."""
    sweep = Sweep(tmp_path, "--workers", "2")
    sweep.wait_for_epoch(3)
    workers = sweep.workers()
    [server] = {psutil.Process(pid).ppid() for pid in workers}
    assert server != sweep.process.pid
    os.kill(server, signal.SIGKILL)
    code, _, err = sweep.end()
    assert (code, err) == (0, "")
    assert numbers(sweep.logs) == reference
    assert not any(map(alive, [server, *workers]))


@pytest.mark.long
def test_killed_sweep_takes_its_workers_along_and_goes_on(reference: dict[str, Any], tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "--workers", "2")
    sweep.wait_for_epoch(3)
    family = sweep.family()
    os.kill(sweep.process.pid, signal.SIGKILL)
    sweep.process.wait()
    wait_until_gone(family)
    recorded = sweep.recorded()
    code, _, err = Sweep(tmp_path, "--workers", "2").end()
    assert (code, err) == (0, "")
    assert numbers(sweep.logs) == reference
    assert recorded.items() <= sweep.recorded().items()


def test_workers_from_scratch_end_with_a_killed_sweep_too(tmp_path: Path) -> None:
    """As on GPUs, where each needs an environment of its own; also while they are still importing."""
    code = (
        "from tfsgd.sweeping import run; run.visible_gpus = lambda: ['0', '1']; "
        "from tfsgd.sweep import main; main()"
    )
    sweep = Sweep(tmp_path, "--workers", "2", code=code)
    workers = sweep.wait_for(lambda: len(sweep.workers()) == 2 and sweep.workers())
    assert all(b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes() for pid in workers)
    family = sweep.family()
    os.kill(sweep.process.pid, signal.SIGKILL)
    sweep.process.wait()
    wait_until_gone(family)


@pytest.mark.long
def test_a_frozen_worker_loses_its_trial_and_is_not_heard_afterwards(
    reference: dict[str, Any], tmp_path: Path
) -> None:
    sweep = Sweep(tmp_path, "--workers", "2")
    sweep.wait_for_epoch(2)
    frozen = sweep.wait_for(lambda: [pid for pid in sweep.workers() if sweep.in_the_middle([pid])])[0]
    trial = sweep.in_the_middle([frozen])[0]
    os.kill(frozen, signal.SIGSTOP)
    sweep.wait_for(lambda: sweep.claims()[trial] != frozen)
    if alive(frozen):
        os.kill(frozen, signal.SIGCONT)
    code, out, err = sweep.end()
    assert (code, err) == (0, "")
    assert sorted(ended(out)) == sorted(reference)  # each once
    assert numbers(sweep.logs) == reference


@pytest.mark.long
def test_a_trial_that_kills_its_workers_is_a_failure_and_the_others_go_on(
    reference: dict[str, Any], tmp_path: Path
) -> None:
    sweep = Sweep(tmp_path, "--workers", "2")
    poisoned = "lr/b0064-m0.9-s1"
    killed = [0]
    for _ in range(3):
        killed.append(sweep.wait_for(lambda: (pid := sweep.claims().get(poisoned, 0)) not in killed and pid))
        os.kill(killed[-1], signal.SIGKILL)
    code, _, err = sweep.end()
    assert code == 1
    assert err.startswith(f"failed: {poisoned}: its worker died 3 times without a new epoch; ")
    assert err.count("\n") == 1
    assert (sweep.logs / "trials" / poisoned / "failure.json").exists()
    others = {name: record for name, record in reference.items() if name != poisoned}
    assert numbers(sweep.logs) == others

    code, _, err = Sweep(tmp_path, "--workers", "2").end()  # tried again
    assert (code, err) == (0, "")
    assert numbers(sweep.logs) == reference


FINISHING = r"finishing the (trial|[2-9] trials) at hand; Ctrl-C again ends now\n"
GOES_ON = "interrupted; the same command goes on from here\n"


def test_a_first_ctrl_c_finishes_the_trials_at_hand_and_begins_none(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "--workers", "2", config=CONFIG | {"epochs": 2, "seeds": list(range(50))})
    sweep.wait_for(lambda: 0 < len(sweep.recorded()) < len(sweep.claims()))
    family, recorded = sweep.family(), sweep.recorded()
    os.killpg(sweep.process.pid, signal.SIGINT)  # as a terminal sends it: to all
    code, _, err = sweep.end()
    assert code == 130
    assert re.fullmatch(FINISHING + GOES_ON, err), err
    wait_until_gone(family)
    finished = {f"{path.parent.parent.name}/{path.parent.name}" for path in sweep.recorded()}
    assert finished == set(sweep.claims())  # each that was begun
    assert len(finished) > len(recorded)
    assert recorded.items() <= sweep.recorded().items()


@pytest.mark.long
@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGHUP], ids=lambda how: how.name)
def test_an_interrupt_ends_all_and_keeps_what_is_finished(how: signal.Signals, tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "--workers", "2", config=CONFIG | {"epochs": 2, "seeds": list(range(50))})
    sweep.wait_for(sweep.recorded)
    family, recorded = sweep.family(), sweep.recorded()
    sweep.interrupt(how)
    code, _, err = sweep.end()
    assert (code, err) == (130, GOES_ON)
    wait_until_gone(family)
    assert recorded.items() <= sweep.recorded().items()
    assert not list(sweep.logs.glob("trials/*/*/failure.json"))


def test_a_second_sweep_in_the_folder_is_refused_and_a_second_ctrl_c_ends_the_first(tmp_path: Path) -> None:
    long = CONFIG | {"epochs": 2000}  # it must still run when the second one has been refused
    sweep = Sweep(tmp_path, "--workers", "2", config=long)
    sweep.wait_for(sweep.workers)
    code, _, err = Sweep(tmp_path, "--workers", "2", config=long).end()
    assert code == 2
    assert f"another sweep is at work there: process {sweep.process.pid} on " in err
    sweep.wait_for_epoch()
    family = sweep.family()
    os.killpg(sweep.process.pid, signal.SIGINT)
    assert sweep.process.stderr is not None
    assert re.fullmatch(FINISHING, sweep.process.stderr.readline())
    os.killpg(sweep.process.pid, signal.SIGINT)
    code, _, err = sweep.end()
    assert (code, err) == (130, GOES_ON)
    wait_until_gone(family)
    assert not list(sweep.logs.glob("trials/*/*/record.json"))
    assert not list(sweep.logs.glob("trials/*/*/failure.json"))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A real file system of 3 MiB."""
    yield from mounted(tmp_path / "disk", "3m")


@pytest.mark.long
def test_a_full_disk_is_a_line_for_each_trial(small_disk: Path) -> None:
    sweep = Sweep(small_disk, "--workers", "2", config=CONFIG | {"epochs": 1, "export": True})
    sweep.wait_for(sweep.claims)
    left = shutil.disk_usage(small_disk).free
    (small_disk / "ballast").write_bytes(bytes(left))
    code, _, err = sweep.end()
    assert code == 1
    assert "Traceback" not in err
    assert all(re.match(r"[^:]+: [^:]+: ", line) for line in err.splitlines()), err
    failed = [line.split(": ")[1] for line in err.splitlines()]
    recorded = [f"{path.parent.parent.name}/{path.parent.name}" for path in sweep.recorded()]
    assert sorted(failed + recorded) == [f"{r}/b0064-m0.9-s{s}" for r in ("benchmark", "lr") for s in (0, 1)]
    assert failed
    assert "No space left" in err


# Many faults: make faults


CREWS = {
    "one process": ("--workers", "1"),
    "two workers": ("--workers", "2"),
    "two machines": ("--workers", "1", "--listen"),
}
FATAL = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)


def _signal_one(chance: random.Random, crew: str, sweeps: list[Sweep]) -> list[int]:
    """Sends a signal to one of the processes of a sweep, and of another one that has joined it; all of them."""
    victims = {sweep.process.pid: ("sweep", "joined sweep")[n] for n, sweep in enumerate(sweeps)}
    seen = list[int]()
    with contextlib.suppress(psutil.NoSuchProcess, ProcessLookupError):  # it has just ended
        for sweep in sweeps:
            victims |= dict.fromkeys(sweep.workers(), "worker")
            seen += sweep.family()
        victim, how = chance.choice(list(victims)), chance.choice(FATAL)
        os.kill(victim, how)
        KILLS[f"{crew}: {victims[victim]}, {how.name}"] += 1
    return seen


@pytest.mark.long  # beyond 70 seconds without a sign of life
@pytest.mark.parametrize("crew", [*CREWS][1:])
def test_a_frozen_sweep_goes_on_when_it_is_woken(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, crew: str
) -> None:
    """By SIGSTOP, as Ctrl-Z or a machine that sleeps: its workers wait, and no trial is run or heard of twice."""
    config = phases("cosine") | {"seeds": [0, 1]}
    reference, _ = undisturbed(tmp_path_factory, 2 if crew == "two workers" else 1, config)
    address = ("127.0.0.1:19999",) * (crew == "two machines")
    sweep, joined = Sweep(tmp_path, *CREWS[crew], *address, config=config), list[Sweep]()
    if crew == "two machines":
        sweep.wait_for(
            lambda: sweep.folder.certificate_path.exists() and sweep.folder.experiment_path.exists()
        )
        joined.append(Sweep(tmp_path, "--workers", "1", "--join", *address, config=config))
        joined[0].wait_for(joined[0].workers)
    sweep.wait_for_epoch()
    os.kill(sweep.process.pid, signal.SIGSTOP)
    time.sleep(80)
    os.kill(sweep.process.pid, signal.SIGCONT)
    code, out, err = sweep.end()
    assert (code, err) == (0, "")
    assert sorted(ended(out)) == sorted(reference)
    assert numbers(sweep.logs) == reference
    assert [other.end()[::2] for other in joined] == [(0, "")] * len(joined)


@pytest.mark.long
def test_a_frozen_sweep_that_is_killed_takes_its_workers_along(
    reference: dict[str, Any], tmp_path: Path
) -> None:
    sweep = Sweep(tmp_path, "--workers", "2")
    sweep.wait_for_epoch(2)
    family = sweep.family()
    os.kill(sweep.process.pid, signal.SIGSTOP)
    time.sleep(1)
    os.kill(sweep.process.pid, signal.SIGKILL)
    sweep.process.wait()
    wait_until_gone(family)
    recorded = sweep.recorded()
    code, _, err = Sweep(tmp_path, "--workers", "2").end()
    assert (code, err) == (0, "")
    assert numbers(sweep.logs) == reference
    assert recorded.items() <= sweep.recorded().items()


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(int(os.environ.get("TFSGD_FAULTS", "9"))))
def test_kills_at_random_moments(tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, seed: int) -> None:
    """One to six processes of the seed's crew die on the way; every record stays, and equals the reference's."""
    crew, options = list(CREWS.items())[seed % len(CREWS)]
    address = f"127.0.0.1:{20_000 + seed}"  # the same one whenever the same command is repeated
    options += (address,) * (crew == "two machines")
    workers = 2 if crew == "two workers" else 1
    config = phases({"step": [2]} if workers == 2 else "cosine")
    reference, seconds = undisturbed(tmp_path_factory, workers, config)
    chance, recorded, seen, joined = random.Random(seed), dict[Path, int](), list[int](), list[Sweep]()
    left = chance.randint(1, 6)
    for _ in range(20):
        sweep = Sweep(tmp_path, *options, config=config)
        KILLS[f"{crew}: sweeps"] += 1
        strikes = time.monotonic() + chance.uniform(0.05, 0.6) * seconds
        while sweep.process.poll() is None:
            others = [other for other in joined if other.process.poll() is None]
            if crew == "two machines" and not others and sweep.folder.certificate_path.exists():
                joined.append(Sweep(tmp_path, "--workers", "1", "--join", address, config=config))
            if left and time.monotonic() > strikes:
                left -= 1
                seen += _signal_one(chance, crew, [sweep, *others])
                strikes = time.monotonic() + chance.uniform(0.05, 0.6) * seconds
            time.sleep(0.2)
        code, _, err = sweep.end()
        assert "Traceback" not in err
        before, recorded = recorded, sweep.recorded()
        assert before.items() <= recorded.items()  # none is written twice
        if code == 0:
            break
    assert code == 0
    assert numbers(sweep.logs) == reference
    assert not sweep.lost()
    for other in joined:
        code, _, err = other.end()
        assert "Traceback" not in err
    wait_until_gone(seen)
    KILLS[f"{crew}: seeds"] += 1
    KILLS[f"{crew}: records, all with the reference's bits"] += len(reference)
    shutil.rmtree(sweep.logs)
