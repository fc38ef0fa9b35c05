"""One thread and op determinism for every test, tiny real data, and sweeps called as a user calls them."""

import functools
import gc
import signal
import subprocess
import sys
import textwrap
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import pytest

from tfsgd import interrupts, text
from tfsgd.data.dataset import Splits
from tfsgd.data.load import load_splits
from tfsgd.measures.spec import Measurement, Request
from tfsgd.plan import config as config_module
from tfsgd.plan.config import Experiment
from tfsgd.plan.yaml_io import to_yaml
from tfsgd.reporting.figures import style
from tfsgd.training.devices import configure_tensorflow

configure_tensorflow(threads=1)
gc.freeze()  # what is imported stays; looking at it again and again is a part of every test's time
gc.set_threshold(100_000, 50, 100)

Run = Callable[..., tuple[int, str, str]]
Config = Callable[..., Path]

PICTURES = {"DPI": style.DPI, "PDF_FONTS": style.PDF_FONTS}
WAITING = [
    f"tests/test_{name}.py" for name in ("workers", "machines", "worker_pool", "ends", "worker_options")
]
LONGEST = [f"tests/test_{name}.py" for name in ("sweep", "readme", "rules", "train", "extensions", "results")]

TINY: dict[str, Any] = {
    "name": "tiny",
    "dataset": "fashion_mnist",
    "model": "stdcnn",
    "epochs": 1,
    "batch_sizes": [64],
    "seeds": [0],
    "regimes": {
        "LR": {"learning_rate": 0.01, "momentum": [0.0, 0.9]},
        "LR/BS": {"ratio": 0.00015625, "momentum": [0.0]},
    },
    "attacks": {"fgsm": {"epsilon": [0.1]}, "pgd": {"epsilon": [0.1], "steps": 2, "relative_step_size": 0.5}},
    "hessian": {"examples": 64, "max_iterations": 3, "tolerance": 0.5},
    "export": False,
    "train_examples": 200,
    "validation_examples": 50,
    "test_examples": 50,
}


@pytest.fixture(scope="session")
def splits() -> Splits:
    """Fashion-MNIST, from wherever the machine has it."""
    return load_splits("fashion_mnist")


