"""Where a number was measured with several settings, everybody shows the one that the config asks for."""

import json
import sys
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.synthetic import experiment, realistic, record, write_sweep
from tfsgd.measure import _once, _stored_result
from tfsgd.measures.spec import Measurement
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import requests_of, top_eigenvalue
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.records.manifest import renew_manifests
from tfsgd.records.record import Record
from tfsgd.records.tensorboard_tags import is_current
from tfsgd.reporting.figures.by_palette import spectrum
from tfsgd.reporting.figures.registry import draw
from tfsgd.reporting.table.columns import table_of
from tfsgd.reporting.table.rows import TrialRow, consistent
from tfsgd.reporting.table.studies import read_studies
from tfsgd.terminal.tables import results_table
from tfsgd.trials.tensorboard import write_summary
from tfsgd.trials.trial import summary

SMALL: dict[str, Any] = {
    "batch_sizes": [64], "regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.0]}}, "epochs": 2,
    "attacks": {"fgsm": {"epsilon": [0.1]}, "pgd": {"epsilon": [0.1]}},
    "curvature": {"trace": {"examples": 100}},
}  # fmt: skip
NOW = experiment(**SMALL)
BEFORE = experiment(
    **SMALL
    | {
        "test_examples": 20,
        "hessian": {"examples": 20},
        "curvature": {"trace": {"examples": 20}},
        "attacks": {label: {"epsilon": [0.1], "examples": 20} for label in ("fgsm", "pgd")},
    }
)


def now(trial: Trial) -> dict[str, Any]:
    certain = {"confidence": 0.9, "margin": 8.0, "calibration_error": 0.1}
    return {**realistic(trial), "trace": 7.0, "confidence": certain, "input_gradient": {"value": 5.0}}


def before(trial: Trial) -> dict[str, Any]:
    """Numbers unlike any other; PGD's is a sign of masked gradients."""
    certain = {"confidence": 0.111, "margin": 1.11, "calibration_error": 0.111}
    odd = {"test_accuracy": 0.111, "train_accuracy": 0.111, "eigenvalue": 1110.0, "trace": 1110.0}
    attacks = {"fgsm": {0.1: 0.0}, "pgd": {0.1: 0.111}}
    return {**realistic(trial), **odd, **attacks, "confidence": certain, "input_gradient": {"value": 111.0}}


def measured_again(trial: Trial) -> Record:
    """First as the config of today asks, then with other settings under the same labels."""
    return record(trial, NOW, now).with_measurements(*record(trial, BEFORE, before).measurements)


@pytest.fixture
def one() -> tuple[Trial, Record]:
    trial = grid(NOW)[0]
    return trial, measured_again(trial)


def shown(results: list[tuple[Trial, Record]], of: Experiment) -> str:
    console = Console(width=300)
    with console.capture() as said:
        console.print(results_table(results, of, 300))
    return said.get()


def test_the_terminal_the_progress_and_the_manifest(one: tuple[Trial, Record]) -> None:
    trial, both = one
    plain = record(trial, NOW, now)
    assert "0.111" not in shown([one], NOW)
    assert "1110" not in shown([one], NOW)
    assert "1110" in shown([one], BEFORE)
    assert summary(both, NOW) == summary(plain, NOW)


def test_the_manifest_follows_a_config_for_which_nothing_is_measured(
    one: tuple[Trial, Record], tmp_path: Path
) -> None:
    trial, _ = one
    logs = LogFolder(tmp_path)
    path = logs.trial_path(trial) / "manifest.json"
    path.parent.mkdir(parents=True)
    (path.parent / "record.json").touch()
    path.write_text(json.dumps({"input": {"shape": [None, 28, 28, 1]}, "sha256": {"model.keras": "0" * 64}}))
    for of, expected in ((BEFORE, 0.111), (NOW, realistic(trial)["test_accuracy"])):
        renew_manifests([one], of, logs)
        said = json.loads(path.read_text())
        assert said["test_accuracy"] == expected
        assert [a["label"] for a in said["attacks"]] == ["fgsm", "pgd"]
        assert said["sha256"] == {"model.keras": "0" * 64}
    path.write_text("{}")
    renew_manifests([one], NOW, logs)
    assert path.read_text() == "{}"


