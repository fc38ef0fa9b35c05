"""Configs that grow after the sweep: only what is missing is measured, on the stored networks, never trained again."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import tensorflow as tf
import yaml
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import TINY, Config, Run, Work
from tests.sweeps import swept
from tfsgd.measures.spec import Measurement, Request
from tfsgd.reporting.table.studies import read_studies
from tfsgd.training.train import train
from tfsgd.trials import trial as trial_module

ONE = TINY | {"export": True, "regimes": {"LR": {"learning_rate": 0.01, "momentum": [0.9]}}}
TRIAL = "lr/b0064-m0.9-s0"


class Killed(BaseException):
    """Stands for a signal that nothing catches."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The logs of a finished sweep of one trial, with its network."""
    root = tmp_path_factory.mktemp("finished")
    (root / "config.yaml").write_text(yaml.safe_dump(ONE))
    return swept(root / "config.yaml", root)


@pytest.fixture
def folder(finished: Path, tmp_path: Path) -> Path:
    """That trial's folder, in the logs of this test."""
    shutil.copytree(finished, tmp_path / "logs/tiny")
    return tmp_path / "logs/tiny/trials" / TRIAL


@pytest.fixture
def one(config: Config) -> Callable[[], Path]:
    return lambda: config(**ONE)


def record(folder: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "record.json").read_text())
    return found


def rewrite(folder: Path, measurements: list[dict[str, Any]]) -> None:
    (folder / "record.json").write_text(json.dumps(record(folder) | {"measurements": measurements}))


def measurements_as_written(folder: Path) -> str:
    return (folder / "record.json").read_text().split('"measurements": [')[1].split("\n ],")[0]


def test_what_is_added_is_measured_and_what_was_measured_keeps_its_bytes(
    one: Callable[[], Path], run_sweep: Run, work: Work, folder: Path
) -> None:
    before, network = measurements_as_written(folder), (folder / "model.keras").read_bytes()
    grown = ["--set", "attacks.bim={epsilon: [0.1], steps: 2, relative_step_size: 0.5}", "--set", "attacks.pgd.epsilon=[0.1, 0.2]",
             "--set", "curvature.trace={examples: 64, probes: 6}"]  # fmt: skip
    code, out, err = run_sweep(one(), *grown)
    assert (code, err) == (0, "")
    assert work.trained == []
    assert work.measured == [("pgd", 0.2), ("bim", 0.1), ("trace", None)]
    assert "tiny: 1 trial, 0 complete, 0 to train, 1 to measure\n" in out
    assert measurements_as_written(folder).startswith(before + ",")
    assert (folder / "model.keras").read_bytes() == network
    grown_record = (folder / "record.json").read_bytes()
    labels = [found["label"] for found in record(folder)["measurements"][-3:]]
    assert labels == ["pgd", "bim", "trace"]
    manifest = json.loads((folder / "manifest.json").read_text())
    assert [(a["label"], a["epsilon"]) for a in manifest["attacks"]] == [
        ("fgsm", 0.1), ("pgd", 0.1), ("pgd", 0.2), ("bim", 0.1),
    ]  # fmt: skip
    row = read_studies([folder.parents[2]])[0].trials.iloc[0]
    assert {"pgd_0.2", "bim_0.1", "trace"} <= set(row.index)

    work.measured.clear()
    code, out, _ = run_sweep(one(), "--set", "attacks.fgsm=null")  # less is asked for
    assert (code, work.trained, work.measured) == (0, [], [])
    assert "1 trial, 1 complete, 0 to train, 1 to show anew in TensorBoard\n" in out
    assert (folder / "record.json").read_bytes() == grown_record


def test_a_network_that_was_kept_before_is_not_forgotten(
    one: Callable[[], Path], run_sweep: Run, folder: Path
) -> None:
    kept = {path for path in folder.rglob("*") if path.is_file() and "events" not in path.name}
    more = ["--set", "export=false", "--set", "attacks.fgsm.epsilon=[0.1, 0.2]"]
    assert run_sweep(one(), *more)[0] == 0
    assert {path for path in folder.rglob("*") if path.is_file() and "events" not in path.name} == kept
    assert folder / "model.keras" in kept


