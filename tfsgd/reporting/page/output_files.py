"""The files beside the page: where they lie, figures, tables, and what an earlier report left; and the table of trials alone."""

import importlib.util
import os
import re
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tfsgd.errors import RequestError
from tfsgd.plan.settings import plain, settings
from tfsgd.records.atomic import replacing, to_json, write_atomically
from tfsgd.records.preflight import is_there, read_json, refuse_among_records, refuse_unwritable
from tfsgd.reporting.figures.style import Drawing
from tfsgd.reporting.page.findings import Finding
from tfsgd.reporting.page.latex import caption, claims_table, figure_table
from tfsgd.reporting.page.network_files import refuse_unfit_out
from tfsgd.reporting.page.trial_table import comparison_table
from tfsgd.reporting.table.columns import COLUMNS, Column
from tfsgd.reporting.table.studies import Study

FILES = ("index.html", "records.csv", "records-columns.csv", "claims.json")
WRITER = {b"written_by": b"tfsgd.export"}  # in a Parquet file's own metadata
LIST = "files.json"  # of the figures and tables that a report has written
OURS = re.compile(r"figures/[\w.%-]+\.(png|svg|pdf|tex)|tables/[\w.-]+\.tex")
CAPTIONS = "tex"  # of figures
# First characters of what a spreadsheet computes, OWASP's list for CSV.
COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n")


def report_folder(folders: Sequence[Path], out: Path | None) -> Path:
    """Where the report of these log folders is written, absolute."""
    if out is not None:
        return out.resolve()
    first, *others = dict.fromkeys(folder.resolve() for folder in folders)
    name = "-".join(["report-with", *(other.name for other in others)]) if others else "report"
    return first / name


def prefixes(studies: Sequence[Study]) -> dict[Study, str]:
    """What the names of a study's files begin with: its number, where there are several."""
    return {study: f"{i}-" if len(studies) > 1 else "" for i, study in enumerate(studies, 1)}


def save_figure(target: Path, drawing: Drawing) -> str:
    """Writes a figure's files and lets it go: many trials make many artists; gives its SVG as it stands in the page."""
    path, svg = target / "figures" / drawing.name, drawing.file("svg")
    for kind in drawing.look.formats:
        write_atomically(path.with_name(f"{path.name}.{kind}"), svg if kind == "svg" else drawing.file(kind))
    write_atomically(path.with_name(f"{path.name}.{CAPTIONS}"), caption(drawing))
    drawing.figure.clear()
    return drawing.inlined(svg.decode())


def save_tables(
    target: Path,
    studies: Sequence[Study],
    findings: Sequence[Sequence[Finding]],
    drawn: Sequence[Sequence[Drawing]],
) -> set[str]:
    """Writes records.csv with its dictionary, and for LaTeX the findings and the values of figures; gives their names."""
    table = without_formulas(records_table(studies, target))
    known = {plain_text(name): column for study in studies for name, column in study.columns.items()}
    columns = [[heading, known[heading].unit, known[heading].meaning] for heading in table]
    _write_csv(target / "records.csv", table)
    _write_csv(target / "records-columns.csv", pd.DataFrame(columns, columns=["column", "unit", "meaning"]))
    texts: dict[str, str] = {}
    for (study, prefix), found, drawings in zip(prefixes(studies).items(), findings, drawn, strict=True):
        texts[f"{prefix}claims"] = claims_table(found)
        texts[f"{prefix}regimes"] = comparison_table(study)
        texts |= {drawing.name: figure_table(drawing) for drawing in drawings}
    texts = {name: text for name, text in texts.items() if text}
    for name, text in texts.items():
        write_atomically(target / "tables" / f"{name}.tex", text)
    return set(texts)


def _write_csv(path: Path, table: pd.DataFrame) -> None:
    write_atomically(path, str(table.to_csv(index=False)))