def test_a_number_that_is_known_under_another_label_has_the_configs(one: tuple[Trial, Record]) -> None:
    """λ1 of 400 images was another measure; now it is `hessian`."""
    trial, _ = one
    big = {"measure": "top_eigenvalue", "examples": 400}
    of = experiment(**SMALL | {"hessian": {"examples": 100}, "curvature": {"big": big}})
    made = record(trial, of, lambda t: {**now(t), "eigenvalue": 100.0, "big": 400.0})
    after = experiment(**SMALL | {"hessian": {"examples": 400}, "curvature": {}})
    assert made.is_complete([top_eigenvalue(after)])
    assert " 400 " in shown([(trial, made)], after)
    assert "top eigenvalue 400" in summary(made, after)
    [row] = consistent([TrialRow(made, Path("x"), (after,))])
    assert table_of([row])[0]["eigenvalue"][0] == 400.0
    assert [m.values["value"] for m in row.shown.measurements if m.label == "hessian"] == [400.0]


def test_the_columns_and_the_checks(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "s", NOW, now)
    clean = read_studies([folder])[0].trials
    for trial in grid(NOW):
        LogFolder(folder).write_record(measured_again(trial))
    [study] = read_studies([folder])
    columns = [c for c in clean if not str(c).startswith("seconds")]
    assert study.trials[columns].to_json() == clean[columns].to_json()
    assert {"trace", "confidence", "input_gradient"} <= set(columns)
    assert not any(study.trials["failed_checks"])
    assert {m.values["value"] for r in study.records for m in r.measurements if m.label == "trace"} == {7.0}
    LogFolder(folder).write_experiment(BEFORE)
    found = read_studies([folder])[0].trials
    assert set(found["trace"]) == {1110.0}
    assert all("pgd_vs_fgsm" in [c.name for c in failed] for failed in found["failed_checks"])


def test_what_is_no_longer_asked_for_has_the_settings_of_most_trials(tmp_path: Path) -> None:
    """Two of three trials have the trace of 20 images, one of them that of 100 as well, measured last."""
    folder = write_sweep(tmp_path / "s", NOW, now)
    logs = LogFolder(folder)
    first, second, _ = grid(NOW)
    logs.write_record(record(first, BEFORE, before).with_measurements(*record(first, NOW, now).measurements))
    logs.write_record(record(second, BEFORE, before))
    logs.write_experiment(experiment(**SMALL | {"curvature": {}}))
    table = read_studies([folder])[0].trials.set_index("seed")["trace"]
    # 100 images: of the first and the third; 20: of the first and the second; the first that was found counts.
    assert list(table) == [1110.0, 1110.0, 7.0]


def test_training_modes_eigenvalue_is_the_configs_own() -> None:
    """With BatchNorm λ1 of the descent is another measurement."""
    mode = {"measure": "top_eigenvalue", "mode": "training"}
    big, small = (experiment(**SMALL | {"curvature": {"descent": mode | {"examples": n}}}) for n in (400, 20))
    trial = grid(big)[0]

    def made(of: Experiment, value: float) -> Record:
        return record(trial, of, lambda t: {**now(t), "descent": value, "batch_norm": True})

    both = made(big, 40.0).with_measurements(*made(small, 2.0).measurements)
    for of, value in ((big, 40.0), (small, 2.0)):
        assert table_of([TrialRow(both, Path("x"), (of,))])[0]["descent_eigenvalue"][0] == value


def test_a_density_is_the_configs_own(tmp_path: Path) -> None:
    def with_nodes(node: float) -> Any:
        found = {"value": node, "nodes": [[0.0, node]], "weights": [[0.9, 0.1]]}
        return lambda t: {**realistic(t), "spectrum": found}

    sizes = {"batch_sizes": [64, 128]}
    of, other = (
        experiment(**SMALL | sizes | {"curvature": {"spectrum": {"examples": n}}}) for n in (400, 20)
    )
    folder = write_sweep(tmp_path / "s", of, with_nodes(40.0))
    for trial in grid(of):
        old = record(trial, other, with_nodes(9_000.0))
        LogFolder(folder).write_record(
            record(trial, of, with_nodes(40.0)).with_measurements(*old.measurements)
        )
    [drawing] = spectrum(read_studies([folder])[0])
    assert not isinstance(drawing, str)
    assert {float(row["to"]) < 100 for row in drawing.values} == {True}