@pytest.mark.parametrize("spoilt", ["removed", "one byte", "manifest", "not kept"])
def test_without_the_network_it_says_so_and_trains_nothing(
    one: Callable[[], Path], run_sweep: Run, work: Work, folder: Path, spoilt: str
) -> None:
    path = folder / ("manifest.json" if spoilt in ("manifest", "not kept") else "model.keras")
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    if spoilt == "one byte":
        path.write_bytes(content)
    elif spoilt == "manifest":
        path.write_text("{}")
    else:
        (folder / "model.keras").unlink()
        path.unlink(missing_ok=True)
    before = (folder / "record.json").read_bytes()
    code, _, err = run_sweep(one(), "--set", "attacks.fgsm.epsilon=[0.1, 0.2]")
    assert code == 1
    [line] = err.strip().splitlines()
    assert line.startswith(f"failed: {TRIAL}: {path}: ")
    assert {"removed": "not there", "one byte": "not the network that was trained", "manifest": "no valid manifest",
            "not kept": "export: false keeps no network"}[spoilt] in line  # fmt: skip
    assert (work.trained, work.measured) == ([], [])
    assert (folder / "record.json").read_bytes() == before


def test_another_setting_under_the_same_label_is_measured_anew_and_the_report_shows_it(
    one: Callable[[], Path], run_sweep: Run, work: Work, folder: Path
) -> None:
    found = record(folder)["measurements"]
    [old] = [m for m in found if m["label"] == "pgd"]
    old["values"]["accuracy"] = 0.123  # unlike any other
    rewrite(folder, found)
    logs = folder.parents[2]
    assert read_studies([logs])[0].trials.iloc[0]["pgd_0.1"] == 0.123
    assert run_sweep(one(), "--set", "attacks.pgd.steps=3")[0] == 0
    assert (work.trained, work.measured) == ([], [("pgd", 0.1)])
    found = [m for m in record(folder)["measurements"] if m["label"] == "pgd"]
    assert found[0] == old
    assert [m["settings"]["steps"] for m in found] == [2, 3]
    assert read_studies([logs])[0].trials.iloc[0]["pgd_0.1"] == found[1]["values"]["accuracy"] != 0.123
    assert run_sweep(one())[0] == 0  # and back
    assert len(work.measured) == 1
    assert read_studies([logs])[0].trials.iloc[0]["pgd_0.1"] == 0.123


def test_the_top_eigenvalue_of_the_stored_network_is_the_callbacks_to_the_last_bit(
    one: Callable[[], Path], run_sweep: Run, work: Work, folder: Path
) -> None:
    found = record(folder)["measurements"]
    [before] = [m for m in found if m["label"] == "hessian"]
    rewrite(folder, [m for m in found if m["label"] != "hessian"])
    assert run_sweep(one())[0] == 0
    assert (work.trained, work.measured) == ([], [("hessian", None)])
    [after] = [m for m in record(folder)["measurements"] if m["label"] == "hessian"]
    assert record(folder)["provenance"]["threads"] == 1  # as here: what the bits are promised for
    assert after["values"] == before["values"]
    assert after["identity"] == before["identity"]


def test_a_kill_between_two_measurements_costs_the_one_at_hand(
    one: Callable[[], Path],
    run_sweep: Run,
    work: Work,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tests_are_tfsgd: None,
) -> None:
    measure_on = Request.measure_on

    def killed(request: Request, subject: Any) -> Measurement:
        found = measure_on(request, subject)
        if found.label == "pgd":
            raise Killed
        return found

    with monkeypatch.context() as patch:
        patch.setattr(Request, "measure_on", killed)
        with pytest.raises(Killed):
            run_sweep(one())
    folder = tmp_path / "logs/tiny/trials" / TRIAL
    before = record(folder)["measurements"]
    assert [m["label"] for m in before] == [
        "train",
        "validation",
        "test",
        "hessian",
        "confidence",
        "input_gradient",
        "jacobian",
        "weights",
        "distance",
        "gradient_norm",
        "feature_rank",
        "temperature",
        "fgsm",
    ]
    assert work.trained == [TRIAL]
    work.trained.clear()
    work.measured.clear()
    assert run_sweep(one())[0] == 0
    assert work.trained == []
    assert work.measured == [("pgd", 0.1), ("zero_gradients", None)]
    assert record(folder)["measurements"][: len(before)] == before


