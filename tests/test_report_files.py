"""The files beside the page: where they are written, the dictionary of columns, tables for LaTeX."""

import csv
import errno
import os
import re
from pathlib import Path
from typing import Any

import matplotlib
import pytest

from tests.hostile import ran
from tests.own import refusal
from tests.synthetic import experiment, realistic, write_sweep
from tests.test_report import SMALL, TINY, with_troubles
from tfsgd.environment import refuse_unreadable_matplotlibrc
from tfsgd.errors import RequestError
from tfsgd.models.paper import MODELS
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder
from tfsgd.reporting.figures.registry import draw
from tfsgd.reporting.figures.style import Drawing
from tfsgd.reporting.page.latex import escaped, figure_table, table
from tfsgd.reporting.page.page import write_report
from tfsgd.reporting.table.studies import read_studies
from tfsgd.trials.pictures import epsilon_picture


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of a sweep with troubles: its folder."""
    folder = write_sweep(tmp_path_factory.mktemp("logs") / "sweep", experiment(**SMALL), with_troubles)
    return write_report([folder]).parent


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.*")}


# Where


def test_a_report_of_several_folders_leaves_the_first_ones_own_alone(tmp_path: Path) -> None:
    first = write_sweep(tmp_path / "a", experiment(**TINY))
    second = write_sweep(tmp_path / "b", experiment(**TINY | {"epochs": 50}))
    own = contents(write_report([first], figures=["overview"]).parent)
    both = write_report([first, second], figures=["overview"])
    assert both == first / "report-with-b" / "index.html"
    assert contents(first / "report") == own
    assert not (second / "report").exists()


def test_out_says_where_and_other_files_there_stay(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "a", experiment(**TINY))
    out = tmp_path / "somewhere" / "new"
    out.mkdir(parents=True)
    (out / "mine.png").write_text("not of a report")
    assert write_report([folder], out, figures=["overview"]) == out / "index.html"
    assert not (folder / "report").exists()
    assert (out / "mine.png").exists()
    text = (out / "index.html").read_text()
    assert 'href="../../a/trials/' in text


def test_figures_take_nothing_from_a_users_matplotlibrc(tmp_path: Path) -> None:
    """Which needs no LaTeX on the machine, and no fonts."""
    folder = write_sweep(tmp_path / "a", experiment(**TINY))
    expected = contents(write_report([folder], figures=["overview"]).parent)
    picture = epsilon_picture({}, "a network")
    theirs: Any = {"text.usetex": True, "font.family": "No Such", "figure.facecolor": "red", "savefig.dpi": 9}
    with matplotlib.rc_context(theirs):
        assert contents(write_report([folder], figures=["overview"]).parent) == expected
        assert epsilon_picture({}, "a network") == picture
        assert matplotlib.rcParams["text.usetex"]


@pytest.mark.parametrize("place", ["here", "variable", "home"])
def test_a_matplotlibrc_that_cannot_be_read_is_named_by_every_command(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With it matplotlib could not be imported."""
    path = {"here": Path(), "variable": tmp_path / "asked", "home": tmp_path / "config/matplotlib"}[
        place
    ] / "matplotlibrc"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("MPLCONFIGDIR", raising=False)
    monkeypatch.delenv("MATPLOTLIBRC", raising=False)
    if place == "variable":
        monkeypatch.setenv("MATPLOTLIBRC", str(path.parent))
    path.parent.mkdir(parents=True, exist_ok=True)
    refuse_unreadable_matplotlibrc()
    path.write_text("lines.linewidth: 2\n")
    refuse_unreadable_matplotlibrc()
    path.write_bytes(b"# \xe9\n")
    assert refusal(refuse_unreadable_matplotlibrc).startswith(
        f"{path}: expected settings of matplotlib in UTF-8"
    )
    if place == "variable":
        for name in ("report", "sweep", "measure"):
            code, out, err = ran(
                "settings of matplotlib", f"tfsgd.{name}", "x", cwd=Path(__file__).parents[1]
            )
            assert (code, out, err.count("\n")) == (2, "", 1)
            assert err.startswith(f"error: {path}: expected settings")
    path.unlink()
    os.mkfifo(path)
    assert "found what is not a regular file" in refusal(refuse_unreadable_matplotlibrc)


def test_a_figure_that_cannot_be_written_is_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_sweep(tmp_path / "a", experiment(**TINY))

    def on_a_full_disk(drawing: Drawing, kind: str) -> bytes:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Drawing, "file", on_a_full_disk)
    with pytest.raises(RequestError, match="report: cannot be written: No space left on device"):
        write_report([folder])