def test_tensorboard(one: tuple[Trial, Record], tmp_path: Path) -> None:
    """Each tag once, with the number that is asked for; a label that was another's has the new name."""
    trial, both = one
    pgd = {"attack": "pgd", "epsilon": [0.1]}
    renamed = experiment(**SMALL | {"attacks": {"strong": pgd}})
    write_summary(both, renamed, None, tmp_path)
    events = EventAccumulator(str(tmp_path))
    events.Reload()
    assert "robustness/pgd_0.1" not in events.Tags()["tensors"]

    def numbers(tag: str) -> list[float]:
        return [float(tf.make_ndarray(e.tensor_proto)) for e in events.Tensors(tag)]

    truth = realistic(trial)
    assert numbers("robustness/strong_0.1") == pytest.approx([truth["pgd"][0.1]])
    assert numbers("accuracy/test") == pytest.approx([truth["test_accuracy"]])
    assert numbers("curvature/lambda1") == pytest.approx([truth["eigenvalue"]])
    assert numbers("curvature/trace") == [7.0]
    assert is_current(both, renamed, tmp_path)
    assert not is_current(both, NOW, tmp_path)
    [path] = tmp_path.glob("events*.v3")
    path.rename(path.with_suffix(".v2"))  # with the tags of an earlier version, it is taken as it is
    assert is_current(both, renamed, tmp_path)
    assert is_current(both, NOW, tmp_path)


def test_the_evidence_of_measure(one: tuple[Trial, Record], tmp_path: Path) -> None:
    trial, _ = one
    plain = record(trial, NOW, now)
    found = _stored_result([one], NOW, LogFolder(tmp_path))
    [evidence] = found.evidence
    assert [m["label"] for m in evidence["measurements"]] == [m.label for m in plain.measurements]
    [column] = found.columns
    assert {m.label: m.accuracy for m in column.measurements if m.kind == "attack"} == {
        m.label: m.accuracy for m in plain.attacks
    }


def test_a_trial_is_no_second_target_beside_its_sweep(tmp_path: Path, monkeypatch: Any) -> None:
    sweep, other = write_sweep(tmp_path / "s", NOW, now), tmp_path / "x.keras"
    other.touch()
    trial = sweep / "trials" / grid(NOW)[0].name
    monkeypatch.chdir(tmp_path)
    assert _once([other, sweep, trial, Path("x.keras"), Path("s")]) == [other, sweep]
    assert _once([trial, Path("s")]) == [Path("s")]
    assert _once([trial, trial]) == [trial]


# Pooled folders


def test_the_order_of_the_folders_does_not_matter_and_no_number_is_lost(tmp_path: Path) -> None:
    more = experiment(
        **SMALL
        | {"attacks": {label: {"epsilon": [0.1, 0.3]} for label in ("fgsm", "pgd")}, "seeds": [0, 1, 2, 3]}
    )
    one, two = tmp_path / "one", tmp_path / "two"
    write_sweep(one, NOW, now)
    write_sweep(two, more, lambda t: {**now(t), "test_accuracy": 0.5})
    [forth], [back] = read_studies([one, two]), read_studies([two, one])
    assert forth.trials.to_json() == back.trials.to_json()
    assert forth.trials["pgd_0.3"].notna().all()
    assert list(forth.trials["seed"]) == [0, 1, 2, 3]
    assert forth.repeated == 3
    assert [r.model_dump() for r in forth.records] == [r.model_dump() for r in back.records]


