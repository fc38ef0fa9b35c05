"""The house: every heavy dependency has one home, and imports only go down."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path("tfsgd")

# From the roof to the foundation: a file imports from floors below its own, or from its own folder.
FLOORS = (
    ("cli",),
    ("sweep", "measure", "report", "barriers", "export", "api"),
    ("loss_surface",),
    ("command",),
    ("sweeping", "reporting"),
    ("trials",),
    ("terminal",),
    ("training",),
    ("records",),
    ("plan",),
    ("networks",),
    ("measures",),
    ("data", "models"),
    ("source_hash", "environment"),
    ("errors", "fields"),
    ("text",),
    ("",),  # the package itself: its version, what must be in the environment, how a command's start is ended
    ("interrupts", "imports"),
)

# The same inside the report; a file of its folder that is no room is a floor of its own.
ROOMS = ("page", "figures", "claims", "table", "statistics", "paper")

# Package -> the only folders and files that import it, also inside functions.
HOMES = {
    "tensorflow": {
        "networks",
        "training",
        "trials/keep_network",
        "trials/tensorboard",
        "sweeping/allocation",
    },
    "keras": {
        "networks/float64",
        "networks/head",
        "networks/training_mode",
        "networks/load_network",
        "models",
        "training",
        "trials/keep_network",
    },
    "ruamel": {"plan/yaml_io"},
    "pydantic": {"fields", "measures", "plan", "records"},
    "torch": {
        "networks/torch_network",
        "networks/torch_victim",
        "networks/torch_hessian",
        "networks/torch_losses",
    },
    "tensorflow_datasets": {"data/tfds"},
    "cleverhans": {"networks/compiled_victim"},
    "keras_tuner": {"sweeping/tuner"},
    "dask": {"sweeping/cluster", "sweeping/jobs"},
    "distributed": {"sweeping"},
    "dask_jobqueue": {"sweeping/jobs"},
    "tensorboard": {"trials/tensorboard"},
    "typer": {"cli", "command", "sweep", "measure", "report", "barriers", "export"},
    "rich": {"report", "terminal"},
    "matplotlib": {"reporting", "trials/pictures"},
    "pandas": {"reporting", "api"},  # api: for types alone
    "pyarrow": {"reporting/page/output_files"},
    "jinja2": {"reporting/page/page"},
}

FILES = sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    """Where a file is in the house: `plan/config`, or `plan` for the folder's own `__init__`."""
    inside = path.relative_to(PACKAGE).with_suffix("")
    return str(inside.parent if inside.name == "__init__" else inside).removeprefix(".")


def imports(path: Path, also_for_types: bool = True) -> Iterator[str]:
    """Full names of what a file imports, wherever in it: `from tfsgd import x` is `tfsgd.x`."""
    tree = ast.parse(path.read_text())
    for_types = {
        inside
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inside in ast.walk(node)
    }
    for node in ast.walk(tree):
        if not also_for_types and node in for_types:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            assert node.module
            if node.module.split(".")[0] == "tfsgd" and node.module.count(".") < 2:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            else:
                yield node.module


def floor(name: str) -> int:
    """The floor of a place; names of objects inside a file have the floor of the file."""
    top = name.split("/")[0].split(".")[0]
    found = [level for level, names in enumerate(FLOORS) if top in names]
    return found[0] if found else len(FLOORS) - 1


@pytest.mark.parametrize("path", FILES, ids=str)
def test_imports_only_go_down(path: Path) -> None:
    here = place(path)
    if (
        here == ""
    ):  # it hands out the names of `tfsgd.api`, imported when asked for, and ends what is starting
        assert {m for m in imports(path) if m.startswith("tfsgd")} == {"tfsgd.api", "tfsgd.interrupts"}
        return
    for module in imports(path):
        if module == "tfsgd" or module.startswith("tfsgd."):
            below = module.removeprefix("tfsgd").removeprefix(".")
            same_folder = "/" in here and below.split(".")[0] == here.split("/")[0]
            assert same_folder or floor(here) < floor(below), f"{here} -> {below}"
            if same_folder and here.startswith("reporting/"):
                rooms = [name.split(sep)[1] for name, sep in ((here, "/"), (below, "."))]
                assert rooms[0] == rooms[1] or ROOMS.index(rooms[0]) < ROOMS.index(rooms[1]), (here, below)


def test_no_two_files_of_a_folder_import_each_other() -> None:
    arrows = {
        place(path): {
            m.removeprefix("tfsgd.").replace(".", "/", 1) for m in imports(path, also_for_types=False)
        }
        for path in FILES
    }
    names = set(arrows) - {""}  # the package itself hands out names when they are asked for

    def below(name: str, seen: frozenset[str]) -> None:
        assert name not in seen, f"{name} imports itself, by way of {sorted(seen)}"
        for other in arrows[name] & names:
            below(other, seen | {name})

    for name in names:
        below(name, frozenset())


@pytest.mark.parametrize("path", FILES, ids=str)
def test_every_heavy_dependency_has_one_home(path: Path) -> None:
    here = place(path)
    outside = {module.split(".")[0] for module in imports(path, also_for_types=False)}
    for package, homes in HOMES.items():
        at_home = any(here == home or here.startswith(f"{home}/") for home in homes)
        assert at_home or package not in outside, f"{here} imports {package}"


def test_what_is_asked_and_what_is_known_need_no_tensorflow() -> None:
    modules = [
        "tfsgd." + place(path).replace("/", ".")
        for path in FILES
        if place(path).split("/")[0]
        in (
            "measures",
            "plan",
            "records",
            "reporting",
            "cli",
            "command",
            "sweep",
            "measure",
            "report",
            "barriers",
            "export",
        )
    ]
    script = (
        f"import sys, importlib\nfor name in {modules}: importlib.import_module(name)\n"
        "sys.exit(', '.join({'tensorflow', 'keras', 'keras_tuner', 'cleverhans'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.stderr.strip() == ""


LINES_OF_A_FILE, LINES_OF_A_FUNCTION, PARAMETERS = 400, 60, 7
COMMANDS = {
    "sweep.sweep",
    "measure.measure",
    "report.report",
}  # a parameter for each of the command line's options


@pytest.mark.parametrize("path", FILES, ids=str)
def test_files_functions_and_parameter_lists_are_short(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= LINES_OF_A_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef) and f"{place(path)}.{node.name}" not in COMMANDS:
            names = [a.arg for a in node.args.args + node.args.kwonlyargs if a.arg not in ("self", "cls")]
            assert (node.end_lineno or 0) - node.lineno < LINES_OF_A_FUNCTION, node.name
            assert len(names) <= PARAMETERS, node.name


FILES_TWICE = {  # each with its reason
    "paper": "the paper's networks, and its numbers",
    "__init__": "of every folder",
}


def test_no_two_classes_have_one_name() -> None:
    """Who reads a name, or searches for it, finds one thing."""
    places: dict[str, set[str]] = {}
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                places.setdefault(node.name, set()).add(f"{path}:{node.lineno}")
    assert {name: where for name, where in places.items() if len(where) > 1} == {}


def test_no_two_files_have_one_name() -> None:
    places: dict[str, list[str]] = {}
    for path in FILES:
        places.setdefault(path.stem, []).append(str(path))
    assert {name: where for name, where in places.items() if len(where) > 1 and name not in FILES_TWICE} == {}


def test_what_stands_in_long_is_a_test() -> None:
    for line in Path("tests/long.txt").read_text().splitlines():
        file, _, name = line.partition("::")
        assert not name or f"def {name.partition('[')[0]}(" in Path("tests", file).read_text(), line
