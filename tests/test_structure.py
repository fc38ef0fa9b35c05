"""The house: every heavy dependency has one home, and imports only go down."""

import ast
from pathlib import Path

PACKAGE = Path("tfsgd")

# From the top of the house to its foundation; a module imports only from lines below its own.
STOREYS = (
    ("sweep",),
    ("workers", "report"),
    ("worker", "claims", "figures", "console"),
    ("tuner", "evidence"),
    ("trial", "results"),
    ("train", "export", "tensorboard", "pictures"),
    ("checkpoint", "attacks"),
    ("callbacks",),
    ("hessian", "measure", "pipeline", "records"),
    ("config",),
    ("data", "models", "optimizer", "regimes"),
    ("errors",),
    ("__init__",),
)

HOMES = {
    "yaml": {"config", "records", "results"},
    "pydantic": {"config", "records"},
    "tensorflow_datasets": {"data"},
    "cleverhans": {"attacks"},
    "keras_tuner": {"tuner"},
    "tensorboard": {"tensorboard"},
    "typer": {"sweep", "report"},
    "rich": {"console"},
    "matplotlib": {"figures", "pictures"},
    "pandas": {"evidence", "results", "claims", "figures", "report"},
    "jinja2": {"report"},
}


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def test_imports_only_go_down() -> None:
    storey = {name: level for level, names in enumerate(STOREYS) for name in names}
    for path in PACKAGE.glob("*.py"):
        for module in imports(path):
            if module.startswith("tfsgd."):
                below = module.split(".")[1]
                assert storey[path.stem] < storey[below], f"{path.stem} -> {below}"


def test_every_heavy_dependency_has_one_home() -> None:
    for path in PACKAGE.glob("*.py"):
        outside = {module.split(".")[0] for module in imports(path)}
        for package, homes in HOMES.items():
            assert package not in outside or path.stem in homes, f"{path.stem} imports {package}"
