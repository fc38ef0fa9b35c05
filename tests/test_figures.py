"""Every figure: labels on every axis, colours that can be seen, parts that a narrow page can stack."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tests.synthetic import PAPER_REGIMES, Truth, experiment, realistic, write_sweep
from tests.test_report import SMALL, with_troubles
from tfsgd.plan.trials import Trial
from tfsgd.report import look_of
from tfsgd.reporting.figures.axes import log_axis
from tfsgd.reporting.figures.registry import ALL, draw
from tfsgd.reporting.figures.style import PAPER, WIDTHS, Drawing, sequence
from tfsgd.reporting.figures.svg import ROOM, views_of
from tfsgd.reporting.table.studies import read_studies


def alike(trial: Trial) -> dict[str, Any]:
    """Every trial the same: axes without a range."""
    one = {"test_accuracy": 0.9, "train_accuracy": 0.95, "train_loss": 0.1, "eigenvalue": 47.0}
    return one | {attack: {0.05: 0.5, 0.3: 0.1} for attack in ("fgsm", "pgd")} | {"eigenvalue_history": True}


def wide(trial: Trial) -> dict[str, Any]:
    """λ1 over four orders of magnitude, recorded over training too."""
    exponent = trial.settings.batch_size / 1024 - trial.settings.momentum
    return realistic(trial) | {"eigenvalue": 10.0**exponent, "eigenvalue_history": True}


FOUR_REGIMES: dict[str, Any] = PAPER_REGIMES | {"LR-0.1": {"learning_rate": 0.1, "momentum": [0.0]}}
SWEEPS: dict[str, tuple[dict[str, Any], Truth]] = {
    "many": (
        {"seeds": [0], "attacks": SMALL["attacks"]},
        lambda trial: realistic(trial) | {"eigenvalue_history": True},
    ),
    "troubled": (SMALL, with_troubles),
    "wide, four regimes": (SMALL | {"seeds": [0], "regimes": FOUR_REGIMES}, wide),
    "one batch size, few epochs": (SMALL | {"seeds": [0], "batch_sizes": [64], "epochs": 3}, realistic),
    "alike, one epoch": (SMALL | {"seeds": [0], "batch_sizes": [32, 256], "epochs": 1}, alike),
}


@pytest.fixture(scope="module", params=SWEEPS)
def drawings(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[Drawing]:
    changes, truth = SWEEPS[request.param]
    folder = write_sweep(tmp_path_factory.mktemp("logs") / "sweep", experiment(**changes), truth)
    (study,) = read_studies([folder])
    return draw(study, names=[ALL])[0]


def panels(drawings: list[Drawing]) -> Iterator[tuple[str, Axes]]:
    for drawing in drawings:
        drawing.figure.draw_without_rendering()
        for axes in drawing.figure.axes:
            if axes.get_visible() and axes.axison:
                yield drawing.name, axes


def labels(axes: Axes, along: str) -> list[str]:
    """The labels of an axis that are drawn within its range."""
    axis = axes.xaxis if along == "x" else axes.yaxis
    low, high = sorted(axis.get_view_interval())
    ticks = axis.get_major_ticks() + axis.get_minor_ticks()
    return [
        text.get_text()
        for tick in ticks
        for text in (tick.label1, tick.label2)
        if text.get_visible() and text.get_text() and low <= tick.get_loc() <= high
    ]


def test_every_axis_has_at_least_two_labelled_ticks(drawings: list[Drawing]) -> None:
    seen = 0
    for name, axes in panels(drawings):
        for along in ("x", "y"):
            assert len(set(labels(axes, along))) >= 2, (name, along, labels(axes, along))
            seen += 1
    assert seen > 20


def test_epochs_are_whole_and_no_axis_is_crowded(drawings: list[Drawing]) -> None:
    for name, axes in panels(drawings):
        if axes.get_xlabel() == "epoch":
            assert all(float(text).is_integer() for text in labels(axes, "x")), name
        assert len(labels(axes, "y")) <= 12, (name, labels(axes, "y"))


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (4.0, 60.0, [5, 10, 20, 50]),
        (30.0, 140.0, [30, 50, 70, 100]),
        (0.9, 2_000.0, [1, 10, 100, 1000]),
        (0.02, 0.7, [0.02, 0.05, 0.1, 0.2, 0.5]),
        (41.0, 54.0, [50]),
        (0.7, 1.4, [0.7, 1]),
    ],
)
def test_numbers_on_a_logarithmic_axis_are_round(low: float, high: float, expected: list[float]) -> None:
    axes = Figure().subplots()
    axes.set_ylim(low, high)
    log_axis(axes)
    assert [tick for tick in axes.get_yticks() if low <= tick <= high] == pytest.approx(expected)


def test_accuracy_ends_at_0_and_100_percent(tmp_path: Path) -> None:
    """Two seeds far apart have an interval of several hundred per cent."""

    def apart(trial: Trial) -> dict[str, Any]:
        left = {0.05: 0.05 + 0.9 * trial.seed, 0.3: 0.001}
        return realistic(trial) | {"fgsm": left, "pgd": left}

    folder = write_sweep(tmp_path / "sweep", experiment(**SMALL | {"seeds": [0, 1]}), apart)
    (study,) = read_studies([folder])
    ends = [
        axes.get_ylim()
        for name, axes in panels(draw(study, names=[ALL])[0])
        if name.startswith("regimes-") and axes.get_ylabel() == "accuracy (%)"
    ]
    assert len(ends) >= 2
    assert all(low >= -0.05 and high <= 1.05 for low, high in ends), ends


def test_every_panel_and_every_item_of_the_key_is_a_part(drawings: list[Drawing]) -> None:
    for drawing in drawings:
        figure = drawing.figure
        shown = sum(axes.get_visible() for axes in figure.axes)
        items = sum(len(key.get_texts()) + bool(key.get_title().get_text()) for key in figure.legends)
        assert len(drawing.parts) == shown + items, drawing.name
        width, height = figure.get_size_inches() * 72
        for part in drawing.parts:
            least = -ROOM - 1  # nothing of it is cut off
            assert least < part.left < part.left + part.width < width - least, drawing.name
            assert least < part.top < part.top + part.height < height - least, drawing.name


def test_parts_lie_where_their_axes_do() -> None:
    figure = Figure(figsize=(4, 2))
    figure.add_axes((0.125, 0.25, 0.25, 0.5)).set_axis_off()
    (part,) = views_of(figure)
    assert (part.left, part.top) == pytest.approx((36 - 4, 36 - 4))
    assert (part.width, part.height) == pytest.approx((72 + 8, 72 + 8))


def luminance(colour: str) -> float:
    """Relative luminance after WCAG 2.2."""
    channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one: str, other: str) -> float:
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("count", [1, 2, 7, 12])
def test_colours_of_batch_sizes_stand_out_from_the_background(count: int) -> None:
    for light, dark in sequence(count):
        assert contrast(light, PAPER) >= 3
        assert contrast(dark, "#16191d") >= 3


@pytest.mark.usefixtures("real_pictures")
def test_a_report_has_each_figure_as_png_svg_and_pdf(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", experiment(**SMALL | {"seeds": [0]}))
    (study,) = read_studies([folder])
    drawing = draw(study)[0][0]
    png, pdf = drawing.file("png"), drawing.file("pdf")
    assert pdf.startswith(b"%PDF")
    assert b"/FontFile2" in pdf  # TrueType
    width = int.from_bytes(png[16:20], "big")
    assert width == round(drawing.figure.get_figwidth() * 300)
    assert pdf == drawing.file("pdf")


@pytest.mark.usefixtures("real_pictures")
@pytest.mark.parametrize("width", ["column", "text"])
def test_figures_for_print_have_their_width_and_type(tmp_path: Path, width: str) -> None:
    (study,) = read_studies([write_sweep(tmp_path / "sweep", experiment(**SMALL | {"seeds": [0]}))])
    look = look_of(width, None, "png,pdf")
    (drawing,) = draw(study, names=["overview"], look=look)[0]
    pixels = int.from_bytes(drawing.file("png")[16:20], "big")
    assert pixels == round(WIDTHS[width] * 300)
    for axes in drawing.figure.axes:
        assert axes.xaxis.label.get_fontsize() == 8
        assert all(float(text.get_fontsize()) >= 7 for text in axes.get_xticklabels())
    tops = {round(axes.get_position().y1, 2) for axes in drawing.figure.axes}
    assert len(tops) == (len(drawing.figure.axes) if width == "column" else 1)


def test_the_papers_figures_lead_with_the_epsilon_that_tells_settings_apart(tmp_path: Path) -> None:
    """At 0.3 all is on the floor, at 0.05 large batches are 4 points a doubling lower; natural accuracy says nothing."""

    def truth(trial: Trial) -> dict[str, Any]:
        fgsm = {0.05: 0.6 - 0.04 * trial.settings.batch_size / 512, 0.3: 0.01}
        return realistic(trial) | {"test_accuracy": 0.9, "fgsm": fgsm, "pgd": {0.05: 0.2, 0.3: 0.2}}

    (study,) = read_studies([write_sweep(tmp_path / "sweep", experiment(**SMALL | {"seeds": [0]}), truth)])
    found = {drawing.name: drawing for drawing in draw(study)[0]}
    fgsm, pgd = found["regimes-fgsm"], found["regimes-pgd"]
    assert [axes.get_title() for axes in fgsm.figure.axes] == ["ε = 0.05", "ε = 0.3", "λ1"]
    assert fgsm.title.endswith("FGSM at ε = 0.05, where settings differ most, and at ε = 0.3, the paper's")
    assert pgd.title.endswith("PGD at ε = 0.3")
    assert len(pgd.figure.axes) == 2
