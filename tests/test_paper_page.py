"""docs/from-records-to-a-paper.md: its lines run as they stand, and the files that it names are there."""

import re
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest

from tests.synthetic import experiment, write_sweep
from tests.test_report import SMALL
from tfsgd.plan.reading import load_claims
from tfsgd.reporting.page.page import write_report

TEXT = Path("docs/from-records-to-a-paper.md").read_text()


def test_its_python_runs_from_top_to_bottom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "docs").symlink_to(Path("docs").resolve())
    monkeypatch.chdir(tmp_path)
    mpl.use("agg")
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", TEXT, re.S):
        exec(block, names)
    said = capsys.readouterr().out
    assert "test_accuracy" in said
    assert "batch_size" in said
    assert (tmp_path / "pgd.pdf").read_bytes().startswith(b"%PDF")


def test_the_files_that_it_names_are_in_a_report(tmp_path: Path) -> None:
    report = write_report([write_sweep(tmp_path / "sweep", experiment(**SMALL))]).parent
    named = re.findall(r"report/((?:tables|figures)/[\w.-]+)\}", TEXT)
    assert len(named) == 3
    for name in (*named, "records.csv", "records-columns.csv", "claims.json", "index.html"):
        assert (report / name).is_file(), name


def test_its_claim_is_one_that_a_report_takes(tmp_path: Path) -> None:
    [block] = re.findall(r"```yaml\n(.*?)```", TEXT, re.S)
    (tmp_path / "claims.yaml").write_text(block)
    assert load_claims(tmp_path / "claims.yaml")["sharper"].metric == ("lambda1",)
