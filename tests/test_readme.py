"""The commands of README, and of the pages of docs/ that continue it, are real."""

import re
import shlex
import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid

TEXT = Path("README.md").read_text()
CONTINUED = [
    Path(f"docs/{name}.md").read_text()
    for name in ("method", "measuring-networks", "add-your-own", "clusters-and-gpus", "float32-and-fgsm")
]
ALL = "\n".join([TEXT, *CONTINUED])
BLOCKS = re.findall(r"```sh\n(.*?)```", ALL, re.S)
COMMANDS = list(dict.fromkeys(line for block in BLOCKS for line in block.splitlines()))  # each once


@pytest.mark.parametrize("command", [c for c in COMMANDS if "tfsgd.sweep" in c])
def test_sweep_commands_have_a_grid(command: str) -> None:
    words = shlex.split(command)
    config = next(word for word in words if word.endswith(".yaml"))
    assert grid(load_experiment(Path(config), overrides_of(command), quick="--quick" in words))


def overrides_of(command: str) -> tuple[str, ...]:
    """What a command line says after each `--set`."""
    words = shlex.split(command)
    return tuple(word for word, before in zip(words[1:], words, strict=False) if before == "--set")


def test_make_targets_exist() -> None:
    makefile = Path("Makefile").read_text() + "".join(p.read_text() for p in Path().glob("*/*.mk"))
    targets = {word.split()[1] for word in COMMANDS if word.startswith("make ")}
    assert targets
    for target in targets:
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_files_that_it_names_exist() -> None:
    for name in re.findall(r"`((?:tfsgd|configs|tests|docs|bench)/[\w./-]*)`", ALL):
        assert Path(name).exists(), name


PAGES = [
    Path("README.md"),
    Path("CONTRIBUTING.md"),
    *sorted(Path("docs").rglob("*.md")),
    *Path("bench").glob("*.md"),
]


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_what_a_page_tells_to_run_is_there(page: Path) -> None:
    """Modules, test files and make targets, in blocks and in the text."""
    text = page.read_text()
    makefile = Path("Makefile").read_text() + "".join(p.read_text() for p in Path().glob("*/*.mk"))
    said = re.findall(r"```.*?```|`[^`\n]+`", text, re.S)
    code = "\n".join(said)
    for module in set(re.findall(r"python -m ((?:tfsgd|tests|bench|scripts)[\w.]*)", code)):
        assert find_spec(module), module
    for name in set(re.findall(r"\b(?:tests|configs|examples)/[\w/-]+\.\w+", code)):
        assert Path(name).is_file(), name
    for target in set(re.findall(r"(?:^|`)make ([a-z][\w-]*)", code, re.M)):
        assert re.search(rf"^{target}:", makefile, re.M), target


def test_a_page_of_other_commands_is_noticed(tmp_path: Path) -> None:
    for wrong in ("`python -m tfsgd.sweeep x`", "```\nmake everything\n```", "`tests/test_nothing.py`"):
        page = tmp_path / "page.md"
        page.write_text(f"Type {wrong}.\n")
        with pytest.raises(AssertionError):
            test_what_a_page_tells_to_run_is_there(page)


def test_the_regime_that_it_adds_is_one() -> None:
    override = re.search(r"--set '(regimes\.[^']+)'", TEXT)
    assert override
    experiment = load_experiment(Path("configs/fmnist_stdcnn.yaml"), (override[1],))
    assert "LR-0.1" in experiment.regimes


# Commands and lines that measure


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the commands name; the sweep's networks are trained on few images."""
    from tfsgd import sweep
    from tfsgd.sweeping import run

    folder = tmp_path_factory.mktemp("home")
    for name in ("configs", "docs"):
        (folder / name).symlink_to(Path(name).resolve())
    few = [
        "epochs=1",
        "train_examples=500",
        "validation_examples=50",
        "test_examples=200",
        "batch_sizes=[32]",
    ]
    few += ["attacks.fgsm.examples=50", "attacks.pgd.examples=50", "attacks.pgd.steps=2"]
    few += ["attacks.minimal.examples=50", "attacks.minimal.steps=10"]
    few += ["regimes={LR: {learning_rate: 0.01, momentum: [0.0, 0.9]}}", "hessian.examples=50"]
    words = ["sweep", "configs/fmnist_stdcnn.yaml", "--quick", "--workers", "1"]
    words += [word for text in few for word in ("--set", text)]
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr(sys, "argv", words)
        patch.setattr(run, "send_native_logs_to", lambda path: None)
        with pytest.raises(SystemExit) as ended:
            sweep.main()
    assert ended.value.code == 0
    trial = folder / "logs/fmnist_stdcnn-quick/trials/lr/b0032-m0.9-s0"
    shutil.copy(trial / "model.keras", folder / "my_network.keras")
    shutil.copytree(trial / "saved_model", folder / "my_saved_model")
    (folder / "my_layers.py").write_text("import keras\n")
    return folder


@pytest.mark.parametrize("command", [c for c in COMMANDS if "tfsgd.measure" in c and "net.pt" not in c])
def test_measure_commands_measure(command: str, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As they stand, but of a file on fewer images."""
    from tfsgd import measure
    from tfsgd.sweeping import run

    for module in (measure, run):
        monkeypatch.setattr(module, "send_native_logs_to", lambda path: None)
    words = shlex.split(command)[2:]
    few = ["test_examples=30", "hessian.examples=30"]
    few += [
        f"attacks.{label}.examples=30"
        for label in ("fgsm", "pgd", "minimal")
        if "--config" in words or label in command
    ]
    if not words[1].startswith("logs/"):
        words += [word for text in few for word in ("--set", text)]
    words += ["--set", "curvature.trace.probes=6"] if "trace" in command else []
    monkeypatch.chdir(home)
    monkeypatch.setattr(sys, "argv", [*words, "--workers", "1"])
    with pytest.raises(SystemExit) as ended:
        measure.main()
    assert ended.value.code == 0
    if "--out" in words:
        assert (home / "measured.json").is_file()
        assert (home / "measured.png").is_file()


def test_the_lines_from_python_run(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    import matplotlib

    matplotlib.use("Agg")
    blocks = [block for block in re.findall(r"```python\n(.*?)```", TEXT, re.S) if "import tfsgd" in block]
    lines, of_the_zoo = blocks
    published: dict[str, Any] = {}
    exec(of_the_zoo, published)  # in the checkout, whose networks they are
    assert published["model"].output_shape == (None, 10)
    monkeypatch.chdir(home)
    names: dict[str, Any] = {}
    exec(lines, names)
    assert 0 <= names["outcome"].correct.mean() <= 1
    assert names["outcome"].images.shape == (500, 28, 28, 1)
    assert names["top"].converged
    assert len(names["table"]) == 2
    assert "eigenvalue" in capsys.readouterr().out
