"""The report of synthetic sweeps: its files, its numbers, what it says is missing, what it refuses."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfsgd.reporting.page.page as page_module
from tests.synthetic import EPSILONS, Truth, experiment, natural, realistic, write_sweep
from tfsgd import report
from tfsgd.errors import RequestError
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder, read_record
from tfsgd.reporting.figures.registry import draw
from tfsgd.reporting.page.page import write_report
from tfsgd.reporting.table.studies import read_studies

SMALL: dict[str, Any] = {
    "batch_sizes": [64, 512, 4096],
    "regimes": {
        "LR": {"learning_rate": 0.01, "momentum": [0.0, 0.9]},
        "LR/BS": {"ratio": 0.00015625, "momentum": [0.0]},
        "Benchmark": {"learning_rate": 0.01, "halve_every_epochs": 5, "momentum": [0.9]},
    },
    "attacks": {"fgsm": {"epsilon": [0.05, 0.3]}, "pgd": {"epsilon": [0.05, 0.3]}},
}

TINY: dict[str, Any] = {
    "batch_sizes": [64, 512, 4096],
    "seeds": [0],
    "regimes": {name: SMALL["regimes"][name] | {"momentum": [0.0]} for name in ("LR", "LR/BS")},
    "attacks": {"fgsm": {"epsilon": [0.3]}},
}  # five figures


def with_troubles(trial: Trial) -> dict[str, Any]:
    """Diverged, collapsed and loosely converged trials among good ones."""
    numbers = realistic(trial)
    s = trial.settings
    if (trial.regime, s.batch_size) == ("LR/BS", 4096):
        return numbers | {"status": "diverged"}
    if (trial.regime, s.batch_size, trial.seed) == ("LR/BS", 512, 1):
        at_chance = dict.fromkeys(numbers["fgsm"], 0.1)
        chance = {"test_accuracy": 0.1, "train_accuracy": 0.1, "fgsm": at_chance, "pgd": at_chance}
        return numbers | chance | {"status": "collapsed", "train_loss": 2.303, "eigenvalue": 2.5}
    return numbers | ({"residual": 0.4} if s.batch_size == 512 and trial.seed == 2 else {})


@pytest.fixture(scope="module")
def troubled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The log folder of an unfinished sweep, reported."""
    of = experiment(**SMALL)
    folder = write_sweep(
        tmp_path_factory.mktemp("logs") / "some sweep #1",
        of,
        with_troubles,
        leave_out=lambda trial: trial.seed == 2 and trial.regime == "Benchmark",
    )
    failed = next(t for t in grid(of) if t.seed == 2 and t.regime == "Benchmark")
    LogFolder(folder).write_failure(
        failed, "ResourceError: <script>alert(1)</script>\nsecond line", "Traceback"
    )
    write_report([folder])
    return folder


def page(folder: Path) -> str:
    return (folder / "report" / "index.html").read_text(encoding="utf-8")


def claims_of(folder: Path) -> dict[tuple[str, float | None], dict[str, Any]]:
    [study] = json.loads((folder / "report" / "claims.json").read_text())
    return {(claim["claim"], claim["epsilon"]): claim for claim in study["claims"]}


# Its files


def test_it_writes_the_page_figures_table_and_claims(troubled: Path) -> None:
    found = {path.name for path in (troubled / "report").iterdir()}
    assert found == {
        "index.html",
        "records.csv",
        "records-columns.csv",
        "claims.json",
        "files.json",
        "figures",
        "tables",
    }
    figures = {path.name for path in (troubled / "report" / "figures").iterdir()}
    ends = (".png", ".svg", ".pdf", ".tex")
    names = [{n.removesuffix(end) for n in figures if n.endswith(end)} for end in ends]
    assert names[0] == names[1] == names[2] == names[3]
    assert len(names[0]) <= 15
    for name in (
        "regimes-fgsm",
        "regimes-pgd",
        "overview",
        "momentum-lr",
        "gap",
        "learning",
    ):
        assert f"{name}.png" in figures
        assert "on Fashion-MNIST with StdCNN" in (troubled / "report" / "figures" / f"{name}.svg").read_text()
        assert "on Fashion-MNIST with StdCNN" in (troubled / "report" / "figures" / f"{name}.tex").read_text()


