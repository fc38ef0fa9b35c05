"""Who may work for a sweep, and what of the machine's and the user's own settings its worker pool takes: next to nothing."""

import asyncio
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import patch

import keras
import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import TINY, Config, Run
from tests.own import refusal
from tests.sweeps import Sweep
from tests.synthetic import experiment, write_sweep
from tfsgd import command
from tfsgd.errors import RequestError
from tfsgd.networks.load_network import load_network
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid
from tfsgd.plan.yaml_io import to_yaml
from tfsgd.records.folder import LogFolder, stored_network
from tfsgd.records.lease import locked
from tfsgd.source_hash import running
from tfsgd.sweeping import jobs, tuner
from tfsgd.sweeping.address import Address
from tfsgd.sweeping.cluster import fresh_certificate, read_certificate, write_certificate
from tfsgd.sweeping.worker_registry import WorkerRegistry
from tfsgd.training.provenance import versions


def changed(logs: LogFolder, key: str, value: Any) -> None:
    path = logs.tuner_path / "code.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {key: value}))


@pytest.mark.parametrize("key", [*running(), "my_nets:small", "a library of theirs"])
def test_a_worker_of_another_version_or_code_is_refused_by_what_differs(key: str, tmp_path: Path) -> None:
    (tmp_path / "my_nets.py").write_text("def small(): ...")
    of = experiment().model_copy(update={"own_code": ("my_nets:small",), "code_dir": str(tmp_path)})
    logs = LogFolder(tmp_path / "s")
    logs.write_plan(of)
    logs.refuse_other_code(of)
    if key == "my_nets:small":
        (tmp_path / "my_nets.py").write_text("def small(): return 1")
    else:
        changed(logs, key, "0.0")
    told = refusal(lambda: logs.refuse_other_code(of))
    assert f"{logs.path}: {key}: the sweep there runs " in told
    (logs.tuner_path / "code.json").unlink()  # as versions before had it
    assert "another version" in refusal(lambda: logs.refuse_other_code(of))


def test_who_joins_with_another_version_is_refused_before_it_works(
    config: Config, run_sweep: Run, tmp_path: Path
) -> None:
    of = load_experiment(config())
    logs = LogFolder(write_sweep(tmp_path / "logs/tiny", of))
    logs.write_plan(of)
    changed(logs, "tfsgd", "0.8.1")
    code, out, err = run_sweep(tmp_path / "config.yaml", "--join", "127.0.0.1:7070")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert "tfsgd: the sweep there runs '0.8.1'" in err
    code, _, err = run_sweep(tmp_path / "config.yaml", "--join", "127.0.0.1:٧٠٧٠", "--dry-run")
    assert (code, err.count("\n")) == (2, 1)
    assert "expected HOST:PORT" in err