def records_table(studies: Sequence[Study], target: Path) -> pd.DataFrame:
    """One row a trial, as it is written to records.csv, but for a spreadsheet's sake.

    Args:
        studies: whose trials.
        target: the folder to which `folder` is relative.
    """
    table = pd.concat([study.trials for study in studies], ignore_index=True)
    table["regimes"] = table["regimes"].map(";".join)
    table["failed_checks"] = table["failed_checks"].map(lambda failed: ";".join(c.name for c in failed))
    table["folder"] = [os.path.relpath(path, target) for path in table["folder"]]
    unused = [
        s.name
        for s in settings()
        if s.is_beyond and (table[s.name].isna() | (table[s.name] == plain(s.default))).all()
    ]
    return table.drop(columns=unused)


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The same table, an apostrophe before each text and each heading that a spreadsheet would compute."""
    plain = table.rename(columns=plain_text)
    for column in plain.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in plain.dtypes]]:
        plain[column] = plain[column].map(plain_text)
    return plain


def plain_text(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(COMPUTED) else value


# An earlier report's files


def refuse_unfit_target(target: Path) -> None:
    """Refuses a folder in which a report would be written over what is no report's.

    Raises:
        RequestError: it is no folder, cannot be written, lies among records, or holds files of another origin.
    """
    refuse_among_records(target, "--out")
    refuse_unwritable(target, "--out")
    if not target.is_dir() or is_there(target / LIST) or is_there(target / "claims.json"):
        return
    if taken := [name for name in (*FILES, "figures", "tables") if is_there(target / name)]:
        raise RequestError(
            f"{target / taken[0]}: it is in the way of a report, and no report has written it; move it away, or "
            "choose another folder with --out"
        )


def begin_report(target: Path) -> list[str]:
    """The figures and tables that an earlier report in this folder has written, as its own list says.

    The list is written again, or for the first time: where this report ends early, the next one finds a report's folder.

    Raises:
        OSError: it cannot be written.
    """
    listed = read_json(target / LIST)
    earlier = [name for name in listed if OURS.fullmatch(str(name))] if isinstance(listed, list) else []
    write_atomically(target / LIST, to_json(earlier))
    return earlier


def files_of(drawings: Sequence[Drawing]) -> list[str]:
    """The names of their files, below the report's folder."""
    return [f"figures/{d.name}.{kind}" for d in drawings for kind in (*d.look.formats, CAPTIONS)]


def add_files(target: Path, drawings: Sequence[Drawing]) -> list[Path]:
    """Adds figures to the list of an earlier report, if there is one; gives the paths of their pictures."""
    names = files_of(drawings)
    write_atomically(target / LIST, to_json(sorted({*begin_report(target), *names})))
    return [target / name for name in names if not name.endswith(CAPTIONS)]


def remove_stale(target: Path, earlier: Sequence[str], drawings: Sequence[Drawing], tables: set[str]) -> None:
    """Removes what the earlier report has written and this one has not, and lists what this one has."""
    now = [*files_of(drawings), *(f"tables/{name}.tex" for name in tables)]
    for name in set(earlier) - set(now):
        if not (target / name).parent.is_symlink():
            (target / name).unlink(missing_ok=True)
    write_atomically(target / LIST, to_json(sorted(now)))


# The table of all trials alone: CSV, or Parquet with the unit and meaning of every column


def refuse_unfit_file(out: Path) -> None:
    """Refuses, before anything is read, what could not be written or would be written over something else.

    Raises:
        RequestError: one line that names the file.
    """
    if out.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise RequestError(f"--out {out}: needs pyarrow; pip install 'tfsgd[parquet]', or write .csv")
    refuse_unfit_out(out, "export", (".csv", ".parquet"), _is_ours)


def write_trials(studies: Sequence[Study], out: Path) -> pd.DataFrame:
    """Writes one row a trial, by the file's ending, and gives the table.

    Args:
        studies: whose trials.
        out: a path that `refuse_unfit_file` has let pass; `folder` in the table is relative to where it is.

    Raises:
        OSError: it cannot be written.
    """
    table = records_table(studies, out.parent.resolve())
    if out.suffix == ".csv":
        _write_csv(out, without_formulas(table))
    else:
        _write_parquet(table, {name: c for study in studies for name, c in study.columns.items()}, out)
    return table


def _is_ours(path: Path) -> bool:
    try:
        if path.suffix == ".csv":
            with path.open(encoding="utf-8") as file:
                return file.readline().startswith(",".join(column.name for column in COLUMNS[:3]))
        from pyarrow import parquet

        return WRITER.items() <= (parquet.read_schema(path).metadata or {}).items()
    except (OSError, ValueError):
        return False


def _write_parquet(table: pd.DataFrame, columns: dict[str, Column], out: Path) -> None:
    import pyarrow
    from pyarrow import parquet

    written = pyarrow.Table.from_pandas(table.apply(_of_one_kind), preserve_index=False)
    fields = []
    for field in written.schema:
        told = {"unit": columns[field.name].unit, "meaning": columns[field.name].meaning}
        # Not every reader knows null.
        kind = pyarrow.string() if pyarrow.types.is_null(field.type) else field.type
        fields.append(pyarrow.field(field.name, kind, metadata=told))
    schema = pyarrow.schema(fields, (written.schema.metadata or {}) | WRITER)
    with replacing(out) as temporary:
        parquet.write_table(written.cast(schema), temporary)


def _of_one_kind(values: pd.Series) -> pd.Series:
    """A column that Parquet can hold: what is of several kinds, such as a number in one row and a text in another, as text."""
    kinds = {type(value) for value in values.dropna()} if values.dtype == object else set()
    return values if len(kinds) < 2 else values.map(str, na_action="ignore")
