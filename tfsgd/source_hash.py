"""What code is: a hash that tells whether it still computes what it did."""

import ast
import functools
import hashlib
import platform
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tfsgd import __version__

NOT_ONES_OWN = ("keras", "tensorflow", "tfsgd", "builtins")


@functools.cache
def running() -> dict[str, str]:
    """What runs here, for workers that are to be of one kind: tfsgd's own files, Python, and the libraries."""
    package = Path(__file__).parent
    digest = hashlib.sha256()
    for file in sorted(package.rglob("*")):
        if file.suffix in (".py", ".yaml", ".j2"):
            digest.update(f"{file.relative_to(package)}\n".encode() + file.read_bytes())
    libraries = ("tensorflow", "keras", "numpy", "scipy", "distributed")
    return {
        "tfsgd": __version__,
        "tfsgd's code": digest.hexdigest(),
        "python": platform.python_version(),
        **{name: version(name) for name in libraries},
    }


@functools.cache
def code_sha256(thing: Any) -> str:
    """SHA-256 of the source of a class or function and of all that it uses from its own file.

    Comments and the layout of the lines do not count, nor does what it does not use; what it imports from other
    files is not followed.

    Args:
        thing: a class or a function.

    Returns:
        Hexadecimal; empty for what Keras, TensorFlow or tfsgd brought along, or what has no file.
    """
    module, name = getattr(thing, "__module__", None) or "", getattr(thing, "__qualname__", "")
    file = getattr(sys.modules.get(module), "__file__", None)
    if module.partition(".")[0] in NOT_ONES_OWN or not file or not file.endswith(".py"):
        return ""
    used = _used(Path(file).read_text(encoding="utf-8"), name.partition(".")[0])
    return hashlib.sha256("\n".join(used).encode()).hexdigest()


def _used(text: str, name: str) -> list[str]:
    """The statements of a module that give a name its meaning, in their order, all of them if it is not among theirs."""
    statements = ast.parse(text).body
    givers: dict[str, list[int]] = {}
    for i, statement in enumerate(statements):
        for given in _given(statement):
            givers.setdefault(given, []).append(i)
    if name not in givers:
        return [ast.unparse(statement) for statement in statements]
    found: set[int] = set()
    names = {name}
    while names:
        new = {i for used in names for i in givers.get(used, ())} - found
        found |= new
        names = {node.id for i in new for node in ast.walk(statements[i]) if isinstance(node, ast.Name)}
    return [ast.unparse(statements[i]) for i in sorted(found)]


def _given(statement: ast.stmt) -> set[str]:
    """The names that a statement of a module gives a meaning, also inside an `if`, `try` or `with`."""
    if isinstance(statement, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
        return {statement.name}
    stored = [n for n in ast.walk(statement) if isinstance(getattr(n, "ctx", None), ast.Store)]
    names = {n.id for target in stored for n in ast.walk(target) if isinstance(n, ast.Name)}
    defined = {n.name for n in ast.walk(statement) if isinstance(n, ast.ClassDef | ast.FunctionDef)}
    imported = {
        (alias.asname or alias.name).partition(".")[0]
        for node in ast.walk(statement)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    return names | defined | imported
