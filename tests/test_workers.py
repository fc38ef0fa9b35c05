"""Several workers: every trial once, whoever dies, and nobody where nobody was asked for."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import TINY
from tfsgd.errors import RequestError
from tfsgd.plan.config import Experiment
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid
from tfsgd.records.folder import LogFolder, read_record
from tfsgd.records.ledger import is_complete
from tfsgd.sweeping.tuner import GridOracle
from tfsgd.sweeping.workers import Address

CONFIG = TINY | {
    "epochs": 8,
    "seeds": [0, 1],
    "train_examples": 2000,
    "regimes": {
        "LR": {"learning_rate": 0.05, "momentum": [0.9]},
        "Benchmark": {"learning_rate": 0.05, "halve_every_epochs": 3, "momentum": [0.9]},
    },
}
TRIALS = 4
SECONDS = 240


class Sweep:
    """A sweep in processes of its own."""

    def __init__(
        self, root: Path, *options: str, config: dict[str, Any] = CONFIG, host: str | None = None
    ) -> None:
        root.mkdir(parents=True, exist_ok=True)
        self.config = root / "config.yaml"
        self.config.write_text(yaml.safe_dump(config))
        self.logs = root / config["name"]
        command = [
            sys.executable,
            "-m",
            "tfsgd.sweep",
            str(self.config),
            "--logs",
            str(root),
            *options,
        ]
        if host:  # a machine of one core; `taskset` and `ip` become the command, in the same process
            command = [
                "taskset",
                "-c",
                str(min(os.sched_getaffinity(0))),
                "ip",
                "netns",
                "exec",
                host,
                *command,
            ]
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def end(self) -> tuple[int, str, str]:
        out, err = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, out, err

    def workers(self) -> list[int]:
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return [
            int(pid)
            for pid in children
            if b"tfsgd.sweeping.worker" in Path(f"/proc/{pid}/cmdline").read_bytes()
        ]

    def wait_for(self, wanted: Callable[[], Any]) -> Any:
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            if found := wanted():
                return found
            assert self.process.poll() is None, self.process.communicate()
            time.sleep(0.05)
        raise TimeoutError

    def recorded(self) -> dict[Path, int]:
        """When each record was written that holds everything that is asked for."""
        return {
            path: path.stat().st_mtime_ns
            for path in self.logs.glob("trials/*/*/record.json")
            if is_complete(read_record(path, {}), load_experiment(self.config))
        }

    def wait_for_epoch(self, epoch: int = 1) -> None:
        """Until some trial has so many epochs in a checkpoint."""
        self.wait_for(lambda: list(self.logs.glob(f"trials/*/*/checkpoint/epoch-{epoch:06d}.npz")))


def numbers(logs: Path) -> dict[str, Any]:
    """The records without what may differ between two runs of the same trial."""
    found = {}
    for path in sorted(logs.glob("trials/*/*/record.json")):
        record = json.loads(path.read_text())
        del record["seconds"], record["provenance"]["git_commit"]  # a developer may commit meanwhile
        for measurement in record["measurements"]:
            del measurement["seconds"]
            if measurement["provenance"]:
                del measurement["provenance"]["git_commit"]
        found[f"{path.parent.parent.name}/{path.parent.name}"] = record
    return found


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted sweep of two workers finds."""
    sweep = Sweep(tmp_path_factory.mktemp("reference"), "--workers", "2")
    code, out, err = sweep.end()
    assert (code, err) == (0, ""), out + err
    found = numbers(sweep.logs)
    assert len(found) == TRIALS
    assert len(re.findall(r"^\[\d+ of 4\] \S+ (?:completed|collapsed): ", out, re.M)) == TRIALS
    assert not list(sweep.logs.glob("trials/*/*/checkpoint"))
    return found


@pytest.mark.timeout(600)
def test_killed_worker_is_replaced_and_changes_no_number(reference: dict[str, Any], tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "--workers", "2")
    sweep.wait_for_epoch(3)
    os.kill(sweep.workers()[0], signal.SIGKILL)
    code, _, err = sweep.end()
    assert (code, err) == (0, "")
    assert numbers(sweep.logs) == reference


@pytest.mark.timeout(600)
def test_killed_sweep_takes_its_workers_along_and_goes_on(reference: dict[str, Any], tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "--workers", "2")
    sweep.wait_for_epoch(3)
    workers = sweep.workers()
    os.kill(sweep.process.pid, signal.SIGKILL)
    sweep.process.wait()
    for _ in range(100):
        if not any(map(alive, workers)):
            break
        time.sleep(0.1)
    assert not any(map(alive, workers))
    recorded = sweep.recorded()
    code, _, err = Sweep(tmp_path, "--workers", "2").end()
    assert (code, err) == (0, "")
    assert numbers(sweep.logs) == reference
    assert recorded.items() <= sweep.recorded().items()


