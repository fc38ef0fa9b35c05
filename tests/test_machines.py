"""Several machines at one sweep: they come, they are lost, and strangers get nothing."""

import importlib.util
import os
import pickle
import re
import shlex
import shutil
import signal
import socket
import ssl
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Config, Run
from tests.sweeps import CONFIG, TRIALS, Sweep, ended, numbers, undisturbed, wait_until_gone
from tests.synthetic import write_sweep
from tfsgd.errors import RequestError
from tfsgd.plan.reading import load_experiment
from tfsgd.sweeping.address import Address
from tfsgd.sweeping.cluster import fresh_certificate, read_certificate, security_of, write_certificate

pytestmark = pytest.mark.timeout(900)

LOOPBACK = {"127.0.0.1", "::1"}


@pytest.fixture(scope="module")
def reference(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted sweep finds whose workers have one thread each, as on hosts of one core."""
    return undisturbed(tmp_path_factory, workers=len(os.sched_getaffinity(0)))[0]


def test_addresses_are_read_or_refused() -> None:
    assert Address.parse("10.0.0.1:7070", "--join") == Address("10.0.0.1", 7070)
    assert Address.parse("host:0", "--listen") == Address("host", 0)
    for text in ("7070", "host:", ":7070", "host:seven", "host:-1", "host:70000"):
        for option in ("--listen", "--join"):
            with pytest.raises(RequestError, match=rf"{option} .*expected HOST:PORT"):
                Address.parse(text, option)
    with pytest.raises(RequestError, match="--join host:0: expected HOST:PORT"):
        Address.parse("host:0", "--join")


@pytest.mark.parametrize("state", ["dry run", "complete", "to train"])
def test_options_are_checked_before_anything_is_written(
    state: str, config: Config, run_sweep: Run, tmp_path: Path
) -> None:
    seeds, dry = (
        {"to train": [1], "complete": [0], "dry run": [0]}[state],
        ["--dry-run"][: state == "dry run"],
    )
    path = config(attacks={"fgsm": {"epsilon": [0.1]}}, seeds=seeds)
    write_sweep(tmp_path / "logs/tiny", load_experiment(path, ("seeds=[0]",)))
    before = {file: file.read_bytes() for file in (tmp_path / "logs").rglob("*") if file.is_file()}
    wrong = [
        (("--listen", "nonsense"), "--listen nonsense: expected HOST:PORT"),
        (("--join", "also"), "--join also: expected HOST:PORT"),
        (("--jobqueue", "foo"), "--jobqueue foo: expected one of slurm"),
        (("--listen", "host:1", "--join", "host:1"), "--listen, --join: expected one of them"),
    ]
    for options, message in wrong:
        code, out, err = run_sweep(path, *options, *dry)
        assert (code, out, err.count("\n")) == (2, "", 1)
        assert message in err
        assert {f: f.read_bytes() for f in (tmp_path / "logs").rglob("*") if f.is_file()} == before


def test_who_joins_where_nobody_listens_is_refused(tmp_path: Path) -> None:
    joining = Sweep(tmp_path, "--join", "127.0.0.1:7070")
    code, _, err = joining.end()
    assert (code, err.count("\n")) == (2, 1), err
    assert "no sweep has begun here; --join needs the folder of logs that both machines share" in err
    assert not joining.logs.exists()
    lonely = Sweep(tmp_path, "--workers", "1", "--listen", "256.0.0.1:7070")
    code, _, err = lonely.end()
    assert (code, err.count("\n")) == (2, 1)
    assert "256.0.0.1:7070: cannot listen there: " in err
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, _, err = Sweep(tmp_path, "--workers", "1", "--listen", f"127.0.0.1:{port}").end()
        assert (code, err.count("\n")) == (2, 1)
        assert f"127.0.0.1:{port}: cannot listen there: " in err


def test_a_certificate_is_its_users_alone(tmp_path: Path) -> None:
    path, made = tmp_path / "certificate.json", fresh_certificate()
    path.write_text("old")
    path.chmod(0o644)
    write_certificate(path, made)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_certificate(path, "--join x") == made
    assert fresh_certificate() != made
    path.write_text("{}")
    with pytest.raises(RequestError, match="no certificate"):
        read_certificate(path, "--join x")


def test_another_machine_joins_by_the_command_that_is_printed(tmp_path: Path) -> None:
    """Two sweeps that share nothing but the logs folder and a port of the loopback interface."""
    here = Sweep(tmp_path, "--workers", "1", "--listen=127.0.0.1:0")
    here.wait_for(here.folder.certificate_path.exists)
    assert stat.S_IMODE(here.folder.certificate_path.stat().st_mode) == 0o600
    assert here.process.stdout is not None
    printed = next(line for line in here.process.stdout if line.startswith("Join:"))
    words = shlex.split(printed.removeprefix("Join:"))
    assert words[:3] == ["python", "-m", "tfsgd.sweep"]
    there = Sweep(tmp_path, *words[6:])  # the config and the logs folder are the same
    assert words[3:6] == [str(here.config), "--logs", str(tmp_path)]
    assert words[-2] == "--join"
    code, out, err = here.end()
    assert (code, err) == (0, "")
    assert sorted(ended(out)) == sorted(numbers(here.logs))
    assert len(numbers(here.logs)) == TRIALS
    code, out, err = there.end()
    assert (code, err) == (0, "")
    assert 0 < len(ended(out)) < TRIALS
    assert not here.folder.certificate_path.exists()


# Strangers


class Bomb:
    """Leaves a mark where it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return Path.touch, (self.mark,)


def listening(pids: list[int]) -> list[tuple[str, int]]:
    """Where some processes listen, by the kernel's table."""
    table = subprocess.run(["ss", "-tlnpH"], capture_output=True, text=True, check=True).stdout
    found = []
    for line in table.splitlines():
        if {int(pid) for pid in re.findall(r"pid=(\d+)", line)} & set(pids):
            host, _, port = line.split()[3].rpartition(":")
            found.append((host.strip("[]").removeprefix("::ffff:"), int(port)))
    return found


def heard(port: int, says: bytes, context: ssl.SSLContext | None = None) -> bytes:
    """What a port says to a stranger; a TLS alert, which is a refusal, is nothing."""
    answer = b""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=10) as plain:
            line = context.wrap_socket(plain) if context else plain
            with line:
                line.sendall(says)
                while got := line.recv(4096):
                    answer += got
    except OSError:  # reset, alert, or nothing for 10 s
        pass
    return b"" if answer.startswith(b"\x15\x03") else answer