def test_provenance_is_of_what_runs_and_not_of_what_was_installed_since(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(keras, "__version__", "9.9.9")
    assert versions()["keras"] == "9.9.9"


@given(st.text(min_size=1, max_size=5))
def test_a_port_is_of_the_digits_0_to_9(text: str) -> None:
    try:
        port = Address.parse(f"host:{text}", "--join").port
    except RequestError:
        return
    assert text.encode().isdigit()
    assert port == int(text)


@settings(deadline=None)
@given(st.integers(0, 0o777))
def test_a_certificate_that_others_may_read_or_write_is_refused(
    tmp_path_factory: pytest.TempPathFactory, mode: int
) -> None:
    path = tmp_path_factory.mktemp("c") / "certificate.json"
    write_certificate(path, fresh := {"key": "a", "certificate": "b"})
    path.chmod(mode)
    if mode & 0o077:
        assert "nobody else can read or write" in refusal(lambda: read_certificate(path, "--join x"))
    elif mode & 0o400:
        assert read_certificate(path, "--join x") == fresh


def test_a_certificate_that_is_a_link_or_a_fifo_is_refused(tmp_path: Path) -> None:
    write_certificate(tmp_path / "real", fresh_certificate())
    (tmp_path / "link").symlink_to(tmp_path / "real")
    os.mkfifo(tmp_path / "fifo", 0o600)
    for name in ("link", "fifo"):
        assert "no regular file" in refusal(partial(read_certificate, tmp_path / name, "--join x"))


def test_the_engine_takes_nothing_of_the_users_dask_but_what_is_said_of_batch_systems(tmp_path: Path) -> None:
    home = tmp_path / ".config/dask"
    home.mkdir(parents=True)
    (home / "mine.yaml").write_text(
        "distributed: {comm: {retry: {count: 7}}}\njobqueue: {slurm: {cores: 3, memory: 1GB}}\n"
    )
    code = (
        "import dask, os; from tfsgd.sweeping import cluster; from tfsgd.sweeping.jobs import job_maker\n"
        "from pathlib import Path; job_maker('slurm', Path('x'))\n"
        "get = dask.config.get; print(get('distributed.comm.retry.count'), get('distributed.admin.tick.limit'),"
        "get('jobqueue.slurm.cores'), get('jobqueue.slurm.walltime'), [n for n in os.environ if n.startswith('DASK')])"
    )
    environment = os.environ | {"HOME": str(tmp_path), "DASK_DISTRIBUTED__ADMIN__TICK__LIMIT": "99s"}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment)
    assert done.stdout.split(maxsplit=4)[:4] == ["0", "3s", "3", "00:30:00"], done.stderr
    assert done.stdout.rstrip().endswith("[]")