@pytest.mark.timeout(600)
def test_interrupt_ends_all_and_second_sweep_is_refused(tmp_path: Path) -> None:
    long = CONFIG | {"epochs": 200}  # it must still run when the second one has been refused
    sweep = Sweep(tmp_path, "--workers", "2", config=long)
    sweep.wait_for_epoch()
    second = Sweep(tmp_path, "--workers", "2", config=long)
    code, _, err = second.end()
    assert code == 2
    assert f"another sweep is at work there: process {sweep.process.pid} on " in err
    workers = sweep.workers()
    os.kill(sweep.process.pid, signal.SIGINT)
    code, _, err = sweep.end()
    assert code == 130
    assert "the same command goes on" in err
    assert not any(map(alive, workers))


@pytest.mark.timeout(600)
def test_another_machine_joins(tmp_path: Path) -> None:
    """Two sweeps that share nothing but the logs folder and a port of the loopback interface."""
    port = Address.free_on_loopback().port
    here = Sweep(tmp_path, "--workers", "1", "--listen", f"127.0.0.1:{port}")
    here.wait_for_epoch()
    there = Sweep(tmp_path, "--workers", "1", "--join", f"127.0.0.1:{port}")
    code, out, err = here.end()
    assert (code, err) == (0, "")
    assert len(numbers(here.logs)) == TRIALS
    code_there, out_there, err_there = there.end()
    assert (code_there, err_there) == (0, "")
    by_here = set(re.findall(r"\] (\S+) (?:completed|collapsed): ", out))
    by_there = set(re.findall(r"\] (\S+) (?:completed|collapsed): ", out_there))
    assert by_there
    assert not by_here & by_there
    assert by_here | by_there == set(numbers(here.logs))


@pytest.mark.timeout(600)
def test_nothing_listens_beyond_loopback(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "--workers", "2")
    sweep.wait_for_epoch()
    family = [sweep.process.pid, *sweep.workers()]
    inodes = {
        found[1]
        for pid in family
        for link in Path(f"/proc/{pid}/fd").iterdir()
        if link.is_symlink() and (found := re.match(r"socket:\[(\d+)\]", os.readlink(link)))
    }
    listening = []
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{sweep.process.pid}/net/{table}").read_text().splitlines()[1:]:
            columns = line.split()
            if columns[3] == "0A" and columns[9] in inodes:
                listening.append(columns[1].split(":")[0])
    os.kill(sweep.process.pid, signal.SIGINT)
    sweep.end()
    assert listening
    assert set(listening) <= {
        "0100007F",
        "00000000000000000000000001000000",
        "0000000000000000FFFF00000100007F",
    }


def test_wrong_addresses_are_refused(tmp_path: Path) -> None:
    for text in ("7070", "host:", ":7070", "host:seven", "host:0", "host:70000"):
        with pytest.raises(RequestError, match=r"--listen .*expected HOST:PORT"):
            Address.parse(text, "--listen")
    code, _, err = Sweep(tmp_path, "--join", f"127.0.0.1:{Address.free_on_loopback().port}").end()
    assert code == 2
    assert err.count("\n") == 1


