"""Options of the report: which figures, how large, the paper's figure by its number, and claims from a file."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest

from scripts.paper_figures import paper_figure_rows
from tests.conftest import Run
from tests.synthetic import experiment, write_sweep
from tests.test_report import TINY
from tfsgd import report
from tfsgd.plan.shipped import shipped_pairs
from tfsgd.plan.yaml_io import read_yaml
from tfsgd.reporting.figures.registry import figures
from tfsgd.reporting.page.paper_figures import (
    LAST,
    PAPER_FIGURES,
    views_of_figure,
)

CLAIM = {
    "statement": "Larger batches raise λ1.",
    "kind": "trend",
    "metric": "lambda1",
    "regimes": "LR",
    "expected": "rises",
}


@pytest.fixture
def run_report(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Runs the command in this process: (exit code, standard output, standard error)."""

    def call(*arguments: Any) -> tuple[int, str, str]:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["report", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            report.main()
        out, err = capsys.readouterr()
        return int(ended.value.code or 0), out, err

    return call


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("logs") / "s", experiment(**TINY | {"seeds": [0, 1, 2]}))


def claims_file(tmp_path: Path, **changes: Any) -> Path:
    path = tmp_path / "claims.yaml"
    path.write_text(json.dumps({"claims": {"mine": CLAIM | changes}}))
    return path


def test_claims_of_a_file_are_judged_besides_and_stand_open(
    logs: Path, tmp_path: Path, run_report: Run
) -> None:
    code, _, err = run_report(logs, "--claims", claims_file(tmp_path), "--out", tmp_path / "r")
    assert (code, err) == (0, "")
    [study] = json.loads((tmp_path / "r/claims.json").read_text())
    [own] = [claim for claim in study["claims"] if claim["role"] == "own"]
    assert (own["statement"], own["verdict"]) == ("Larger batches raise λ1.", "supported")
    assert own["stated"]
    text = (tmp_path / "r/index.html").read_text()
    assert re.search(r'<details id="study-1-own" open>.*Larger batches raise λ1', text, re.S)
    assert study["agreement"] == []  # no smallest epsilon was measured


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regimes": "LRR"}, "claims.mine.regimes: no trial has the regime 'LRR'; did you mean 'LR'?"),
        ({"metric": "lambda"}, "no column of numbers 'lambda'; did you mean 'lambda1'?"),
        ({"kind": "trends"}, "kind"),
    ],
)
def test_a_claim_that_cannot_be_judged_is_a_line(
    logs: Path, tmp_path: Path, run_report: Run, changes: dict[str, Any], said: str
) -> None:
    code, out, err = run_report(logs, "--claims", claims_file(tmp_path, **changes), "--out", tmp_path / "r")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not (tmp_path / "r").exists()


def test_figures_are_those_that_are_named_in_the_formats_that_are_asked_for(
    logs: Path, tmp_path: Path, run_report: Run
) -> None:
    out = tmp_path / "r"
    names = ("--figures", "overview,epsilon-curves", "--format", "pdf")
    assert run_report(logs, *names, "--out", out)[0] == 0
    found = {path.name for path in (out / "figures").iterdir()}
    assert found == {"overview.pdf", "overview.tex", "epsilon-fgsm.pdf", "epsilon-fgsm.tex"}
    assert "<svg" in (out / "index.html").read_text()
    assert (
        run_report(logs, "--figures", "gap", "--figures", "overview", "--format", "svg", "--out", out)[0] == 2
    )
    assert run_report(logs, "--figures", "overview", "--format", "svg", "--out", out)[0] == 0
    assert {path.name for path in (out / "figures").iterdir()} == {"overview.svg", "overview.tex"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--figures", "regims"), "--figures: no figure 'regims'; did you mean 'regimes'?"),
        (("--width", "colum"), "--width: no width 'colum'; did you mean 'column'?"),
        (("--format", "png,gif"), "--format: no format 'gif'"),
        (("--font-size", "100"), "--font-size: expected 4 to 40 points, received 100"),
        (("--paper-figure", "23"), "--paper-figure: expected 1 to 22, received 23"),
    ],
)
def test_wrong_options_are_a_line(
    logs: Path, tmp_path: Path, run_report: Run, arguments: tuple[str, ...], said: str
) -> None:
    code, out, err = run_report(logs, *arguments, "--out", tmp_path / "r")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert said in err
    assert not (tmp_path / "r").exists()


def test_a_figure_of_the_paper_is_drawn_by_its_number(logs: Path, tmp_path: Path, run_report: Run) -> None:
    out = tmp_path / "r"
    code, said, err = run_report(
        logs, "--paper-figure", 2, "--width", "column", "--format", "pdf", "--out", out
    )
    assert (code, said, err) == (0, f"figure: {out}/figures/regimes-fgsm.pdf\n", "")
    assert (out / "figures/regimes-fgsm.pdf").read_bytes().startswith(b"%PDF")
    assert (out / "figures/regimes-fgsm.tex").read_text().startswith(r"\caption{As Figs. 1-6,")
    assert not (out / "index.html").exists()


@pytest.mark.parametrize(
    ("number", "wanted"),
    [
        (8, "--set 'regimes.LR.momentum=[0.0,0.2,0.5,0.9]'"),
        (11, "--set 'regimes.LR/BS.momentum=[0.0,0.2,0.5,0.9]'"),
        (15, "--set 'attacks.pgd={epsilon: [0.3]}'"),
    ],
)
def test_where_the_records_do_not_allow_it_the_command_that_would_is_named(
    logs: Path, tmp_path: Path, run_report: Run, number: int, wanted: str
) -> None:
    code, out, err = run_report(logs, "--paper-figure", number, "--out", tmp_path / "r")
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert f"--paper-figure {number}: it shows " in err
    assert f"python -m tfsgd.sweep {logs}/experiment.yaml" in err
    assert wanted in err


def test_every_figure_of_the_paper_has_a_view_that_a_figure_draws_and_configs_that_are_there() -> None:
    assert LAST == 22
    for number in range(1, LAST + 1):
        assert views_of_figure(number)
    assert {view.figure for view in PAPER_FIGURES} <= set(figures())
    configs = {name: read_yaml(Path(f"configs/{name}.yaml")) for name in shipped_pairs().values()}
    assert {(of["dataset"], of["model"]): name for name, of in configs.items()} == shipped_pairs()
    assert len(configs) == 6


def test_the_page_from_records_to_a_paper_has_the_table_of_the_papers_figures() -> None:
    text = Path("docs/from-records-to-a-paper.md").read_text()
    assert "\n".join(paper_figure_rows()) in text