@pytest.mark.long
def test_what_is_odd_in_the_users_dask_does_nothing_and_what_is_malformed_is_named(tmp_path: Path) -> None:
    path = tmp_path / ".config/dask/mine.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("distributed: [unclosed\n")
    variables = {
        "DASK_DISTRIBUTED__WORKER": "{]",
        "DASK_TEMPORARY_DIRECTORY": "/dev/null",
        "DASK_CONFIG": "/dev/null",
    }
    environment = variables | {"HOME": str(tmp_path)}
    config = TINY | {"regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.9]}}}
    alone = Sweep(tmp_path, "--workers", "1", config=config, environment=environment)
    assert alone.end()[::2] == (0, "")  # it needs no Dask
    write_certificate(alone.folder.certificate_path, fresh_certificate())
    recorded, more = alone.recorded(), config | {"seeds": [0, 1, 2]}
    for wanted, options in ((config, "--join=127.0.0.1:1"), (more, "--jobqueue=sge"), (more, "--workers=2")):
        code, _, err = Sweep(tmp_path, options, config=wanted, environment=environment).end()
        assert (code, err.count("\n")) == (2, 1), err
        assert err.startswith(f"error: A dask config file at '{path}' is malformed, ")
    path.write_text("distributed: {scheduler: 7, worker: nonsense, comm: {timeouts: {connect: 1us}}}\n")
    two = Sweep(tmp_path, "--workers=2", config=more, environment=environment)
    assert two.end()[::2] == (0, "")
    assert recorded.items() <= two.recorded().items()
    assert len(two.recorded()) == 3


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that another user can read and write; those of pytest are this user's alone."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        yield Path(folder)


@pytest.mark.parametrize(("workers", "processes"), [(1, 12), (2, 40)])
def test_fewer_processes_than_workers_need_are_a_line(workers: int, processes: int, everybodys: Path) -> None:
    """TensorFlow would abort without a word; of root no limit is held."""
    if os.geteuid() or not shutil.which("setpriv") or not shutil.which("prlimit"):
        pytest.skip("needs root, setpriv and prlimit")
    kept = "-all,+dac_override,+dac_read_search"  # the folders of the interpreter and of this test
    capabilities = [f"--{name}={kept}" for name in ("inh-caps", "ambient-caps", "bounding-set")]
    another = ["setpriv", "--reuid=54321", "--regid=54321", "--clear-groups", *capabilities]
    config = everybodys / "config.yaml"
    config.write_text(to_yaml(TINY))
    sweep = [sys.executable, "-m", "tfsgd.sweep", str(config), f"--logs={everybodys}", f"--workers={workers}"]
    done = subprocess.run(
        [*another, "prlimit", f"--nproc={processes}", *sweep],
        capture_output=True,
        text=True,
        env=os.environ | {"OPENBLAS_NUM_THREADS": "1"},
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert done.stderr.startswith(f"error: --workers {workers}: needs about ")
    assert f"(ulimit -u: {processes})" in done.stderr
    assert not list(everybodys.glob("tiny/trials/*"))


def test_a_thread_that_cannot_start_is_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    app = typer.Typer()

    @app.command()
    def drawn() -> None:
        raise RuntimeError("can't start new thread")

    with patch.object(sys, "argv", ["report"]):
        assert command.outcome(app, "tfsgd report", "interrupted") == command.WRONG_REQUEST
    assert capsys.readouterr().err == (
        "error: tfsgd report: can't start new thread; raise the limit of processes (ulimit -u)\n"
    )


def test_a_second_sweep_is_refused_also_where_the_lock_was_deleted(tmp_path: Path) -> None:
    with locked(tmp_path):
        (tmp_path / ".lock").unlink()
        assert "another sweep is at work there" in refusal(lambda: locked(tmp_path).__enter__())
    with locked(tmp_path):
        pass


def test_a_batch_system_that_never_answers_is_given_up_and_said(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, seconds in (("ANSWER_SECONDS", 0.05), ("GONE_SECONDS", 0.0), ("AGAIN_SECONDS", 0.0)):
        monkeypatch.setattr(jobs, name, seconds)

    async def silent() -> str | None:
        job = SimpleNamespace(start=lambda: asyncio.sleep(1000), close=lambda: asyncio.sleep(0))
        asked = jobs.Jobs(lambda scheduler, name: job, "tls://x", 1, WorkerRegistry())
        await asyncio.wait(asked._kept, timeout=20)
        await asked.close()
        return asked.refusal

    assert asyncio.run(silent()) == (
        "--jobqueue: no job was taken: its command has not returned within 0.05 seconds"
    )


def test_a_logs_folder_that_is_deleted_ends_the_sweep_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of = experiment(seeds=[0, 1])
    logs = LogFolder(write_sweep(tmp_path / "s", of))
    begun = []

    def gone(trial: Any, context: Any) -> Any:
        begun.append(trial)
        shutil.rmtree(logs.path)
        logs.tuner_path.mkdir(parents=True)  # a worker writes there again

    monkeypatch.setattr(tuner, "attempt", gone)
    told = refusal(lambda: tuner.search(grid(of)[:2], SimpleNamespace(logs=logs)))  # type: ignore[arg-type]
    assert f"{logs.path}: it was removed while the sweep ran" in told
    assert len(begun) == 1


@pytest.mark.parametrize("kind", ["fifo", "socket", "device"])
def test_what_is_no_file_is_refused_at_once_where_a_network_is_to_be(kind: str, tmp_path: Path) -> None:
    (tmp_path / "saved").mkdir()
    (tmp_path / "saved/saved_model.pb").touch()
    (tmp_path / "manifest.json").write_text('{"sha256": {"model.keras": "x"}}')
    with socket.socket(socket.AF_UNIX) as bound:
        for path in (tmp_path / "model.keras", tmp_path / "saved/x"):
            if kind == "fifo":
                os.mkfifo(path)
            elif kind == "device":
                path.symlink_to("/dev/zero")
            elif path.name == "x":
                path.symlink_to(tmp_path / "model.keras")
            else:
                bound.bind(str(path))
        for do in (
            lambda: load_network(tmp_path / "model.keras"),
            lambda: load_network(tmp_path / "saved"),
            lambda: stored_network(tmp_path),
        ):
            assert "found what is not a regular file" in refusal(do)
