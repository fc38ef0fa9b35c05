"""Workers that a batch system starts, with a stand-in for SLURM's commands."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.sweeps import CONFIG, SECONDS, TRIALS, Sweep, alive, ended, numbers, wait_until_gone
from tfsgd.errors import RequestError
from tfsgd.plan.yaml_io import to_yaml
from tfsgd.sweeping.jobs import QUEUES, Jobs, job_maker

pytestmark = pytest.mark.timeout(900)

SBATCH = """#!/bin/sh
# SLURM's answer, and the script at once, as a process group of its own
setsid sh "$1" >>"$STAND_IN/out" 2>&1 &
echo $! >>"$STAND_IN/jobs"
cp "$1" "$STAND_IN/script-$!"
echo "Submitted batch job $!"
"""
SCANCEL = """#!/bin/sh
kill -TERM -"$1"
"""
JOBQUEUE = """
jobqueue:
  slurm:
    cores: 1
    memory: 2GB
    queue: long
    account: robust
    walltime: '24:00:00'
"""


@pytest.fixture
def slurm(tmp_path: Path) -> dict[str, str]:
    """An environment in which SLURM's commands and a configuration of it are found, and an empty home."""
    folder = tmp_path / "slurm"
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "scancel": SCANCEL}.items():
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    (folder / "config").mkdir()
    (folder / "config/jobqueue.yaml").write_text(JOBQUEUE)
    (folder / "home").mkdir()
    return {
        "PATH": f"{folder}:{os.environ['PATH']}",
        "STAND_IN": str(folder),
        "DASK_CONFIG": str(folder / "config"),
        "HOME": str(folder / "home"),
    }


def jobs(slurm: dict[str, str]) -> list[int]:
    """The process groups of the jobs so far, in order."""
    path = Path(slurm["STAND_IN"]) / "jobs"
    return [int(word) for word in path.read_text().split()] if path.exists() else []


@pytest.mark.long
def test_jobs_work_and_one_that_reaches_its_walltime_is_followed_by_another(
    slurm: dict[str, str], tmp_path: Path
) -> None:
    config = CONFIG | {"seeds": [0]}
    sweep = Sweep(
        tmp_path, "--jobqueue", "slurm", "--workers", "1", "--listen", "127.0.0.1:0",
        config=config, environment=slurm,
    )  # fmt: skip
    sweep.wait_for_epoch(2)
    [first] = jobs(slurm)
    script = (Path(slurm["STAND_IN"]) / f"script-{first}").read_text()
    for line in ("#SBATCH -p long", "#SBATCH -A robust", "#SBATCH -t 24:00:00", "#SBATCH --mem=2G"):
        assert line in script
    assert "BEGIN" not in script  # no key in a script that others can read
    os.killpg(first, signal.SIGTERM)
    sweep.wait_for(lambda: len(jobs(slurm)) == 2)
    code, out, err = sweep.end()
    assert (code, err) == (0, ""), out
    assert len(ended(out)) == 2
    until = time.monotonic() + 30
    while any(map(alive, jobs(slurm))) and time.monotonic() < until:
        time.sleep(0.1)
    wait_until_gone(jobs(slurm))
    stand_in = Path(slurm["STAND_IN"])
    assert not list((stand_in / "home").rglob("*dask*"))
    assert [path.name for path in (stand_in / "config").iterdir()] == ["jobqueue.yaml"]
    alone = Sweep(tmp_path / "alone", "--workers", "1", config=config)  # as many threads as the job had
    assert alone.end()[0] == 0
    assert {name: r["history"] for name, r in numbers(sweep.logs).items()} == {
        name: r["history"] for name, r in numbers(alone.logs).items()
    }


def test_a_batch_system_that_takes_no_job_is_said_in_a_line(slurm: dict[str, str], tmp_path: Path) -> None:
    (Path(slurm["STAND_IN"]) / "sbatch").write_text("#!/bin/sh\necho 'invalid account' >&2; exit 1\n")
    sweep = Sweep(tmp_path, "--jobqueue", "slurm", "--listen", "127.0.0.1:0", environment=slurm)
    code, _, err = sweep.end()
    assert (code, err.count("\n")) == (2, 1)
    assert "--jobqueue: no job was taken: " in err
    assert "invalid account" in err


