"""One table of all trials as a file: CSV, or Parquet with the unit and meaning of every column."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from tfsgd.errors import RequestError
from tfsgd.records.atomic import replacing, write_atomically
from tfsgd.reporting.page.network_files import refuse_unfit_out
from tfsgd.reporting.page.output_files import records_table, without_formulas
from tfsgd.reporting.table.columns import COLUMNS, Column
from tfsgd.reporting.table.studies import Study

WRITER = {b"written_by": b"tfsgd.export"}  # in a Parquet file's own metadata


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
        write_atomically(out, str(without_formulas(table).to_csv(index=False)))
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
        kind = (
            pyarrow.string() if pyarrow.types.is_null(field.type) else field.type
        )  # not every reader knows null
        fields.append(pyarrow.field(field.name, kind, metadata=told))
    schema = pyarrow.schema(fields, (written.schema.metadata or {}) | WRITER)
    with replacing(out) as temporary:
        parquet.write_table(written.cast(schema), temporary)


def _of_one_kind(values: pd.Series) -> pd.Series:
    """A column that Parquet can hold: what is of several kinds, such as a number in one row and a text in another, as text."""
    kinds = {type(value) for value in values.dropna()} if values.dtype == object else set()
    return values if len(kinds) < 2 else values.map(str, na_action="ignore")
