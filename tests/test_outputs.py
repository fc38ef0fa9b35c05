"""Nothing of the tool's is overwritten, and nothing of the user's deleted, whatever lies where output goes."""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.conftest import Run
from tests.hostile import counted, said
from tests.own import refusal
from tests.synthetic import experiment, write_sweep
from tfsgd.records.atomic import write_atomically
from tfsgd.records.lease import locked
from tfsgd.reporting.page.page import write_report

SMALL: dict[str, Any] = {
    "batch_sizes": [64, 128], "regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}, "epochs": 2,
    "attacks": {"fgsm": {"epsilon": [0.1]}},
}  # fmt: skip
OUTPUTS = "outputs in the way of something"


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    return write_sweep(tmp_path / "logs/s", experiment(**SMALL))


def content(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


TRIAL = "logs/s/trials/lr/b0064-m0.0-s0"


@pytest.mark.parametrize(
    "place",
    [
        f"{TRIAL}/record.json",
        f"{TRIAL}/manifest.json",
        f"{TRIAL}/new.json",
        "logs/s/trials/new.json",
        "link.json",  # to a record
        "below/lr/new.json",  # a link to trials/
        "package.json",  # the user's
        "plot.json",  # beside the user's plot.png
        "away.json",  # a link to nowhere
        "fifo.json",
    ],
)
def test_measure_writes_over_nothing_but_evidence_and_says_so_before_it_measures(
    place: str, logs: Path, tmp_path: Path, run_measure: Run
) -> None:
    (tmp_path / TRIAL / "manifest.json").write_text("{}")
    (tmp_path / "link.json").symlink_to(tmp_path / TRIAL / "record.json")
    (tmp_path / "below").symlink_to(logs / "trials")
    (tmp_path / "away.json").symlink_to(tmp_path / "nowhere")
    (tmp_path / "package.json").write_text('{"name": "mine"}')
    (tmp_path / "plot.png").write_text("mine")
    before = content(tmp_path)
    os.mkfifo(tmp_path / "fifo.json")
    code, out, err = counted(OUTPUTS, run_measure(logs, "--workers", 1, "--out", tmp_path / place))
    assert (code, out, err.count("\n")) == (2, "", 1), err
    assert f"--out {tmp_path / place}" in err
    (tmp_path / "fifo.json").unlink()
    assert content(tmp_path) == before


def test_measure_may_write_its_evidence_again(logs: Path, tmp_path: Path, run_measure: Run) -> None:
    evidence: Any
    for evidence in ({"networks": []}, {"target": "x"}, [{"target": "x"}, {"networks": []}]):
        (tmp_path / "out.json").write_text(json.dumps(evidence))
        (tmp_path / "out.png").touch()
        err = run_measure(logs, "--workers", 1, "--out", tmp_path / "out.json")[2]
        assert "--out" not in err


@pytest.mark.parametrize("place", [TRIAL, "logs/s/trials/report", "logs/s/tuner", "below/x", "mine", "page"])
def test_a_report_is_not_written_over_what_is_no_report(place: str, logs: Path, tmp_path: Path) -> None:
    (logs / "tuner").mkdir()
    (tmp_path / "below").symlink_to(logs / "trials")
    for mine in (tmp_path / "mine/figures/a.pdf", tmp_path / "page/index.html"):
        mine.parent.mkdir(parents=True)
        mine.write_text("mine")
    before = content(tmp_path)
    assert said(OUTPUTS, lambda: write_report([logs], tmp_path / place))
    assert content(tmp_path) == before


def test_a_report_follows_no_link_and_removes_only_what_it_has_written(logs: Path, tmp_path: Path) -> None:
    report, record = logs / "report", logs / "trials/lr/b0064-m0.0-s0/record.json"
    before = content(logs / "trials")
    write_report([logs], figures=["overview", "curvature"])
    written = {path: path.read_bytes() for path in report.rglob("*.*")}
    listed = json.loads((report / "files.json").read_text())
    assert {f"{path.parent.name}/{path.name}" for path in written if path.parent != report} == set(listed)
    for path in written:
        path.unlink()
        if path.name != "files.json":
            path.symlink_to(record)
    mine = report / "figures/mine.pdf"
    mine.write_text("mine")
    forged = ["../trials/lr/b0064-m0.0-s0/record.json", "figures/../mine.pdf", "figures/gone.pdf", 3]
    (report / "files.json").write_text(json.dumps([*listed, *forged]))
    (report / "figures/gone.pdf").write_text("of an earlier report")
    write_report([logs], figures=["overview", "curvature"])
    assert content(logs / "trials") == before
    assert {path: path.read_bytes() for path in report.rglob("*.*") if path != mine} == written
    assert not any(path.is_symlink() for path in written)
    assert mine.read_text() == "mine"


@settings(max_examples=40, deadline=None)
@given(
    text=st.one_of(st.text(max_size=50), st.binary(max_size=50), st.lists(st.text(max_size=9), max_size=4)),
    before=st.sampled_from(["nothing", "file", "link", "link to nowhere"]),
    umask=st.sampled_from([0o022, 0o077, 0o002, 0o027]),
    name=st.sampled_from(["a.json", "a.png", "x" * 240 + ".npz"]),
)
def test_a_file_takes_its_place_whole_by_the_umask_and_leaves_what_a_link_leads_to(
    tmp_path_factory: pytest.TempPathFactory, text: Any, before: str, umask: int, name: str
) -> None:
    folder = tmp_path_factory.mktemp("w")
    path, other = folder / name, folder / "other"
    if "nowhere" not in before:
        other.write_text("other")
    if before == "file":
        path.write_text("before")
    elif "link" in before:
        path.symlink_to(other)
    earlier = os.umask(umask)
    try:
        write_atomically(path, text)
        with pytest.raises(TypeError):
            write_atomically(folder / "new", ["half of it", 3])  # type: ignore[list-item]
    finally:
        os.umask(earlier)
    expected = text if isinstance(text, bytes) else "".join(text).encode()
    assert path.read_bytes().replace(b"\r", b"\n") == expected.replace(b"\r", b"\n")
    assert path.stat().st_mode & 0o777 == 0o666 & ~umask
    assert other.exists() == ("nowhere" not in before)
    assert not other.exists() or other.read_text() == "other"
    assert {p.name for p in folder.iterdir()} - {"other"} == {name}


@pytest.mark.parametrize("what", ["link", "fifo"])
def test_a_lock_that_is_no_file_is_refused_and_not_emptied(what: str, tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("mine")
    if what == "link":
        (tmp_path / ".lock").symlink_to(tmp_path / "precious")
    else:
        os.mkfifo(tmp_path / ".lock")
    told = refusal(lambda: locked(tmp_path).__enter__())
    assert told.startswith(f"{tmp_path / '.lock'}: ")
    assert (tmp_path / "precious").read_text() == "mine"
