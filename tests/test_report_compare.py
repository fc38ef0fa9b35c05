"""Several studies in one report: common figures where the data set is one, each study labelled."""

from pathlib import Path
from typing import Any

import pytest

from tests.synthetic import experiment, realistic, write_sweep
from tests.test_report import TINY
from tfsgd.plan.trials import Trial
from tfsgd.reporting.figures.compare import compare, labels_of
from tfsgd.reporting.page.page import write_report
from tfsgd.reporting.table.studies import read_studies


def sweep(folder: Path, value: float = 0.9, **changes: Any) -> Path:
    def truth(trial: Trial) -> dict[str, Any]:
        return realistic(trial) | {"test_accuracy": value}

    return write_sweep(folder, experiment(**TINY | changes), truth)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"epochs": 50}, ["100 epochs", "50 epochs"]),
        ({"model": "m1"}, ["StdCNN", "M1"]),
        ({"model": "m1", "epochs": 50}, ["StdCNN, 100 epochs", "M1, 50 epochs"]),
    ],
)
def test_studies_are_labelled_by_what_tells_them_apart(
    tmp_path: Path, changes: dict[str, Any], expected: list[str]
) -> None:
    studies = read_studies([sweep(tmp_path / "a"), sweep(tmp_path / "b", **changes)])
    assert labels_of(studies) == expected


def test_a_common_figure_holds_the_numbers_of_both(tmp_path: Path) -> None:
    studies = read_studies([sweep(tmp_path / "a", 0.9), sweep(tmp_path / "b", 0.8, epochs=50)])
    seen: list[str] = []
    (drawing,), missing = compare(studies, lambda drawing: seen.append(drawing.name))
    assert missing == []
    assert seen == ["compared-fashion_mnist-fgsm"]
    natural = {
        (row["curve"], row["batch size"]): row["mean"]
        for row in drawing.values
        if row["what"] == "natural accuracy"
    }
    assert natural["LR (momentum 0), 100 epochs", "64"] == "90.0 %"
    assert natural["LR (momentum 0), 50 epochs", "64"] == "80.0 %"
    assert [axes.get_title() for axes in drawing.figure.axes][::2] == [
        "LR (momentum 0)",
        "LR/BS (momentum 0)",
    ]
    texts = [text.get_text() for text in drawing.figure.legends[0].get_texts()]
    assert texts[:2] == ["100 epochs", "50 epochs"]


def test_other_data_sets_are_not_compared(tmp_path: Path) -> None:
    studies = read_studies([sweep(tmp_path / "a"), sweep(tmp_path / "b", dataset="mnist")])
    drawings, missing = compare(studies, lambda drawing: None)
    assert drawings == []
    assert missing == [
        "StdCNN on Fashion-MNIST: no other study has this data set",
        "StdCNN on MNIST: no other study has this data set",
    ]


def test_other_images_under_one_name_are_not_compared(tmp_path: Path) -> None:
    other = write_sweep(
        tmp_path / "other", experiment(**TINY), lambda trial: realistic(trial) | {"data_sha256": "f" * 64}
    )
    studies = read_studies([other, sweep(tmp_path / "a"), sweep(tmp_path / "b", epochs=50)])
    (drawing,), missing = compare(studies, lambda drawing: None)
    assert missing == [f"StdCNN on Fashion-MNIST ({other}): other images under the same name"]
    assert {row["curve"].partition(", ")[2] for row in drawing.values} == {"100 epochs", "50 epochs"}


def test_the_page_shows_them_first(tmp_path: Path) -> None:
    page = write_report([sweep(tmp_path / "a"), sweep(tmp_path / "b", epochs=50)])
    text = page.read_text()
    assert text.index('id="compared"') < text.index('id="study-1"')
    assert 'id="figure-compared-fashion_mnist-fgsm"' in text
    assert (page.parent / "figures" / "compared-fashion_mnist-fgsm.pdf").exists()
