"""The pool: trials go to workers once each, are sent again when a worker is lost, and are blamed when they kill."""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dask
import psutil
import pytest
from distributed import Client, Future

from tests import quick_work
from tests.sweeps import is_worker, wait_until_gone
from tests.synthetic import experiment
from tfsgd.errors import RequestError
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.sweeping import cluster, worker_pool
from tfsgd.sweeping.address import Address
from tfsgd.sweeping.allocation import allocate
from tfsgd.sweeping.forkserver import import_ahead
from tfsgd.sweeping.joining import RemoteWorkers
from tfsgd.sweeping.tuner import GridTuner, search_on_workers
from tfsgd.sweeping.worker import log_of
from tfsgd.sweeping.worker_pool import WorkerPool

SEEDS = 6


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.at: list[tuple[str, int]] = []
        self.outcomes: list[tuple[str, str]] = []

    def progress(self, trial: Trial, epochs_done: int, doing: str) -> None:
        self.at.append((trial.name, epochs_done))

    def ended(self, trial: Trial, outcome: str) -> None:
        self.outcomes.append((trial.name, outcome))


@pytest.fixture
def trials() -> list[Trial]:
    regimes = {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}
    return grid(experiment(batch_sizes=[64], seeds=list(range(SEEDS)), regimes=regimes))


@pytest.fixture
def logs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LogFolder]:
    """Where quick workers, which know no TensorFlow, find what they are to do."""
    monkeypatch.setattr(worker_pool, "work", quick_work.work)
    monkeypatch.setattr(cluster, "PRELOAD", [])
    folder = LogFolder(tmp_path / "logs")
    folder.tuner_path.mkdir(parents=True)
    folder.experiment_path.touch()
    cluster.log_to(folder.tuner_path / "dask.log")
    # As the command does, by the main thread: what imports ahead ends with the thread that started it, and a pool's ends
    # with the pool, just when the next one begins.
    import_ahead([{}])
    yield folder
    wait_until_gone(
        [child.pid for child in psutil.Process().children(recursive=True) if is_worker(child.pid)]
    )


def test_a_log_on_a_full_disk_says_nothing_on_the_terminal(capfd: pytest.CaptureFixture[str]) -> None:
    cluster.log_to(Path("/dev/full"))
    log = logging.getLogger("distributed")
    with pytest.raises(OSError, match="No space left"):
        log.handlers[0].stream.write("x" * 100_000)  # type: ignore[attr-defined]
    log.error("cannot be written")
    assert capfd.readouterr().err == ""
    log.handlers.clear()


def script(logs: LogFolder, **steps: Any) -> None:
    """`s0={"1": ["die"]}`: the first try of seed 0 dies; "each" is every try that is not named."""
    (logs.path / "script.json").write_text(json.dumps({name[1:]: tries for name, tries in steps.items()}))


def ran(logs: LogFolder, seed: int) -> list[str]:
    """Who has begun the trial of a seed, in order."""
    path = logs.path / f"ran-{seed}"
    return path.read_text().splitlines() if path.exists() else []


def searched(
    trials: list[Trial], logs: LogFolder, workers: int = 2, gpus: Sequence[str] = ()
) -> tuple[dict[str, str], Listener]:
    listener = Listener()
    with WorkerPool(logs, allocate(workers, list(gpus), logs.path)) as pool:
        pool.callbacks = listener
        return search_on_workers(trials, pool, logs), listener