@pytest.mark.parametrize("model", ["mynet", "gone_nets:small"])
def test_a_sweep_is_reported_where_its_model_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, model: str
) -> None:
    with monkeypatch.context() as elsewhere:
        elsewhere.setitem(MODELS, "mynet", MODELS["stdcnn"])
        folder = write_sweep(tmp_path / "a", experiment(**TINY | {"model": model}))
    text = write_report([folder], figures=["overview"]).read_text()
    assert f"<h2>{model.rpartition(':')[2]} on Fashion-MNIST" in text
    assert "planned networks, 100 epochs each" in text
    of = LogFolder(folder).read_experiment()
    if model == "mynet":
        with pytest.raises(RequestError, match="this installation has no 'mynet'"):
            of.build()
        with pytest.raises(ValueError, match="model: expected one of"):
            experiment(**TINY | {"model": model})


# records.csv


def test_every_column_has_a_meaning_and_every_meaning_a_column(report: Path) -> None:
    with (report / "records.csv").open(newline="") as file:
        columns = next(csv.reader(file))
    with (report / "records-columns.csv").open(newline="") as file:
        rows = {row["column"]: row for row in csv.DictReader(file)}
    assert list(rows) == columns
    assert all(row["meaning"] for row in rows.values())
    assert "FGSM with epsilon = 0.3" in rows["fgsm_0.3"]["meaning"]
    assert rows["test_accuracy"]["unit"] == "0 to 1"
    unexplained = {c for c, row in rows.items() if row["meaning"].startswith("value of the measure")}
    assert not unexplained & {"budget", "descent_eigenvalue", "failed_checks", "updates"}


# LaTeX


def test_latex_is_escaped() -> None:
    assert escaped(r"50 % of a_b & c\d {x} #1 $2 ~ ^") == (
        r"50 \% of a\_b \& c\textbackslash{}d \{x\} \#1 \$2 \textasciitilde{} \textasciicircum{}"
    )
    assert escaped("λ1 at ε = 0.3 ± 1") == r"$\lambda_1$ at $\varepsilon$ = 0.3 $\pm$ 1"
    made = table(["a", "b"], [["all"], ["1", escaped("2 %")]], "lr")
    assert made.splitlines()[2:] == [
        r"\begin{tabular}{@{}lr@{}}",
        r"\toprule",
        r"a & b \\",
        r"\midrule",
        r"\multicolumn{2}{@{}l}{all} \\",
        r"1 & 2 \% \\",
        r"\bottomrule",
        r"\end{tabular}}",
    ]


def test_tables_are_those_of_the_findings_and_the_papers_figures(report: Path) -> None:
    names = {path.stem for path in (report / "tables").iterdir()}
    assert {"claims", "overview", "regimes-fgsm", "regimes-pgd", "momentum-lr", "gap"} <= names
    for path in (report / "tables").iterdir():
        lines = path.read_text(encoding="utf-8").splitlines()
        rows = [line for line in lines if line.endswith(r"\\")]
        cells = {len(re.findall(r"(?<!\\)&", row)) for row in rows if "multicolumn" not in row}
        assert len(cells) == 1, path.name
        assert not re.search(r"(?<!\\)[%#_]", "".join(rows).replace(r"\lambda_1", "")), path.name
        assert "".join(rows).isascii(), path.name
        assert not re.search("check|trained", "".join(rows)), path.name  # marks are the page's
        assert "longtable" not in "".join(lines)
    figure = (report / "tables" / "regimes-fgsm.tex").read_text()
    assert r"\multicolumn{5}{@{}l}{\emph{LR (momentum 0)}}" in figure
    for what in ("natural", r"FGSM $\varepsilon$ = 0.3", r"$\lambda_1$"):
        assert f"& {what} " in figure.splitlines()[4]
    claims = (report / "tables" / "claims.tex").read_text()
    assert r"\emph{Larger batches under LR}" in claims
    assert re.search(r"\$\\lambda_1\$ & \$\\times\$ [\d.]+ \[[\d.]+, [\d.]+\] per doubling & \w+", claims)


def test_intervals_end_at_what_is_possible(tmp_path: Path) -> None:
    def apart(trial: Trial) -> dict[str, Any]:
        left = {0.05: 0.05 + 0.9 * trial.seed, 0.3: 0.05 + 0.9 * trial.seed}
        return realistic(trial) | {"fgsm": left, "pgd": left}

    folder = write_sweep(tmp_path / "a", experiment(**SMALL | {"seeds": [0, 1]}), apart)
    (study,) = read_studies([folder])
    text = figure_table(draw(study, names=["regimes"])[0][0])
    intervals = re.findall(r"\[([-\d.]+), ([-\d.]+) \\%\]", text)
    ends = [float(end) for interval in intervals for end in interval]
    assert len(ends) > 20
    assert min(ends) == 0
    assert max(ends) == 100