def test_a_stranger_gets_nothing_and_all_is_on_loopback(tmp_path: Path) -> None:
    sweep = Sweep(tmp_path, "--workers", "2", config=CONFIG | {"epochs": 500})
    sweep.wait_for_epoch()
    family = sweep.family()
    if shutil.which("ss") is None:
        pytest.skip("needs iproute2's ss")
    ports = listening(family)
    assert len(ports) == 5  # a scheduler, two nannies and two workers
    assert {host for host, _ in ports} <= LOOPBACK
    mark = tmp_path / "mark"
    bomb = pickle.dumps(Bomb(mark))
    anybody = ssl._create_unverified_context()
    other = security_of(fresh_certificate()).get_connection_args("worker")["ssl_context"]
    other.verify_mode = ssl.CERT_NONE
    for _, port in ports:
        for says in (b"GET / HTTP/1.0\r\n\r\n", len(bomb).to_bytes(8, "little") + bomb):
            for context in (None, anybody, other):
                assert heard(port, says, context) == b""
    assert not mark.exists()
    assert sweep.process.poll() is None
    sweep.interrupt(signal.SIGTERM)
    assert sweep.end()[0] == 130
    wait_until_gone(family)


def test_a_peer_is_heard(tmp_path: Path) -> None:
    """The test above can fail: with the run's certificate a port does answer."""
    sweep = Sweep(tmp_path, "--workers", "1", "--listen", "127.0.0.1:0", config=CONFIG | {"epochs": 500})
    sweep.wait_for(sweep.folder.certificate_path.exists)
    security = security_of(read_certificate(sweep.folder.certificate_path, "--join x"))
    context = security.get_connection_args("worker")["ssl_context"]
    port = sweep.wait_for(lambda: listening([sweep.process.pid]))[0][1]
    assert heard(port, b"", context)
    sweep.interrupt(signal.SIGTERM)
    assert sweep.end()[0] == 130