def test_an_interrupted_training_goes_on_after_an_attack_was_changed(
    one: Callable[[], Path],
    run_sweep: Run,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tests_are_tfsgd: None,
) -> None:
    epochs: list[int] = []
    real: Any = train

    def watched(*arguments: Any, until: int = 9) -> Any:
        *first, observe = arguments

        def told(done: int, figures: dict[str, float]) -> None:
            if done == until:
                raise Killed
            epochs.append(done)
            observe(done, figures)

        return real(*first, told)

    monkeypatch.setattr(trial_module, "train", lambda *arguments: watched(*arguments, until=3))
    with pytest.raises(Killed):
        run_sweep(one(), "--set", "epochs=3")
    monkeypatch.setattr(trial_module, "train", watched)
    assert run_sweep(one(), "--set", "epochs=3", "--set", "attacks.pgd.steps=3")[0] == 0
    assert epochs == [1, 2, 3]
    found = record(tmp_path / "logs/tiny/trials" / TRIAL)
    assert len(found["history"]["loss"]) == 3
    assert [m["settings"]["steps"] for m in found["measurements"] if m["label"] == "pgd"] == [3]


def test_tensorboard_follows_the_config_back(one: Callable[[], Path], folder: Path, run_sweep: Run) -> None:
    """Where nothing is to be measured, TensorBoard's view is written anew, and only once."""

    def numbers() -> dict[str, float]:
        """Of PGD, with how many pictures there are."""
        events = EventAccumulator(str(folder))
        events.Reload()
        tags = events.Tags()["tensors"]
        found = {tag: events.Tensors(tag) for tag in tags if tag.startswith("robustness/pgd")}
        assert {len(points) for points in found.values()} == {1}
        accuracies = {tag: float(tf.make_ndarray(point.tensor_proto)) for tag, [point] in found.items()}
        return accuracies | {"pictures": tags.count("under_attack/images")}

    before = numbers()
    other = ("--set", "attacks.pgd.epsilon=[0.05, 0.2]")
    assert run_sweep(one(), *other)[0] == 0
    assert [*numbers().items()][2:] == [("pictures", 1)]
    assert [*numbers()][:2] == ["robustness/pgd_0.05", "robustness/pgd_0.2"] != [*before][:2]
    code, out, _ = run_sweep(one())
    assert (code, numbers()) == (0, before)
    assert "1 complete, 0 to train, 1 to show anew in TensorBoard\n" in out
    assert "1 complete, 0 to train\n" in run_sweep(one())[1]

    (folder / "model.keras").unlink()
    code, _, err = run_sweep(one(), *other)
    assert (code, numbers()["pictures"], [*numbers()][:2]) == (
        0,
        0,
        ["robustness/pgd_0.05", "robustness/pgd_0.2"],
    )
    assert "no picture of the attacks" in err


def test_another_file_in_the_place_of_a_source_is_refused(
    one: Callable[[], Path], folder: Path, run_sweep: Run, work: Work
) -> None:
    source, others = folder.parents[2] / "source.keras", folder / "model.keras"
    shutil.copy(others, source)
    transfer = ("--set", "attacks.there={attack: transfer, source: source.keras, epsilon: [0.1], steps: 2}")
    assert run_sweep(one(), *transfer)[0] == 0
    assert work.measured == [("there", 0.1)]
    before = (folder / "record.json").read_bytes()
    network = tf.keras.models.load_model(source)
    network.set_weights([-weights for weights in network.get_weights()])
    network.save(source)
    for more in ((), ("--dry-run",), ("--set", "epochs=1")):
        code, _, err = run_sweep(one(), *transfer, *more)
        assert (code, err.count("\n")) == (2, 1)
        assert "attacks.there.source: source.keras is another network than the one" in err
    source.unlink()  # what is measured is measured
    assert run_sweep(one(), *transfer)[0] == 0
    assert (folder / "record.json").read_bytes() == before