def test_snapshots_are_pooled_too() -> None:
    of = experiment(**SMALL)
    trial = grid(of)[0]

    def at(*losses: float, **keys: Any) -> Record:
        return record(trial, experiment(**SMALL | keys), lambda t: {**now(t), "snapshots": {x: now(t) | {"train_loss": x} for x in losses}})  # fmt: skip

    few = at(0.5).united(at(0.5, 0.3, curvature={"trace": {"examples": 20}}))
    assert [s.train_loss for s in few.snapshots] == [0.5, 0.3]
    assert [m.examples for m in few.snapshots[0].measurements if m.label == "trace"] == [100, 20]
    assert [m.examples for m in few.measurements if m.label == "trace"] == [100, 20]


# What needs no code


OWN = (
    "from tfsgd.measures.attack import AttackSpec\n"
    "from tfsgd.measures.curvature_spec import CurvatureSpec\n"
    "class Mine(AttackSpec):\n    depth: int = 3\n    def run(self, *arguments): ...\n"
    "class Rough(CurvatureSpec):\n    depth: int = 3\n    def run(self, *arguments): ...\n"
)


def test_a_report_needs_no_attack_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "lost_code.py").write_text(OWN)
    folder = tmp_path / "s"
    of = experiment(**SMALL)
    raw = of.model_dump(mode="json")
    raw["code_dir"] = str(tmp_path)
    raw["hessian"]["tolerance"] = 0.5
    raw["attacks"]["mine"] = {"attack": "lost_code:Mine", "epsilon": [0.1]}
    raw["curvature"]["rough"] = {"measure": "lost_code:Rough", "examples": 50}
    raw["own_code"] = ["lost_code:Mine", "lost_code:Rough"]
    own = Experiment.model_validate(raw, context={"recorded": True})
    write_sweep(folder, own, lambda t: {**now(t), "mine": {0.1: 0.25}, "rough": 3.0})
    there = read_studies([folder])[0].trials
    (tmp_path / "lost_code.py").unlink()
    del sys.modules["lost_code"]
    [study] = read_studies([folder])
    assert set(study.trials["mine_0.1"]) == {0.25}
    assert set(study.trials["rough"]) == {3.0}
    assert study.trials[there.columns].to_json() == there.to_json()
    logs = LogFolder(folder)
    assert logs._recorded_hessian()["tolerance"] == 0.5
    assert logs.read_experiment().attacks["mine"].is_recorded
    logs.tuner_path.mkdir()
    logs.write_plan(own)
    with pytest.raises(Exception, match="no module 'lost_code'"):
        logs.read_plan()


def test_numbers_of_ones_own_code_are_of_the_code_that_most_trials_were_measured_with_last(
    tmp_path: Path,
) -> None:
    """A report has no code to hash: of two codes under one name it shows one alone."""
    raw = experiment(**SMALL | {"seeds": [0, 1, 2]}).model_dump(mode="json")
    raw["attacks"]["mine"] = {"attack": "lost_code:Mine", "epsilon": [0.1], "depth": 3}
    of = Experiment.model_validate(raw)
    write_sweep(tmp_path / "s", of, now)
    logs = LogFolder(tmp_path / "s")
    request = next(r for r in requests_of(of, 0) if r.label == "mine")

    def by(code: str, accuracy: float, seed: int, depth: int = 3) -> Measurement:
        found = replace(request, seed=seed).measured({"accuracy": accuracy, "clean_accuracy": 0.9}, 1.0)
        settings = found.settings | {"code_sha256": 64 * code, "depth": depth}
        return found.model_copy(update={"settings": settings, "identity": f"{seed}{depth}{code}" + 61 * "0"})

    for one in list(logs.records()):
        new = [by("b", 0.5, one.seed), by("c", 0.75, one.seed, depth=4)] if one.seed else []
        logs.write_record(one.with_measurements(by("a", 0.25, one.seed), *new))
    [study] = read_studies([logs.path])
    shown = study.trials.set_index("seed")["mine_0.1"]
    assert shown[[1, 2]].eq(0.5).all().all()
    assert shown[[0]].isna().all().all(), "measured with the other code alone"


def test_one_batch_size_of_1_is_drawn_without_a_warning(tmp_path: Path) -> None:
    of = experiment(**SMALL | {"batch_sizes": [1]})
    folder = write_sweep(tmp_path / "s", of, lambda t: {**realistic(t), "trace": 7.0})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        draw(read_studies([folder])[0])