# Two machines, as network namespaces with a cable between them and a folder that both see


@pytest.fixture
def hosts() -> Iterator[tuple[str, str]]:
    """Two hosts, 10.77.0.1 and 10.77.0.2."""
    names = (f"tfsgd-{os.getpid()}-a", f"tfsgd-{os.getpid()}-b")
    if os.geteuid() != 0 or shutil.which("ip") is None or ip("netns", "add", names[0], check=False):
        pytest.skip("needs root, iproute2 and network namespaces")
    try:
        ip("netns", "add", names[1])
        ends = ("type", "veth", "peer", "name", "cable", "netns", names[1])
        ip("link", "add", "cable", "netns", names[0], *ends)
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


def two_machines(hosts: tuple[str, str], root: Path) -> tuple[Sweep, Sweep, str]:
    """A sweep, one that has joined it, and a trial that the second one is in the middle of.

    The second one is called before the first has trained anything, so that there is work left for it
    however fast they are.
    """
    here = Sweep(root, "--workers", "1", "--listen", "10.77.0.1:7070", host=hosts[0])
    here.wait_for(lambda: here.folder.certificate_path.exists() and here.folder.experiment_path.exists())
    there = Sweep(root, "--workers", "1", "--join", "10.77.0.1:7070", host=hosts[1])
    there.wait_for(there.workers)
    trial = there.wait_for(lambda: here.in_the_middle(there.workers()))[0]
    return here, there, trial


@pytest.mark.long
def test_a_machine_that_loses_power_stalls_nobody(
    reference: dict[str, Any], hosts: tuple[str, str], tmp_path: Path
) -> None:
    here, there, trial = two_machines(hosts, tmp_path)
    for pid in there.family():
        os.kill(pid, signal.SIGKILL)
    ip("-n", hosts[1], "link", "set", "cable", "down")
    there.end()
    code, out, err = here.end()
    assert (code, err) == (0, "")
    assert sorted(ended(out)) == sorted(reference)
    assert trial in ended(out)
    assert numbers(here.logs) == reference


@pytest.mark.long
def test_a_cut_cable_costs_no_record(
    reference: dict[str, Any], hosts: tuple[str, str], tmp_path: Path
) -> None:
    """The machine that is cut off gives up; its trial goes on elsewhere, and no record is written twice."""
    here, there, _ = two_machines(hosts, tmp_path)
    ip("-n", hosts[0], "link", "set", "cable", "down")
    recorded = here.recorded()
    code, _, err = there.end()
    gone = "error: --join 10.77.0.1:7070: the other sweep is gone; start it again, then this\n"
    assert (code, err) in ((2, gone), (0, ""))  # 0: the folder told it that the rest was done
    recorded |= here.recorded()
    code, _, err = here.end()
    assert (code, err) == (0, "")
    assert numbers(here.logs) == reference
    assert recorded.items() <= here.recorded().items()


def test_a_dashboard_without_its_library_is_refused(tmp_path: Path) -> None:
    if importlib.util.find_spec("bokeh"):
        pytest.skip("bokeh is installed")
    code, _, err = Sweep(tmp_path, "--dashboard", "0").end()
    assert (code, err) == (2, "error: --dashboard: needs bokeh; pip install bokeh\n")
