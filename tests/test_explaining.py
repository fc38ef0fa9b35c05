"""Figures that explain, from records with known answers: which are there, what they mark, and what they say."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.synthetic import experiment, explained, record, write_sweep
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.reporting.claims.agreement import entries_of
from tfsgd.reporting.figures.by_palette import density, epsilon_curves
from tfsgd.reporting.figures.registry import ALL, draw
from tfsgd.reporting.figures.style import Drawing, fails
from tfsgd.reporting.page.page import write_report
from tfsgd.reporting.table.rows import ceiling, derived
from tfsgd.reporting.table.studies import read_studies

REAL = Path("docs/results/mnist_stdcnn")
GRID: dict[str, Any] = {
    "batch_sizes": [64, 256, 1024, 4096],
    "seeds": [0, 1],
    "attacks": {"fgsm": {"epsilon": [0.05]}, "pgd": {"epsilon": [0.05]}, "minimal": {"epsilon": [0.1]}},
    "curvature": {"spectrum": {}},
}


def masked(trial: Trial) -> dict[str, Any]:
    """FGSM's accuracy rises with the batch size; under momentum 0 at batch size 256 PGD breaks less than it, nowhere else."""
    numbers = explained(trial)
    odd = (trial.settings.batch_size, trial.settings.momentum) == (256, 0.0)
    return numbers | {
        "fgsm": {0.05: 0.5 + 0.02 * np.log2(trial.settings.batch_size / 64)},
        "pgd": {0.05: 0.7 if odd else 0.3},
    }


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_sweep(tmp_path_factory.mktemp("logs") / "sweep", experiment(**GRID), masked)


@pytest.fixture(scope="module")
def drawn(folder: Path) -> dict[str, Drawing]:
    [study] = read_studies([folder])
    drawings, undrawn = draw(study, names=[ALL])
    assert [text.split(":")[0] for text in undrawn if "Figs." not in text] == [
        "Barriers of the loss between networks",
        "Transfer of perturbations from one network to another",
    ]
    return {drawing.name: drawing for drawing in drawings}


def rows_of(drawing: Drawing, **wanted: str) -> list[dict[str, str]]:
    return [row for row in drawing.values if all(row.get(key) == value for key, value in wanted.items())]


def test_every_figure_is_there(drawn: dict[str, Drawing]) -> None:
    expected = {"edge", "edge-momentum-lr", "edge-momentum-lrbs", "edge-ratios", "eigenvalue-epochs"}
    expected |= {
        "equal-loss-fgsm",
        "equal-loss-pgd",
        "certainty",
        "spectrum-spectrum",
    }
    assert expected | {"overview", "momentum-lr", "momentum-lrbs", "agreement", "curvature"} <= set(drawn)


def test_ceilings_are_those_of_the_settings(drawn: dict[str, Drawing]) -> None:
    what = "ceiling 2(1+γ)/η"
    rows = rows_of(drawn["edge"], what=what)
    found = {(row["curve"], row["batch size"]): float(row["mean"]) for row in rows}
    assert found["LR (momentum 0)", "4096"] == 200
    assert found["LR/BS (momentum 0)", "4096"] == 3.125
    assert not [curve for curve, _ in found if curve.startswith("Benchmark")]
    assert "decays" in drawn["edge"].caption
    of_momentum = rows_of(drawn["edge-momentum-lr"], what=what, curve="momentum 0.9")
    assert {row["mean"] for row in of_momentum} == {"380"}
    assert "Dotted" in drawn["edge-momentum-lr"].caption
    assert "Dotted" not in drawn["edge"].caption  # at momentum 0 both are one


def test_shares_of_the_ceiling(drawn: dict[str, Drawing]) -> None:
    rows = {row["trial"]: row for row in drawn["edge-ratios"].values}
    assert rows["LR, batch size 4096, momentum 0, seed 0"]["λ1 / ceiling"] == "0.9"
    benchmark = rows["Benchmark, batch size 4096, momentum 0.9, seed 1"]
    assert benchmark["when"] == "largest over the epochs"


