"""`make api`: the page of the Python API from its docstrings. A warning or a missing docstring is an error."""

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pdoc
import pdoc.doc
import pdoc.render

# What README and CONTRIBUTING name for code of one's own.
MODULES = (
    "tfsgd",
    "tfsgd.errors",
    "tfsgd.data.dataset",
    "tfsgd.data.load",
    "tfsgd.measures.attack",
    "tfsgd.measures.curvature_spec",
    "tfsgd.measures.victim",
    "tfsgd.reporting.claims.claims",
    "tfsgd.reporting.table.studies",
)


def load() -> list[pdoc.doc.Module]:
    """The modules as pdoc sees them; imported beforehand, since warnings of TensorFlow's import are not the page's."""
    os.environ |= {"CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    for name in MODULES:
        importlib.import_module(name)
    package = sys.modules["tfsgd"]
    for name in package.__all__:  # which it hands out when they are asked for
        setattr(package, name, getattr(importlib.import_module("tfsgd.api"), name))
    return [pdoc.doc.Module(sys.modules[name]) for name in MODULES]


def undocumented(holder: Any) -> Iterator[str]:
    """Classes, functions, methods and properties without a docstring; fields stand in the docstring of their class."""
    for member in holder.own_members:
        described = member.kind != "variable" or isinstance(vars(holder.obj).get(member.name), property)
        if described and not member.name.startswith("_") and not _own_docstring(member):
            yield member.fullname
        if member.kind == "class":
            yield from undocumented(member)


def _own_docstring(member: Any) -> str | None:
    """pdoc's is also that of a base class, such as Exception's."""
    if member.kind == "class":
        return vars(member.obj).get("__doc__")
    return member.obj.__doc__ if member.kind == "function" else member.docstring


def main(folder: Path) -> None:
    """Writes the page, once everything public has a docstring."""
    modules = load()
    warnings.simplefilter("error")
    bare = [name for module in modules for name in undocumented(module)]
    bare += [module.fullname for module in modules if not module.docstring]
    if bare:
        sys.exit(f"error: no docstring: {', '.join(sorted(bare))}")
    version = sys.modules["tfsgd"].__version__
    pdoc.render.configure(docformat="google", show_source=False, footer_text=f"tfsgd {version}")
    pdoc.pdoc(*MODULES, output_directory=folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path, help="where the page is written")
    main(parser.parse_args().folder)
