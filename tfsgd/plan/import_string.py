"""`module:name` in a config -> the function or class of one's own that it stands for."""

import contextlib
import importlib
import importlib.util
import re
import symtable
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec, PathFinder
from pathlib import Path
from types import ModuleType
from typing import Any

from tfsgd import interrupts
from tfsgd.errors import RequestError
from tfsgd.text import nearest, one_line, shown_path

OWN_NAME = re.compile(r"(?!tfds:)[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")


def is_own_name(value: Any) -> bool:
    """Whether a config's value has the form `module:name`."""
    return isinstance(value, str) and OWN_NAME.fullmatch(value) is not None


def resolve(name: str, code_dir: Path | None, key: str) -> Any:
    """The function or class that `module:name` stands for; its module is imported once.

    Args:
        name: `module:name`, such as `my_nets:small` or `package.nets:small`.
        code_dir: the config's folder, first on the path while the module is imported; `None`: the
            path alone.
        key: of the config, for refusals.

    Raises:
        RequestError: there is no such module or name, the module raises while it is imported, or
            the name is nothing that can be called.
    """
    locate(name, code_dir, key)
    module_name, _, attribute = name.partition(":")
    module = _imported(module_name, code_dir, f"{key}: {name}")
    where = f"{key}: {name}: {file_of(module)}"
    if not hasattr(module, attribute):
        public = [other for other in vars(module) if callable(getattr(module, other)) and other[0] != "_"]
        raise RequestError(f"{where} has no '{attribute}'{nearest(attribute, public)}")
    found = getattr(module, attribute)
    if not callable(found):
        raise RequestError(
            f"{where}: expected '{attribute}' to be a function or a class, found {type(found).__name__}"
        )
    return found


def import_code(code: str) -> tuple[ModuleType, Any]:
    """Imports code that a person has named on a command line.

    Args:
        code: `FILE.py`, `FILE.py:NAME`, `module` or `module:NAME`; a module is looked for in the current folder and on
            the path.

    Returns:
        The module, and what has the name in it; `None` without a name.

    Raises:
        RequestError: as `resolve`; the line begins with `--code`.
    """
    place, colon, name = code.rpartition(":") if code.rpartition(":")[2].isidentifier() else (code, "", "")
    place, name = (place, name) if colon else (code, "")
    folder, module = Path.cwd(), place
    if place.endswith(".py"):
        folder, module = Path(place).resolve().parent, Path(place).stem
        if not Path(place).is_file():
            raise RequestError(f"--code {shown_path(code)}: no such file")
    if not re.fullmatch(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*", module):
        raise RequestError(
            f"--code {shown_path(code)}: expected FILE.py or module:NAME, the file named as a Python module"
        )
    if name:
        found = resolve(f"{module}:{name}", folder, "--code")
        return sys.modules[module], found
    _refuse_absent(module, folder, f"--code: {code}")
    return _imported(module, folder, f"--code: {code}"), None


def locate(name: str, code_dir: Path | None, key: str) -> None:
    """Looks for the module of `module:name`, and for the name in its file, without importing it.

    Raises:
        RequestError: the name has another form, there is no such module, another one of the same name has been
            imported, or its file gives nothing this name.
    """
    if not is_own_name(name):
        raise RequestError(
            f"{key}: expected module:name, such as my_nets:small for a function small in my_nets.py, "
            f"received '{name}'"
        )
    module, _, attribute = name.partition(":")
    beside = _refuse_absent(module, code_dir, f"{key}: {name}")
    top = module.partition(".")[0]
    if beside and beside.origin and module == top:
        names = _names_in(Path(beside.origin))
        if names is not None and attribute not in names:
            raise RequestError(
                f"{key}: {name}: {beside.origin} has no '{attribute}'{nearest(attribute, names)}"
            )


def _refuse_absent(module: str, code_dir: Path | None, what: str) -> ModuleSpec | None:
    """Where a module lies beside the config, or in the folder; `None`: it is on the path.

    Raises:
        RequestError: it is nowhere, or another one of the same name has been imported.
    """
    top = module.partition(".")[0]
    importlib.invalidate_caches()  # the file may be younger than Python's list of the folder
    beside = PathFinder.find_spec(top, [str(code_dir)]) if code_dir else None
    known = sys.modules.get(top)
    if known is not None and beside and beside.origin and not _is_from(known, beside.origin):
        raise RequestError(
            f"{what}: {beside.origin}: a module '{top}' has been imported from {file_of(known)}; "
            "give the file another name"
        )
    if known is None and beside is None and importlib.util.find_spec(top) is None:
        files = [file.stem for file in code_dir.glob("*.py")] if code_dir else []
        raise RequestError(
            f"{what}: no module '{top}' in {code_dir or 'no folder'} or on Python's path{nearest(top, files)}"
        )
    return beside


def _names_in(file: Path) -> set[str] | None:
    """What a module's file gives a name to; `None`: only its import can tell."""
    try:
        text = file.read_text(encoding="utf-8")
        table = symtable.symtable(text, str(file), "exec")
    except (OSError, SyntaxError, ValueError):  # the import says what is wrong
        return None
    if re.search(r"import \*|\bglobals\b|\bglobal\b|\bexec\b|__getattr__", text):
        return None
    return {
        s.get_name() for s in table.get_symbols() if s.is_assigned() or s.is_imported() or s.is_namespace()
    }


@contextlib.contextmanager
def own_code(code_dir: Path | None) -> Iterator[None]:
    """While code of one's own runs: its folder is first on the path, what it prints goes to standard error.

    Standard output belongs to the command, and in a worker to what it tells the sweep.
    """
    folder = [str(code_dir)] if code_dir else []
    sys.path[:0] = folder
    try:
        with contextlib.redirect_stdout(sys.stderr):
            yield
    finally:
        for entry in folder:
            if entry in sys.path:
                sys.path.remove(entry)


def call_own(function: Any, code_dir: Path | None, what: str, *arguments: Any) -> Any:
    """What a function of one's own returns.

    Raises:
        RequestError: it raised something, whatever that is; the line begins with `what`.
    """
    try:
        with own_code(code_dir):
            return function(*arguments)
    except BaseException as error:
        interrupts.check()
        raise RequestError(f"{what}: it raised {one_line(error)}") from None


def file_of(thing: Any) -> str:
    """The file of a module, function or class, for refusals."""
    module = thing if isinstance(thing, ModuleType) else sys.modules.get(getattr(thing, "__module__", ""))
    return str(getattr(module, "__file__", None) or getattr(module, "__name__", "its module"))


def _imported(module: str, code_dir: Path | None, what: str) -> ModuleType:
    try:
        with own_code(code_dir):
            return importlib.import_module(module)
    except BaseException as error:  # whatever it raises, it is the user's to mend
        interrupts.check()
        gone = error.name if isinstance(error, ModuleNotFoundError) else None
        if gone and (module == gone or module.startswith(f"{gone}.")):
            raise RequestError(f"{what}: no module '{gone}'") from None
        raise RequestError(f"{what}: cannot be imported: {one_line(error)}") from None


def _is_from(module: ModuleType, origin: str) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and Path(file).resolve() == Path(origin).resolve()