@pytest.mark.long
def test_one_refused_job_ends_no_sweep(slurm: dict[str, str], tmp_path: Path) -> None:
    stand_in = Path(slurm["STAND_IN"])
    only_one = 'if [ -e "$STAND_IN/jobs" ]; then echo "one job at a time" >&2; exit 1; fi\n'
    (stand_in / "sbatch").write_text(SBATCH.replace("setsid", only_one + "setsid", 1))
    sweep = Sweep(
        tmp_path, "--jobqueue", "slurm", "--workers", "2", "--listen", "127.0.0.1:0",
        config=CONFIG | {"seeds": [0]}, environment=slurm,
    )  # fmt: skip
    code, out, err = sweep.end()
    assert (code, err.count("\n")) == (0, 1), err
    assert err.startswith("warning: --jobqueue: no job was taken: ")
    assert "one job at a time" in err
    assert len(ended(out)) == 2
    wait_until_gone(jobs(slurm))


@pytest.mark.parametrize(
    ("answers", "taken", "is_over"), [("t.ttt", 4, False), ("t....", 1, True), ("....", 0, True)]
)
def test_a_batch_system_is_asked_again_once_it_has_taken_a_job(
    answers: str, taken: int, is_over: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`t`: it takes a job, which ends at once; `.`: it takes none. Then it takes none for ever."""
    asked = iter(answers)
    started: list[str] = []

    class Job:
        job_id = "1"

        def __init__(self, scheduler: str, name: str) -> None:
            self.name = name

        async def start(self) -> None:
            answer = next(asked, None)
            if answer is None and not is_over:
                await asyncio.sleep(60)
            if answer != "t":
                raise RuntimeError("busy")
            started.append(self.name)
            registry.known.add(f"{self.name}-0")

        async def close(self) -> None: ...

    registry = SimpleNamespace(known=set(), names={})
    for name in ("LOOK_SECONDS", "GONE_SECONDS", "AGAIN_SECONDS"):
        monkeypatch.setattr(f"tfsgd.sweeping.jobs.{name}", 0.001)
    monkeypatch.setattr("tfsgd.sweeping.jobs.MOST_REFUSALS", 3)

    async def watch() -> bool:
        made = Jobs(Job, "tls://127.0.0.1:1", 1, registry)  # type: ignore[arg-type]
        until = time.monotonic() + 1
        while not made.have_ended and time.monotonic() < until:
            await asyncio.sleep(0.005)
        await made.close()
        return made.have_ended

    assert asyncio.run(watch()) is is_over
    assert len(started) == taken


def test_what_is_missing_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RequestError, match="--jobqueue lfs: expected one of slurm, pbs, lsf, sge"):
        job_maker("lfs", tmp_path)
    for queue in QUEUES:
        with pytest.raises(RequestError, match=rf"set jobqueue\.{queue}\.cores, memory"):
            job_maker(queue, tmp_path)
    code, _, err = Sweep(tmp_path, "--jobqueue", "slurm", "--join", "127.0.0.1:1").end()
    assert code == 2
    assert "--jobqueue, --join: expected one of them" in err


@pytest.mark.parametrize("queue", QUEUES)
def test_every_batch_system_starts_our_workers(
    queue: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import dask
    import dask_jobqueue  # noqa: F401  # what it adds to Dask's configuration stays, then

    job_told = {"cores": 4, "memory": "8GB", "processes": 2}
    with dask.config.set({f"jobqueue.{queue}.{key}": value for key, value in job_told.items()}):
        script = job_maker(queue, tmp_path)("tls://10.0.0.1:7070", "tfsgd-0").job_script()
    assert " -m tfsgd.sweeping.job_entrypoint tls://10.0.0.1:7070 --name tfsgd-0 " in script
    assert f"--logs {tmp_path} --nworkers 2" in script


SRUN = """#!/bin/sh
SLURM_PROCID=0 "$@" & first=$!
SLURM_PROCID=1 "$@"
second=$?
wait $first && exit $second
"""


@pytest.mark.long
def test_the_script_for_slurm_works_as_it_is(slurm: dict[str, str], tmp_path: Path) -> None:
    """On two machines that are one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    srun = Path(slurm["STAND_IN"]) / "srun"
    srun.write_text(SRUN)
    srun.chmod(0o755)
    (tmp_path / "config.yaml").write_text(to_yaml(CONFIG))
    environment = os.environ | slurm | {"PYTHON": sys.executable, "LISTEN": f"127.0.0.1:{port}"}
    command = [
        "sh",
        "examples/slurm.sh",
        str(tmp_path / "config.yaml"),
        "--logs",
        str(tmp_path),
        "--workers",
        "1",
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=SECONDS)
    assert done.returncode == 0, done.stderr
    assert len(numbers(tmp_path / "tiny")) == TRIALS
    assert len(ended(done.stdout)) > TRIALS  # some were told by both