# Two machines, as network namespaces with a cable between them and a folder that both see


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two hosts, 10.77.0.1 and 10.77.0.2."""
    names = (f"tfsgd-{os.getpid()}-a", f"tfsgd-{os.getpid()}-b")
    if os.geteuid() != 0 or shutil.which("ip") is None or ip("netns", "add", names[0], check=False):
        pytest.skip("needs root, iproute2 and network namespaces")
    try:
        ip("netns", "add", names[1])
        ip(
            "link",
            "add",
            "cable",
            "netns",
            names[0],
            "type",
            "veth",
            "peer",
            "name",
            "cable",
            "netns",
            names[1],
        )
        for number, name in enumerate(names, 1):
            ip("-n", name, "address", "add", f"10.77.0.{number}/24", "dev", "cable")
            for device in ("cable", "lo"):
                ip("-n", name, "link", "set", device, "up")
        yield names
    finally:
        for name in names:
            ip("netns", "delete", name, check=False)


def ip(*arguments: str, check: bool = True) -> int:
    return subprocess.run(["ip", *arguments], check=check, capture_output=True).returncode


@pytest.mark.timeout(600)
def test_a_machine_that_loses_power_stalls_nobody(
    reference: dict[str, Any], hosts: tuple[str, str], tmp_path: Path
) -> None:
    here, there = two_machines(hosts, tmp_path)
    for pid in (there.process.pid, *there.workers()):
        os.kill(pid, signal.SIGKILL)
    there.end()
    code, out, err = here.end()
    assert (code, err) == (0, "")
    assert len(re.findall(r"\] \S+ (?:completed|collapsed): ", out)) == TRIALS
    assert numbers(here.logs) == reference


@pytest.mark.timeout(600)
def test_a_cut_cable_costs_no_record(
    reference: dict[str, Any], hosts: tuple[str, str], tmp_path: Path
) -> None:
    """The machine that is cut off gives up; what it had finished is taken over, not trained again."""
    here, there = two_machines(hosts, tmp_path)
    ip("-n", hosts[0], "link", "set", "cable", "down")
    theirs = there.wait_for(lambda: dict(there.recorded()))
    code, _, err = there.end()
    gone = "error: --join 10.77.0.1:7070: the chief is gone; start it again, then this\n"
    assert (code, err) in (
        (2, gone),
        (0, ""),
    )  # 0: it saw in the folder that the other one had done all the rest
    code, _, err = here.end()
    assert (code, err) == (0, "")
    assert numbers(here.logs) == reference
    assert theirs.items() <= here.recorded().items()


def two_machines(hosts: tuple[str, str], root: Path) -> tuple[Sweep, Sweep]:
    """A sweep and one that has joined it, both in the middle of a trial."""
    here = Sweep(root, "--workers", "1", "--listen", "10.77.0.1:7070", host=hosts[0])
    here.wait_for_epoch()
    frozen = here.workers()  # so that it has not done all the work before the other one begins
    for pid in frozen:
        os.kill(pid, signal.SIGSTOP)
    there = Sweep(root, "--workers", "1", "--join", "10.77.0.1:7070", host=hosts[1])
    there.wait_for(
        lambda: len({path.parent for path in here.logs.glob("trials/*/*/checkpoint/epoch-*")}) == 2
    )
    for pid in frozen:
        os.kill(pid, signal.SIGCONT)
    return here, there


# The oracle alone


@pytest.fixture
def oracle(tmp_path: Path) -> tuple[GridOracle, LogFolder, Experiment]:
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(CONFIG))
    experiment = load_experiment(tmp_path / "config.yaml")
    logs = LogFolder(tmp_path / "logs")
    made = GridOracle(grid(experiment), logs)
    made._set_project_dir(str(tmp_path), "tuner")
    made.verbose = 0
    return made, logs, experiment


def test_every_trial_is_handed_out_once(oracle: tuple[GridOracle, LogFolder, Experiment]) -> None:
    chief, _, experiment = oracle
    for expected in grid(experiment):
        trial = chief.create_trial("w1")
        assert chief.trial_of("w1") == expected
        assert chief.create_trial("w1").trial_id == trial.trial_id  # a worker that died gets its own again
        trial.status = "FAILED"
        assert not chief.done
        chief.end_trial(trial)
        chief.end_trial(trial)  # heard twice, counted once
    assert chief.done
    assert chief.create_trial("w1").status == "STOPPED"


def test_trial_of_a_lost_worker_is_handed_out_again(
    oracle: tuple[GridOracle, LogFolder, Experiment], monkeypatch: pytest.MonkeyPatch
) -> None:
    chief, logs, experiment = oracle
    now = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    logs.beat("lost", "one")
    lost = chief.create_trial("lost")
    chief.create_trial("other")
    now[0] = 59.0
    logs.beat("lost", "two")
    chief._take_back_lost_trials()
    now[0] = 118.0
    chief._take_back_lost_trials()
    assert chief.trial_of("lost") == grid(experiment)[0]
    now[0] = 120.0
    chief.create_trial("third")
    assert chief.trial_of("lost") is None
    assert chief.trial_of("third") == grid(experiment)[0]
    lost.status = "COMPLETED"
    chief.end_trial(lost)  # too late: it is another worker's
    assert not chief.ended


def test_idle_workers_wait_for_what_may_come_back(oracle: tuple[GridOracle, LogFolder, Experiment]) -> None:
    chief, _, experiment = oracle
    for i in range(len(grid(experiment))):
        chief.create_trial(f"w{i}")
    assert chief.create_trial("idle").status == "IDLE"
    assert chief.give_up("w0") == grid(experiment)[0]
    assert chief.give_up("w0") is None


# Many faults: make faults


@pytest.mark.faults
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("seed", range(int(os.environ.get("TFSGD_FAULTS", "10"))))
def test_kills_at_random_moments(reference: dict[str, Any], tmp_path: Path, seed: int) -> None:
    """Workers and sweeps die until the grid is done; every record equals the reference's."""
    chance = random.Random(seed)
    kills = {"worker": 0, "sweep": 0}
    for _ in range(40):
        sweep = Sweep(tmp_path, "--workers", "2")
        while sweep.process.poll() is None:
            try:
                sweep.process.wait(chance.uniform(2, 25))
                break
            except subprocess.TimeoutExpired:
                workers = sweep.workers()
                if workers and chance.random() < 0.6:
                    kills["worker"] += 1
                    os.kill(chance.choice(workers), signal.SIGKILL)
                else:
                    kills["sweep"] += 1
                    os.kill(sweep.process.pid, signal.SIGKILL)
        code, _, err = sweep.end()
        assert "Traceback" not in err
        if code == 0:
            break
    assert code == 0
    assert numbers(sweep.logs) == reference
    print(f"seed {seed}: {kills}")
    shutil.rmtree(sweep.logs)