def test_every_trial_is_run_once_by_keras_tuners_search(
    trials: list[Trial], logs: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []
    real = GridTuner.run_trial

    def counted(self: GridTuner, trial: Any, **words: Any) -> Any:
        asked.append(tuple(trial.hyperparameters.values.items()))
        return real(self, trial, **words)

    monkeypatch.setattr(GridTuner, "run_trial", counted)
    failures, listener = searched(trials, logs)
    assert failures == {}
    assert sorted(asked) == sorted(
        (("regime", "LR"), ("batch_size", 64), ("momentum", 0.0), ("learning_rate", 0.01), ("seed", seed))
        for seed in range(SEEDS)
    )
    assert sorted(name for name, _ in listener.outcomes) == sorted(trial.name for trial in trials)
    assert [len(ran(logs, seed)) for seed in range(SEEDS)] == [1] * SEEDS
    assert len({ran(logs, seed)[0] for seed in range(SEEDS)}) == 2
    assert not list(logs.tuner_path.glob("**/trial*.json"))  # keras-tuner's state is nobody's


def test_the_trial_of_a_dead_worker_goes_to_another_and_an_innocent_one_is_not_blamed(
    trials: list[Trial], logs: LogFolder
) -> None:
    script(logs, s0={"1": ["die"], "2": ["die"]}, s1={"1": ["die"]})
    failures, listener = searched(trials, logs)
    assert failures == {}
    assert len(listener.outcomes) == SEEDS
    assert [len(ran(logs, seed)) for seed in range(SEEDS)] == [3, 2, 1, 1, 1, 1]


@pytest.mark.long
def test_a_frozen_worker_is_taken_for_dead_and_replaced(trials: list[Trial], logs: LogFolder) -> None:
    assert dask.config.get("distributed.scheduler.worker-ttl") == "35s"  # looked at as often: 70 s at most
    script(logs, s0={"1": ["freeze"]})
    with dask.config.set({"distributed.scheduler.worker-ttl": "5s"}):
        failures, listener = searched(trials[:3], logs, workers=1)
    assert failures == {}
    assert [len(ran(logs, seed)) for seed in range(3)] == [2, 1, 1]
    frozen = int(ran(logs, 0)[0].split()[0])
    assert f"done by {frozen}" not in dict(listener.outcomes).values()
    wait_until_gone([frozen])


def test_a_trial_that_kills_three_times_without_an_epoch_has_failed(
    trials: list[Trial], logs: LogFolder
) -> None:
    script(logs, s2={"each": ["die"]})
    failures, listener = searched(trials, logs)
    assert list(failures) == [trials[2].name]
    assert failures[trials[2].name].startswith("its worker died 3 times without a new epoch; ")
    assert [len(ran(logs, seed)) for seed in range(SEEDS)] == [1, 1, 3, 1, 1, 1]
    assert len(listener.outcomes) == SEEDS
    assert json.loads((logs.trial_path(trials[2]) / "failure.json").read_text())["error"] in failures.values()


def test_a_trial_that_comes_on_between_its_workers_deaths_has_not(
    trials: list[Trial], logs: LogFolder
) -> None:
    dies = {str(i): ["epoch", "die"] for i in range(1, 6)}
    script(logs, s0=dies)
    failures, listener = searched(trials[:2], logs)
    assert failures == {}
    assert len(ran(logs, 0)) == 6
    assert [epoch for name, epoch in listener.at if name == trials[0].name] == [1, 2, 3, 4, 5]


def test_a_pool_that_begins_no_more_finishes_what_is_at_hand(trials: list[Trial], logs: LogFolder) -> None:
    """Also the trial of a worker that dies; what waits for a worker, or comes later, is begun by none."""
    script(logs, s0={"1": ["wait", "die"]}, s1={"1": ["wait"]})
    (logs.path / "held up").touch()
    with WorkerPool(logs, allocate(2, [], logs.path)) as pool:
        pool.callbacks = Listener()
        assert pool.at_hand == 0
        hands = [threading.Thread(target=pool.run, args=(trial,)) for trial in trials[:3]]
        for number, hand in enumerate(hands):
            hand.start()
            while number < 2 and not ran(logs, number):
                time.sleep(0.05)
        assert pool.at_hand == 2
        while len(pool._under_way) < 3:
            time.sleep(0.05)
        pool.begin_no_more()
        hands[2].join(30)
        assert not hands[2].is_alive()
        with pytest.raises(SystemExit):
            pool.run(trials[3])
        (logs.path / "held up").unlink()
        for hand in hands:
            hand.join(60)
        assert pool.at_hand == 0
    assert [len(ran(logs, seed)) for seed in range(4)] == [2, 1, 0, 0]
    assert sorted(name for name, _ in pool.callbacks.outcomes) == sorted(t.name for t in trials[:2])


def test_what_a_worker_cannot_even_begin_is_a_failure_in_a_line(trials: list[Trial], logs: LogFolder) -> None:
    script(logs, s0={"each": ["raise"]})
    failures, _ = searched(trials[:2], logs)
    assert failures.keys() == {trials[0].name}
    assert failures[trials[0].name].startswith("OSError: no such card (")
    assert "no such card" in (logs.trial_path(trials[0]) / "failure.json").read_text()


def test_a_trial_that_another_worker_took_is_sent_again(trials: list[Trial], logs: LogFolder) -> None:
    script(logs, s0={"1": ["lose"]})
    failures, _ = searched(trials[:2], logs)
    assert failures == {}
    assert len(ran(logs, 0)) == 2


def test_a_trial_that_dask_cancels_is_sent_again(trials: list[Trial], logs: LogFolder) -> None:
    """As where the sweep was frozen: its workers count as dead when it is woken, and what they have said as lost."""
    script(logs, s0={"1": ["sleep"]})

    async def cancel(client: Client) -> None:
        await client.cancel([Future(key, client) for key in client.futures], force=True)

    with WorkerPool(logs, allocate(2, [], logs.path)) as pool:
        pool.callbacks = Listener()
        hand = threading.Thread(target=pool.run, args=(trials[0],))
        hand.start()
        while not (ran(logs, 0) and pool.size == 2 and len(pool._registry.names) == 2):
            time.sleep(0.05)
        pool._loop.call(cancel(pool._client))
        hand.join(30)
        assert not hand.is_alive()
    assert (len(ran(logs, 0)), pool.failures) == (2, {})


def test_who_leaves_takes_the_waiting_threads_and_the_workers_along(
    trials: list[Trial], logs: LogFolder
) -> None:
    script(logs, s0={"each": ["sleep"]}, s1={"each": ["sleep"]})
    ends: list[BaseException] = []

    def wait(pool: WorkerPool, trial: Trial) -> None:
        try:
            pool.run(trial)
        except BaseException as error:
            ends.append(error)

    with WorkerPool(logs, allocate(2, [], logs.path)) as pool:
        pool.callbacks = Listener()
        hands = [threading.Thread(target=wait, args=(pool, trial)) for trial in trials[:2]]
        for hand in hands:
            hand.start()
        while not (ran(logs, 0) and ran(logs, 1)):
            time.sleep(0.05)
        pids = [int(ran(logs, seed)[0].split()[0]) for seed in (0, 1)]
    for hand in hands:
        hand.join(30)
    assert [type(end) for end in ends] == [SystemExit] * 2
    assert not list(logs.path.glob("trials/*/*/failure.json"))
    assert pool.failures == {}
    wait_until_gone(pids)


def test_visitors_work_hear_of_their_own_trials_and_leave_when_all_is_done(
    trials: list[Trial], logs: LogFolder
) -> None:
    for trial in trials:  # what real workers leave
        logs.write_failure(trial, "", "")
    script(logs, **{f"s{seed}": {"each": ["epoch"]} for seed in range(SEEDS)})
    here, there = Listener(), Listener()
    with WorkerPool(logs, [], Address("127.0.0.1", 0)) as pool:
        pool.callbacks = here
        address = Address.parse(pool.address, "--join")
        remote = RemoteWorkers(address, trials, logs, allocate(1, [], logs.path), there)
        with WorkerPool(logs, allocate(1, [], logs.path)), remote:  # another sweep is no matter
            assert search_on_workers(trials, pool, logs) == {}
            assert sorted(there.at) == sorted((trial.name, 1) for trial in trials)
            assert sorted(there.at) == sorted(here.at)
    assert len(here.outcomes) == SEEDS


def test_visitors_go_where_the_sweep_has_gone_while_they_started(
    trials: list[Trial], logs: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Dask's worker would look for its scheduler for ever."""
    monkeypatch.setattr(cluster, "PRELOAD", ["tests.quick_work"])
    held_up = logs.path / "held up"
    held_up.touch()
    soon = {"tfsgd.register": "1s", "distributed.comm.timeouts.connect": "1s"}
    with dask.config.set(soon), WorkerPool(logs, [], Address("127.0.0.1", 0)) as pool:
        remote = RemoteWorkers(
            Address.parse(pool.address, "--join"), trials, logs, allocate(1, [], logs.path), Listener()
        )
        with remote:
            while not any(is_worker(child.pid) for child in psutil.Process().children(recursive=True)):
                time.sleep(0.05)
            pool.__exit__(None, None, None)
            held_up.unlink()
            with pytest.raises(RequestError, match="the other sweep is gone"):
                remote.wait()


def test_workers_that_cannot_start_are_said_in_a_line(
    trials: list[Trial], logs: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster, "PRELOAD", ["tfsgd.no_such_module"])
    with pytest.raises(RequestError, match="workers cannot start: "):
        searched(trials, logs)


def test_workers_that_can_no_longer_start_are_said_in_a_line(
    trials: list[Trial], logs: LogFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They have come before, and die: the search does not wait for them for ever."""
    monkeypatch.setattr(cluster, "PRELOAD", ["tests.quick_work"])
    script(logs, s0={"1": ["spoil", "epoch", "die"]})  # its nanny has seen it by then
    with pytest.raises(RequestError, match="workers cannot start: "):
        searched(trials, logs, workers=1)


def test_a_machine_is_shared_out_among_its_workers(tmp_path: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    found = allocate(2, [], tmp_path)
    assert [share["threads"] for share in found] == [max(1, cores // 2)] * 2
    assert all(share["logs"] == str(tmp_path) and "environment" not in share for share in found)
    pinned = [share["environment"] for share in allocate(4, ["0", "3"], tmp_path)]
    assert [each["CUDA_VISIBLE_DEVICES"] for each in pinned] == ["0", "3", "0", "3"]
    assert all(each["TF_FORCE_GPU_ALLOW_GROWTH"] == "true" for each in pinned)
    assert allocate(2, ["0", "1"], tmp_path)[1]["environment"] == {"CUDA_VISIBLE_DEVICES": "1"}


def test_workers_with_a_gpu_start_from_scratch(tmp_path: Path) -> None:
    """What CUDA sees must be said before TensorFlow is imported."""
    assert import_ahead(allocate(2, ["0", "1"], tmp_path)) == "spawn"
    assert import_ahead(allocate(2, [], tmp_path)) == "forkserver"
    assert import_ahead([]) == "spawn"


def test_workers_from_scratch_take_nothing_of_the_users_dask(
    trials: list[Trial], logs: LogFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They import Dask anew, and find the user's files."""
    (tmp_path / ".config/dask").mkdir(parents=True)
    (tmp_path / ".config/dask/mine.yaml").write_text(
        "distributed: {comm: {retry: {count: 7}}, worker: {profile: {enabled: true}}, mine: 1}\n"
    )
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("DASK_DISTRIBUTED__MINE", "2")
    script(logs, s0={"1": ["tell"]})
    failures, _ = searched(trials[:1], logs, gpus=["0"])
    assert failures == {}
    told = json.loads((logs.path / "told").read_text())
    assert (told["comm"]["retry"]["count"], told["worker"]["profile"]["enabled"]) == (0, False)
    assert told["scheduler"]["allowed-failures"] == 0
    assert "mine" not in told


def test_the_log_of_a_worker_has_its_name(logs: LogFolder) -> None:
    assert log_of(logs, "here-0").parent == logs.tuner_path
