"""The files of `measure --out`: evidence as JSON with a picture, and networks side by side as CSV or LaTeX."""

from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Any

from tfsgd.errors import RequestError
from tfsgd.records.atomic import to_json, write_atomically
from tfsgd.records.preflight import is_there, read_json, read_text, refuse_among_records, refuse_unwritable
from tfsgd.terminal.comparison import (
    CSV_HEADINGS,
    NetworkColumn,
    cells,
    comparison_csv,
    comparison_rows,
    headings,
    short_names,
)

CURVES = 8  # networks in one picture, at most
LATEX = "% a table of tfsgd.measure\n"


def refuse_unfit_outs(outs: Sequence[Path]) -> None:
    """Refuses, before anything is measured, what could not be written or would be written over something else.

    Raises:
        RequestError: one line that names the file.
    """
    for out in outs:
        refuse_unfit_out(out, "measure", (".json", ".csv", ".tex"), _is_ours)
        picture = out.with_suffix(".png")
        if out.suffix == ".json" and not is_there(out) and is_there(picture):
            raise RequestError(
                f"--out {out}: its picture would be written over {picture}; choose another name"
            )


def refuse_unfit_out(
    out: Path, command: str, endings: Collection[str], is_ours: Callable[[Path], bool]
) -> None:
    """Refuses what could not be written, or would be written over something that the command has not written.

    Raises:
        RequestError: one line that names the file.
    """
    if out.suffix not in endings or not out.parent.is_dir() or out.is_dir():
        *others, last = endings
        raise RequestError(
            f"--out {out}: expected a file {', '.join(others)} or {last} in a folder that is there"
        )
    refuse_among_records(out, "--out")
    refuse_unwritable(out.parent, "--out")
    if is_there(out) and not is_ours(out):
        raise RequestError(f"--out {out}: there is a file that {command} did not write; choose another name")


def _is_ours(path: Path) -> bool:
    if path.suffix != ".json":
        try:
            return read_text(path).startswith(LATEX if path.suffix == ".tex" else ",".join(CSV_HEADINGS))
        except (OSError, ValueError):
            return False
    found = read_json(path)
    first = found[0] if isinstance(found, list) and found else found
    return isinstance(first, dict) and ("networks" in first or "target" in first)


def write_outs(outs: Sequence[Path], evidence: list[Any], columns: Sequence[NetworkColumn]) -> Iterator[str]:
    """Writes each file by its ending; a line for each, and for the picture beside evidence.

    Args:
        outs: paths that `refuse_unfit_outs` has let pass.
        evidence: of the sweeps and networks, as JSON.
        columns: the networks.
    """
    for out in outs:
        if out.suffix == ".json":
            write_atomically(out, to_json(evidence[0] if len(evidence) == 1 else evidence))
            yield f"Evidence: {out}"
            if any(m.kind == "attack" for column in columns for m in column.measurements):  # a curve to draw
                yield f"Picture:  {_picture(out.with_suffix('.png'), columns)}"
            continue
        write_atomically(out, _latex(columns) if out.suffix == ".tex" else comparison_csv(columns))
        yield f"Table:    {out}"


def _picture(out: Path, columns: Sequence[NetworkColumn]) -> str:
    """Writes accuracy against epsilon; where it is, or why there is none."""
    from tfsgd.trials.pictures import epsilon_picture

    if len(columns) > CURVES:
        return f"none of {len(columns)} networks; python -m tfsgd.report draws sweeps"
    title = " and ".join(dict.fromkeys(column.dataset for column in columns))
    names = short_names([column.name for column in columns])
    measured = {name: column.measurements for name, column in zip(names, columns, strict=True)}
    write_atomically(out, epsilon_picture(measured, f"{title}: accuracy against ε"))
    return str(out)


def _latex(columns: Sequence[NetworkColumn]) -> str:
    from tfsgd.reporting.page.latex import escaped, table

    rows = [[escaped(cell) for cell in row] for row in cells(comparison_rows(columns))]
    return LATEX + table(headings(columns), rows, "lrr" + "r" * len(columns))