def test_the_largest_share_over_the_epochs_has_each_epochs_rate() -> None:
    """λ1 rises linearly from epoch 10 to 100, every tenth; Benchmark's rate is halved after every 5."""
    of = experiment(**GRID)
    trial = next(t for t in grid(of) if t.regime == "Benchmark")
    found = record(trial, of, explained)
    at_end = explained(trial)["eigenvalue"]
    shares = [at_end * e / 100 / (3.8 / (0.01 * 0.5 ** ((e - 1) // 5))) for e in range(10, 101, 10)]
    history = found.history["top_hessian_eigenvalue"]
    given = [
        v / ceiling(found.sgd, epoch, 100)
        for epoch, v in enumerate(history)
        if v is not None and np.isfinite(v)
    ]
    assert given == pytest.approx(shares)


def test_at_the_end_alone_a_rate_that_decays_has_no_ceiling() -> None:
    """It is 2(1+γ) over 0.01 halved 19 times: a share of a millionth says nothing."""
    of = experiment(**GRID)
    constant, decays = (next(t for t in grid(of) if t.regime == label) for label in ("LR", "Benchmark"))
    for trial in (constant, decays):
        found = record(trial, of, explained)
        history = (None,) * 99 + (40.0,)
        found = found.model_copy(update={"history": {"top_hessian_eigenvalue": history}})
        share = derived(found, None)["stability_ratio_max"]
        assert (
            np.isnan(share) if trial is decays else share == pytest.approx(40 / ceiling(found.sgd, 99, 100))
        )


@pytest.mark.parametrize(
    "rule", [{"weight_decay": 0.1}, {"nesterov": True}, {"label_smoothing": 0.1}, {"sam": 0.05}]
)
def test_other_steps_than_the_papers_have_no_ceiling(rule: dict[str, Any]) -> None:
    assert ceiling(SGDSettings(64, 0.9, 0.01), 0, 5) == pytest.approx(380)
    assert np.isnan(ceiling(SGDSettings(64, 0.9, 0.01, **rule), 0, 5))
    warm = SGDSettings(64, 0.9, 0.01, warmup_epochs=1)
    assert [ceiling(warm, epoch, 5) for epoch in (0, 1)] == pytest.approx([760, 380])


def test_what_a_snapshot_shows_and_who_never_got_there(drawn: dict[str, Drawing]) -> None:
    drawing = drawn["equal-loss-pgd"]
    there = rows_of(drawing, what="λ1 at train loss 0.5", curve="LR (momentum 0)")
    assert {row["mean"] for row in there} == {"60"}
    later = rows_of(drawing, what="λ1 at train loss 0.35", curve="LR (momentum 0)")
    assert [row["batch size"] for row in later] == ["64", "256", "1024"]
    assert "LR at batch size 4096 and momentum 0 (2 trials)" in drawing.caption
    assert "Train loss 0.35 was never reached by" in drawing.caption
    assert "Train loss 0.5 was never" not in drawing.caption


def test_a_regime_without_the_papers_momentum_is_shown_at_its_smallest(tmp_path: Path) -> None:
    regimes = {
        "LR": {"learning_rate": 0.01, "momentum": [0.5, 0.9]},
        "LR/BS": {"ratio": 0.0001, "momentum": [0.9]},
    }
    folder = write_sweep(
        tmp_path / "s", experiment(**GRID | {"regimes": regimes, "curvature": {}}), explained
    )
    [study] = read_studies([folder])
    drawings, undrawn = draw(study, names=[ALL])
    named = {drawing.name: drawing for drawing in drawings}
    lines = {row["curve"] for row in named["regimes-fgsm"].values}
    assert lines == {"LR (momentum 0.5)", "LR/BS (momentum 0.9)"}
    assert "edge" in named
    assert not [drawing.title for drawing in drawings if drawing.title.startswith("As Figs.")]
    assert "Figs. 1-6 (the regimes): they need LR or LR/BS at momentum 0, or Benchmark at 0.9" in undrawn


def test_the_matrix_of_agreement_has_measures_and_knobs_and_no_settings(
    folder: Path, drawn: dict[str, Drawing]
) -> None:
    """The median ε and, falling, the confidence have one order by construction."""
    [study] = read_studies([folder])
    found = {(e.measure, e.knob): e.found.estimate for e in entries_of(study)}
    assert found["confidence", "batch size, LR"] == -1
    assert {"rate η/(1−γ)", "noise scale", "updates", "smallest ε"}.isdisjoint(
        {measure for measure, _ in found}
    )
    rows = {(row["measure"], row["knob"]): row["agreement"] for row in drawn["agreement"].values}
    assert {key: float(text.split()[0]) for key, text in rows.items()} == pytest.approx(found, abs=0.005)
    texts = [text.get_text() for text in drawn["agreement"].figure.axes[0].texts]
    assert len(texts) == len(found)


def test_a_mark_that_most_networks_carry_is_a_sentence(tmp_path: Path) -> None:
    def all_masked(trial: Trial) -> dict[str, Any]:
        return explained(trial) | {"fgsm": {0.05: 0.3}, "pgd": {0.05: 0.7}}

    of = experiment(**GRID | {"seeds": [0], "curvature": {}})
    [study] = read_studies([write_sweep(tmp_path / "s", of, all_masked)])
    assert fails(study.trials, "pgd").mean() > 2 / 3
    found = {drawing.name: drawing for drawing in draw(study, names=["regimes", "curvature-under-attack"])[0]}
    for name in ("regimes-pgd", "curvature-pgd"):
        assert re.search(r"\d+ of \d+ networks fail a check of their PGD accuracy", found[name].caption), name
        assert "Rings" not in found[name].caption
        legend = [text.get_text() for text in found[name].figure.legends[0].get_texts()]
        assert "fails a check" not in legend


def test_a_mean_against_epsilon_counts_the_seeds_that_were_attacked(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", experiment(**GRID), masked)
    logs = LogFolder(folder)
    for of_trial in logs.records():
        if (of_trial.sgd.batch_size, of_trial.seed) == (1024, 1):
            kept = tuple(m for m in of_trial.measurements if m.label != "fgsm")
            logs.write_record(of_trial.model_copy(update={"measurements": kept}))
    (study,) = read_studies([folder])
    found = {d.name: d for d in epsilon_curves(study) if isinstance(d, Drawing)}
    rows = rows_of(found["epsilon-fgsm"], **{"curve": "LR (momentum 0)", "batch size": "1024"})
    assert [(row["ε"], row["seeds"]) for row in rows] == [("0", "2"), ("0.05", "1")]


def test_only_points_that_fail_a_check_have_a_ring(folder: Path, drawn: dict[str, Drawing]) -> None:
    [study] = read_studies([folder])
    odd = (study.trials["batch_size"] == 256) & (study.trials["momentum"] == 0)
    assert (fails(study.trials, "pgd") == odd).all()
    assert not fails(study.trials, "").any()
    marked = rows_of(drawn["regimes-pgd"], what="PGD accuracy at ε = 0.05", curve="LR (momentum 0)")
    assert [row["batch size"] for row in marked if "fails a check" in row["mean"]] == ["256"]
    natural = rows_of(drawn["regimes-pgd"], what="natural accuracy")
    assert not [row for row in natural if "fails" in row["mean"]]
    assert "Rings" in drawn["curvature-pgd"].caption
    assert "Rings" not in drawn["gap"].caption


def test_page_table_and_verdicts_say_which_trials_fail(folder: Path) -> None:
    text = write_report([folder], figures=["edge"]).read_text(encoding="utf-8")
    assert (
        "masked gradients: one step of FGSM breaks more than PGD: 16.0 points (pgd at 0.05, fgsm at 0.05)"
        in text
    )
    assert "<h3>The edge of stability</h3>" in text
    csv = (folder / "report" / "records.csv").read_text()
    assert csv.count("pgd_vs_fgsm") == 4  # LR and LR/BS, two seeds


def test_with_batch_norm_ceilings_need_training_mode(tmp_path: Path) -> None:
    of = experiment(**GRID | {"curvature": {}})
    folder = write_sweep(tmp_path / "s", of, lambda t: explained(t) | {"batch_norm": True, "snapshots": {}})
    [study] = read_studies([folder])
    drawings, undrawn = draw(study)
    assert not [d.name for d in drawings if d.name.startswith("edge")]
    assert [text for text in undrawn if "hessian.mode: training" in text]
    assert study.trials["stability_ratio"].isna().all()
    asked = experiment(**GRID | {"curvature": {}, "hessian": {"mode": "training"}})
    write_sweep(folder, asked, lambda t: explained(t) | {"batch_norm": True, "snapshots": {}})
    [study] = read_studies([folder])
    assert study.trials.loc[study.trials["halve_every_epochs"].isna(), "stability_ratio"].notna().all()


def test_a_density_is_one_over_the_axis() -> None:
    axis = np.linspace(-5, 15, 4_001)
    one = (np.array([0.0, 10.0]), np.array([0.75, 0.25]))
    values = density([one, one], axis, 0.5)
    assert np.trapezoid(values, axis) == pytest.approx(1, abs=1e-6)
    assert np.trapezoid(values[axis > 5], axis[axis > 5]) == pytest.approx(0.25, abs=1e-6)


def test_the_real_networks_are_drawn() -> None:
    [study] = read_studies([REAL])
    names = {drawing.name for drawing in draw(study)[0]}
    assert {"overview", "agreement", "curvature", "edge", "edge-ratios", "eigenvalue-epochs"} <= names
    assert len(names) <= 15


def test_transfer_is_a_matrix(tmp_path: Path) -> None:
    of = experiment(**GRID | {"seeds": [0], "batch_sizes": [64], "curvature": {}})
    folder = write_sweep(tmp_path / "s", of, lambda t: explained(t) | {"snapshots": {}})
    logs = LogFolder(folder)
    for number, found in enumerate(logs.records()):
        made = found.attacks[0].model_copy(
            update={
                "name": "transfer",
                "label": "transfer",
                "settings": {"epsilon": 0.05, "source": "lr/b0064-m0.0-s0"},
                "values": {"accuracy": 0.5 + number / 100, "clean_accuracy": 0.9},
                "identity": f"{number:064d}",
            }
        )
        logs.write_record(found.model_copy(update={"measurements": (*found.measurements, made)}))
    [study] = read_studies([folder])
    assert "transfer" not in {label for label, _ in study.attacks}  # it is of no one network's strength
    [drawing] = draw(study, names=["transfer-matrix"])[0]
    assert len(drawing.values) == len(study.trials)
    assert {row["source"] for row in drawing.values} == {"lr/b0064-m0.0-s0"}
    assert {row["accuracy"] for row in drawing.values} == {f"{50 + n}.0 %" for n in range(len(study.trials))}
