"""Tables that people open in a spreadsheet, where a text that begins with = + - @ is computed."""

import pandas as pd

COMPUTED = ("=", "+", "-", "@", "\t", "\r", "\n")  # first characters, OWASP's list for CSV


def without_formulas(table: pd.DataFrame) -> pd.DataFrame:
    """The same table, an apostrophe before each text and each heading that a spreadsheet would compute."""
    plain = table.rename(columns=plain_text)
    for column in plain.columns[[not pd.api.types.is_numeric_dtype(kind) for kind in plain.dtypes]]:
        plain[column] = plain[column].map(plain_text)
    return plain


def plain_text(value: object) -> object:
    return f"'{value}" if isinstance(value, str) and value.startswith(COMPUTED) else value
