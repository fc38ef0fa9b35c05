"""What a spreadsheet would compute does not reach the table as such; and what is known of the images is said."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tests.synthetic import experiment, write_sweep
from tfsgd.reporting.page.output_files import without_formulas
from tfsgd.reporting.page.page import write_report

SMALL = experiment(
    seeds=[0], batch_sizes=[64], epochs=3, regimes={"LR": {"learning_rate": 0.01, "momentum": [0.0, 0.5]}}
)


def test_texts_that_begin_a_formula_are_quoted_and_numbers_stay() -> None:
    table = pd.DataFrame(
        {"=a": ["=1+1", "+x", "-y", "@z", "\tt", "plain", ""], "number": [-1.0, 2, 3, 4, 5, 6, 7]}
    )
    plain = without_formulas(table)
    assert list(plain.columns) == ["'=a", "number"]
    assert plain["'=a"].tolist() == ["'=1+1", "'+x", "'-y", "'@z", "'\tt", "plain", ""]
    assert plain["number"].tolist() == table["number"].tolist()
    assert list(table.columns) == ["=a", "number"]


@pytest.fixture
def report(tmp_path: Path) -> Callable[..., tuple[list[list[str]], str]]:
    """records.csv and the page of a sweep whose records were changed."""

    def of(**changes: Any) -> tuple[list[list[str]], str]:
        sweep = write_sweep(tmp_path / "sweep", SMALL)
        for path in sweep.glob("trials/*/*/record.json"):
            raw = json.loads(path.read_text())
            raw["provenance"]["device"] = changes.get("device", "cpu")
            raw["seconds"] |= changes.get("seconds", {})
            raw["data_note"] = changes.get("data_note", "")
            path.write_text(json.dumps(raw))
        page = write_report([sweep], figures=["overview"]).read_text()
        with (sweep / "report/records.csv").open(newline="") as file:
            return list(csv.reader(file)), page

    return of


def test_no_cell_and_no_heading_of_the_table_is_a_formula(
    report: Callable[..., tuple[list[list[str]], str]],
) -> None:
    rows, page = report(device='=HYPERLINK("http://x")', data_note="not the published bytes")
    cells = [cell for row in rows for cell in row]
    assert '\'=HYPERLINK("http://x")' in cells
    for cell in cells:
        assert not cell.startswith(("=", "+", "@")), cell
        assert not cell.startswith("-") or float(cell) < 0
    assert "are not the published bytes: numbers on them are not those of the published data" in page


def test_the_page_says_where_test_images_were_trained_on(
    report: Callable[..., tuple[list[list[str]], str]],
) -> None:
    _, page = report(data_note="3 of 40 test images are among the training images")
    assert "3 of 40 test images are among the training images: what is measured on those" in page