def test_the_table_has_one_row_a_trial_and_a_column_for_each_attack(troubled: Path) -> None:
    with (troubled / "report" / "records.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    records = {record.folder: record for record in LogFolder(troubled).records()}
    assert len(rows) == len(records)
    for row in rows:
        record = records["/".join(row["folder"].split("/")[-2:])]
        assert row["regimes"] == ";".join(record.regimes)
        for attack in record.attacks:
            assert float(row[f"{attack.label}_{attack.epsilon}"]) == attack.accuracy
        if record.status == "diverged":
            assert (row["status"], row["test_accuracy"], row["fgsm_0.3"]) == ("diverged", "", "")
        else:
            assert record.top_eigenvalue is not None
            assert float(row["eigenvalue"]) == record.top_eigenvalue.values["value"]
        assert ((troubled / "report") / row["folder"]).resolve() == troubled / "trials" / record.folder


def test_page_and_json_say_the_same(troubled: Path) -> None:
    text = page(troubled)
    for claim in claims_of(troubled).values():
        assert claim["verdict"] in text
        if claim["effect"] is not None and claim["unit"].startswith("points"):
            assert f"{claim['effect']:+.2f} points" in text
        if claim["effect"] is not None and claim["detail"]:
            assert f"; {claim['detail']}<" in text
            assert f"{claim['detail']}; {claim['detail']}" not in text  # once is enough


def test_a_report_is_reproducible(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", experiment(**TINY))
    files = [
        {path.name: path.read_bytes() for path in sorted((folder / "report").rglob("*.*"))}
        for _ in range(2)
        if write_report([folder])
    ]
    assert files[0] == files[1]


# The page


class Links(HTMLParser):
    """Everything in a page that a browser would fetch or follow."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        for key, value in attributes:
            if key in ("src", "href", "xlink:href", "action", "srcset", "data") and value:
                self.found.append(value)


def test_the_page_needs_nothing_from_outside_and_its_links_exist(troubled: Path) -> None:
    links = Links()
    links.feed(page(troubled))
    files = [link for link in links.found if not link.startswith(("#", "data:"))]
    assert not [link for link in files if re.match(r"(?i)[a-z]+:|//", link)]
    assert len(files) == len(list(LogFolder(troubled).records())) + 3
    for link in files:
        assert (troubled / "report" / link).exists(), link
    assert "url(http" not in page(troubled)
    assert "@import" not in page(troubled)


def test_it_says_what_is_missing_failed_diverged_and_collapsed(troubled: Path) -> None:
    text = page(troubled)
    assert "30 of 33 planned networks" in text
    assert "Without a record yet: 3 planned trials" in text
    assert "1 of them failed" in text
    assert "lr-bs/b4096-m0.0-s0</code>: diverged" in text
    assert "lr-bs/b0512-m0.0-s1</code>: collapsed" in text
    assert "ResourceError: &lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "<script>alert" not in text
    assert "second line" not in text


def test_troubled_claims_are_not_supported(troubled: Path) -> None:
    found = claims_of(troubled)
    assert found["constant-lrbs-natural-accuracy", None]["verdict"] not in ("supported", "contradicted")
    assert found["batch-lr-eigenvalue", None]["verdict"] == "undecided"
    assert found["batch-lr-pgd-accuracy", 0.3]["why"].startswith("floor")
    assert found["batch-lr-natural-accuracy", None]["verdict"] == "supported"


def test_points_say_their_values(troubled: Path) -> None:
    [record] = [r for r in LogFolder(troubled).records() if r.folder == "lr/b4096-m0.0-s0"]
    expected = f"LR (momentum 0), batch size 4096, seed 0: natural accuracy {100 * natural(record):.1f} %"
    assert f"<title>{expected}</title>" in page(troubled)
    assert "seed 0: diverged, natural accuracy has no value" in page(troubled)
    assert re.search(
        r"LR/BS \(momentum 0\), batch size 512: natural accuracy [^<]*, 2 of 3 seeds", page(troubled)
    )


def test_labels_are_escaped_everywhere(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", experiment(**TINY))
    (folder / "experiment.yaml").unlink()  # else trials have its labels
    for path in folder.glob("trials/*/*/record.json"):
        content = json.loads(path.read_text())
        content["regimes"] = [*content["regimes"], "$\\x$<img src=x onerror=alert(1)>"]
        path.write_text(json.dumps(content))
    write_report([folder], figures=["overview"])
    assert "<img" not in page(folder)
    assert "&lt;img src=x onerror=alert(1)&gt;" in page(folder)


def test_a_quick_sweep_is_described_and_says_so(tmp_path: Path) -> None:
    of = experiment(**TINY | {"profile": "quick", "batch_sizes": [32, 256], "epochs": 3})
    folder = write_sweep(tmp_path / "sweep-quick", of)
    write_report([folder], figures=["overview"])
    assert {c["verdict"] for c in claims_of(folder).values()} <= {"descriptive", "not testable"}
    assert "Quick profile" in page(folder)
    assert "verdicts need at least 3 seeds" in page(folder)


# Several folders


def test_folders_that_mean_the_same_are_one_study(tmp_path: Path) -> None:
    of = experiment(**SMALL)
    first = write_sweep(tmp_path / "a", of, leave_out=lambda trial: trial.seed == 2)
    second = write_sweep(tmp_path / "b", of, leave_out=lambda trial: trial.seed == 1)
    [study] = read_studies([first, second])
    assert sorted(study.trials["seed"].unique()) == [0, 1, 2]
    assert len(study.trials) == study.planned
    assert study.repeated == (study.trials["seed"] == 0).sum()
    assert not study.missing


def test_other_studies_stay_apart(tmp_path: Path) -> None:
    first = write_sweep(tmp_path / "a", experiment(**TINY))
    second = write_sweep(tmp_path / "b", experiment(**TINY | {"epochs": 50}))
    assert [study.length.count for study in read_studies([first, second])] == [100, 50]
    assert len(read_studies([first, first])) == 1
    written = write_report([first, second], figures=["regimes"])
    assert written == first / "report-with-b" / "index.html"
    assert "The paper trains for 100 epochs; these trials for 50 epochs." in written.read_text()
    assert (written.parent / "figures" / "2-regimes-fgsm.png").exists()


# What it refuses


@pytest.fixture
def small(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "logs" / "small", experiment(**TINY))


def first_record(folder: Path) -> Path:
    return sorted(folder.glob("trials/*/*/record.json"))[0]


def edited(path: Path, **changes: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def retrained(path: Path, **changes: Any) -> None:
    """Changes what the network was trained with, as a whole: the hash belongs to it."""
    training = replace(read_record(path, {}).training, **changes)
    edited(path, training_hash=training.hash, **changes)


def spoil_nothing_there(folder: Path) -> str:
    for path in folder.glob("trials/*/*/record.json"):
        path.unlink()
    return "no record.json"


def spoil_json(folder: Path) -> str:
    first_record(folder).write_text("{")
    return "record.json: no valid JSON"


def spoil_type(folder: Path) -> str:
    path = first_record(folder)
    [found, *others] = json.loads(path.read_text())["measurements"]
    edited(path, measurements=[found | {"values": {"accuracy": "high"}}, *others])
    return "measurements.0.values.accuracy: expected a fraction in [0, 1], found 'high'"


def spoil_place(folder: Path) -> str:
    path = first_record(folder)
    path.parent.rename(path.parent.with_name("b0064-m0.0-s7"))
    return "b0064-m0.0-s7/record.json: its content belongs to trials/"


def spoil_model(folder: Path) -> str:
    retrained(first_record(folder), model="m1")
    return "model: 'm1' beside 'stdcnn'"


def spoil_structure(folder: Path) -> str:
    retrained(first_record(folder), model_sha256="f" * 64)
    return "model_sha256"


def spoil_data(folder: Path) -> str:
    retrained(first_record(folder), data_sha256="f" * 64)
    return "data_sha256"


def spoil_hash(folder: Path) -> str:
    edited(first_record(folder), training_hash="f" * 64)
    return "training_hash: it does not belong to these settings"


def spoil_setting(folder: Path) -> str:
    edited(first_record(folder), epochs=7)
    return "the record was edited"


def spoil_experiment(folder: Path) -> str:
    (folder / "experiment.yaml").write_text("epochs: [")
    return "experiment.yaml"


def spoil_experiment_key(folder: Path) -> str:
    text = (folder / "experiment.yaml").read_text()
    (folder / "experiment.yaml").write_text(text.replace("epochs: 100", "epochs: many"))
    return "epochs"


def spoil_target(folder: Path) -> str:
    (folder / "report").write_text("a file")
    return "report"


@pytest.mark.parametrize(
    "spoil",
    [
        spoil_nothing_there,
        spoil_json,
        spoil_type,
        spoil_place,
        spoil_model,
        spoil_structure,
        spoil_setting,
        spoil_data,
        spoil_hash,
        spoil_experiment,
        spoil_experiment_key,
        spoil_target,
    ],
)
def test_bad_input_is_refused_in_one_line(
    small: Path,
    spoil: Callable[[Path], str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    named = spoil(small)
    monkeypatch.setattr(sys, "argv", ["report", str(small)])
    monkeypatch.setattr(page_module, "draw", lambda study, done, names, look: ([], []))
    with pytest.raises(SystemExit) as ended:
        report.main()
    out, err = capsys.readouterr()
    assert (ended.value.code, out) == (2, "")
    assert err.count("\n") == 1
    assert named in err


def test_an_unknown_folder_and_a_lone_sweep_of_failures_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RequestError, match="no such folder"):
        write_report([tmp_path / "nowhere"])
    of = experiment(**SMALL)
    logs = LogFolder(tmp_path / "logs")
    logs.write_experiment(of)
    logs.write_failure(grid(of)[0], "error", "traceback")
    with pytest.raises(RequestError, match="1 tries failed"):
        write_report([logs.path])


def test_without_experiment_yaml_it_says_that_it_cannot_know_what_is_missing(small: Path) -> None:
    (small / "experiment.yaml").unlink()
    [study] = read_studies([small])
    assert (study.planned, study.missing) == (None, ())


def test_tensorflow_is_not_imported(small: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from tfsgd.reporting.page import page; page.draw = lambda study, done, names, look: ([], []); "
        f"page.write_report([Path({str(small)!r})]); "
        "print([m for m in ('tensorflow', 'keras', 'keras_tuner', 'cleverhans') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=True
    )
    assert done.stdout.strip() == "[]"


def wide(trial: Trial) -> dict[str, Any]:
    """Eigenvalues over three orders of magnitude."""
    exponent = trial.settings.batch_size / 4096 - trial.settings.momentum
    return realistic(trial) | {"eigenvalue": 10.0 ** (2.3 * exponent)}


def narrow_first(trial: Trial) -> dict[str, Any]:
    """Accuracies within two points in the first panel of a figure, and far below in the others, which share its axis."""
    near = 0.94 + 0.01 * trial.settings.batch_size / 4096
    numbers = realistic(trial) | {"test_accuracy": 0.95, "fgsm": {0.02: near, 0.05: 0.6, 0.1: 0.5, 0.3: near}}
    there = {"test_accuracy": 0.6, "train_loss": 0.5, "fgsm": {e: 0.2 for e in EPSILONS}}
    return numbers | {"snapshots": {0.5: there}}


@pytest.mark.parametrize("truth", [wide, narrow_first])
def test_every_point_lies_inside_its_axes(tmp_path: Path, truth: Truth) -> None:
    (study,) = read_studies([write_sweep(tmp_path / "wide", experiment(seeds=[0]), truth)])
    drawings, _ = draw(study, names=["all"])
    assert {"curvature-pgd", "regimes-fgsm"} <= {drawing.name for drawing in drawings}
    for drawing in drawings:
        for axes in drawing.figure.axes:
            (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
            for line in axes.lines:
                if line.get_transform() != axes.transData:  # a guide across the whole axes
                    continue
                points = np.asarray(line.get_xydata(), float)
                points = points[np.isfinite(points).all(1)]
                assert ((points[:, 0] >= left) & (points[:, 0] <= right)).all(), drawing.name
                assert ((points[:, 1] >= low) & (points[:, 1] <= high)).all(), drawing.name