@pytest.fixture(autouse=True, scope="session")
def _fashion_mnist_is_read_once() -> Iterator[None]:
    """Reading and hashing 70,000 images takes 0.7 s, which each of 200 sweeps would spend."""
    splits, read = Experiment.splits, functools.cache(load_splits)

    def kept(self: Experiment, data_folder: Path | None = None) -> Splits:
        usual = (self.dataset, data_folder, self.data_dir, self.own_data) == (
            "fashion_mnist",
            None,
            None,
            None,
        )
        if not usual or vars(config_module)["load_splits"] is not load_splits:
            return splits(self, data_folder)
        return self.cut(read("fashion_mnist"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Experiment, "splits", kept)
        yield


@pytest.fixture
def float64() -> Iterator[None]:
    """Networks in double precision, for finite differences."""
    keras.config.set_floatx("float64")
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_floatx("float32")
    keras.config.set_dtype_policy("float32")


def mounted(folder: Path, size: str) -> Iterator[Path]:
    """A real file system of its own, of a size in the words of `mount`, until it is no longer needed."""
    folder.mkdir()
    disk = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True
    )
    if disk.returncode:
        pytest.skip("mounting a small file system needs root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture(autouse=True, scope="session")
def _small_pictures() -> Iterator[None]:
    """Half of a report's time is in pixels and fonts that no test looks at."""
    with pytest.MonkeyPatch.context() as small:
        small.setattr(style, "DPI", 50)
        small.setattr(style, "PDF_FONTS", 3)
        yield


@pytest.fixture
def real_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a report has them."""
    for name, value in PICTURES.items():
        monkeypatch.setattr(style, name, value)


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Writes a config like TINY with some keys changed; a value of `None` leaves its key out."""

    def write(**changes: Any) -> Path:
        merged = {key: value for key, value in (TINY | changes).items() if value is not None}
        path = tmp_path / "config.yaml"
        path.write_text(to_yaml(merged))
        return path

    return write


@pytest.fixture
def module(tmp_path: Path) -> Callable[[str], str]:
    """Writes a module of a new name beside the config; returns the name."""

    def write(text: str) -> str:
        name = f"own_{uuid.uuid4().hex}"
        (tmp_path / f"{name}.py").write_text(textwrap.dedent(text))
        return name

    return write


@pytest.fixture
def own_config(config: Callable[..., Path]) -> Callable[..., Path]:
    """A config that 8x8 images fit."""
    small = {"batch_sizes": [16], "train_examples": None, "validation_examples": None, "test_examples": None}

    def write(**changes: Any) -> Path:
        return config(
            **(small | {"hessian": {"examples": 20, "max_iterations": 3, "tolerance": 0.5}} | changes)
        )

    return write


@pytest.fixture
def run_sweep(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Runs the command in this process: (exit code, standard output, standard error)."""
    from tfsgd import sweep
    from tfsgd.sweeping import run as running

    monkeypatch.setattr(running, "send_native_logs_to", lambda path: None)

    def run(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        command = ["sweep", "--workers", "1", "--logs", str(tmp_path / "logs"), *map(str, arguments)]
        monkeypatch.setattr(sys, "argv", command)
        with pytest.raises(SystemExit) as ended:
            sweep.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return run


@pytest.fixture
def ctrl_c() -> Iterator[Callable[[], None]]:
    """Ctrl-C as the terminal sends it: a KeyboardInterrupt without the signal is one of somebody's own code."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # where it was ignored, as by `nohup`
    yield lambda: signal.raise_signal(signal.SIGINT)
    interrupts.listen()  # which forgets it
    signal.signal(signal.SIGINT, before)


@dataclass
class Work:
    """What was really done, in order."""

    trained: list[str] = field(default_factory=list)  # trials, once their training has ended
    measured: list[tuple[str, float | None]] = field(
        default_factory=list
    )  # (label, epsilon), once it is there


@pytest.fixture
def tests_are_tfsgd(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is raised here would be taken for code of one's own, whose every exception is a failure."""
    monkeypatch.setattr(text, "_INSTALLED", (*text._INSTALLED, str(Path(__file__).parent)))


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> Work:
    """Notes every training and every measurement of a sweep in this process."""
    from tfsgd.training.train import train
    from tfsgd.trials import trial

    done = Work()

    def counted_train(*arguments: Any) -> Any:
        trained = train(*arguments)
        folder: Path = arguments[4]
        done.trained.append(f"{folder.parent.name}/{folder.name}")
        return trained

    measure_on = Request.measure_on

    def counted_measure(request: Request, subject: Any) -> Measurement:
        found = measure_on(request, subject)
        done.measured.append((found.label, found.epsilon))
        return found

    monkeypatch.setattr(trial, "train", counted_train)
    monkeypatch.setattr(Request, "measure_on", counted_measure)
    return done


@pytest.fixture
def run_measure(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process: (exit code, standard output, standard error)."""
    from tfsgd import measure
    from tfsgd.sweeping import run

    for module in (measure, run):
        monkeypatch.setattr(module, "send_native_logs_to", lambda path: None)

    def call(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["measure", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            measure.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks what stands in long.txt. Files that wait for what is gone come first, so that others have the cores; then the longest."""
    first, long = [*WAITING, *LONGEST], Path(__file__).with_name("long.txt").read_text().splitlines()
    for item in items:
        if item.nodeid.removeprefix("tests/") in long:
            item.add_marker(pytest.mark.long)

    def place(item: pytest.Item) -> int:
        file = item.nodeid.partition("::")[0]
        return first.index(file) if file in first else len(first)

    items.sort(key=place)


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many hostile attempts and kills there were, by class; in a run of one process."""
    from tests.hostile import REFUSED, SURVIVED
    from tests.sweeps import KILLS

    for what in dict.fromkeys([*REFUSED, *SURVIVED]):
        refused, survived = REFUSED[what], SURVIVED[what]
        line = f"{what}: {refused + survived:,} attempts, {refused:,} refused, {survived:,} survived"
        terminalreporter.write_line(line)
    for what in sorted(KILLS):
        terminalreporter.write_line(f"{what}: {KILLS[what]:,}")
