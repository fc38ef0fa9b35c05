"""What a trained network and a measurement are known by: frozen, so that no record is ever orphaned."""

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic import experiment, record
from tfsgd.measures.attacks.pgd import PGD
from tfsgd.measures.curvature.input_eigenvalue import InputEigenvalue
from tfsgd.measures.curvature.top_eigenvalue import TopEigenvalue
from tfsgd.measures.spec import Request
from tfsgd.models.structure import PAPER_STRUCTURES
from tfsgd.plan.config import Experiment
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.requests import requests_of
from tfsgd.plan.trials import Training, grid, training_of
from tfsgd.records.folder import LogFolder, read_record
from tfsgd.records.record import Record
from tfsgd.records.upgrade import upgraded

Config = Callable[..., Path]
DATA, MODEL = "d" * 64, "e" * 64

TRAININGS = {
    ("fmnist_stdcnn", "lr/b0064-m0.0-s0"): "d01c29aabe326f5d9de986ede1f6c3ee9e9e287be12d5b56a8a7d93631ee6277",
    (
        "fmnist_m1",
        "benchmark/b4096-m0.9-s2",
    ): "5c47f4d073fba24d2223f123e21ca661328d84681bf2f43df9b2214eb97b1fc7",
    ("cifar10_c1", "lr-bs/b1024-m0.5-s1"): "89e65a8bdee93759ffbc9399be117cb1b3208655dd989c7da674abd2994162df",
}
REQUESTS = {
    ("fmnist_stdcnn", "test", None): "05707fc385ac6e2b6bf2e3a6cb7d982f74aa7326a6982b6dccaf13019de63888",
    ("fmnist_stdcnn", "pgd", 0.1): "584b8e20fb8c1d8ca8bd2e126c155088794cd06f78791fc7999773cf0c83cfc2",
    ("cifar10_c1", "hessian", None): "e300db23179b513147768ef4dbad735737a92dce12cbc5442dd4aa8dc9e90d75",
}


@pytest.mark.parametrize(("config", "trial"), TRAININGS)
def test_hashes_of_trainings_are_frozen(config: str, trial: str) -> None:
    """One that changes here makes every record ever made worthless: give the new key a default instead."""
    experiment = load_experiment(Path("configs") / f"{config}.yaml")
    [found] = [t for t in grid(experiment) if t.name == trial]
    assert training_of(found, experiment, DATA, MODEL).hash == TRAININGS[config, trial]


@pytest.mark.parametrize(("config", "label", "epsilon"), REQUESTS)
def test_identities_of_measurements_are_frozen(config: str, label: str, epsilon: float | None) -> None:
    experiment = load_experiment(Path("configs") / f"{config}.yaml")
    [found] = [r for r in requests_of(experiment, 1) if (r.label, r.epsilon) == (label, epsilon)]
    assert found.identity == REQUESTS[config, label, epsilon]


BEFORE = {  # the cross-entropy was exact: identities of what is asked for now by `loss: softmax_cross_entropy`
    ("fgsm", 0.1): "a222e885167380641db28ebab3da9e17f00442de546fdd5bee9abd52c5767b4b",
    ("pgd", 0.1): "5c44bb3102b5d92fe99ed0d038dd232d1a1a1b849642cdcaa00bfda060f31b84",
}


@pytest.mark.parametrize(("label", "epsilon"), BEFORE)
def test_what_was_recorded_keeps_its_identity_as_one_by_softmax(label: str, epsilon: float) -> None:
    asked = f"attacks.{label}.loss=softmax_cross_entropy"
    experiment = load_experiment(Path("configs/fmnist_stdcnn.yaml"), (asked,))
    [found] = [r for r in requests_of(experiment, 1) if (r.label, r.epsilon) == (label, epsilon)]
    assert found.identity == BEFORE[label, epsilon]


# A new optional key


@dataclass(frozen=True)
class SettingsOfTomorrow(SGDSettings):
    weight_decay: float = 0.0


class AttackOfTomorrow(PGD):
    momentum: float = 0.0


class CurvatureOfTomorrow(TopEigenvalue):
    shift: float = 0.0


def test_a_new_key_with_a_default_changes_no_hash_and_another_value_does() -> None:
    training = Training("mnist", DATA, "stdcnn", MODEL, None, 3, SGDSettings(64, 0.9, 0.01, 5), 0)
    settings = SettingsOfTomorrow(64, 0.9, 0.01, 5)
    assert replace(training, settings=settings).hash == training.hash
    assert replace(training, settings=replace(settings, weight_decay=1e-4)).hash != training.hash


@pytest.mark.parametrize(
    ("today", "tomorrow", "changed"),
    [
        (PGD(epsilon=(0.1,), steps=7), AttackOfTomorrow(epsilon=(0.1,), steps=7), {"momentum": 1.0}),
        (TopEigenvalue(tolerance=0.1), CurvatureOfTomorrow(tolerance=0.1), {"shift": 1.0}),
    ],
)
def test_a_new_setting_with_a_default_changes_no_identity(
    today: Any, tomorrow: Any, changed: dict[str, Any]
) -> None:
    requests = [
        Request("kind", "label", spec, "test", 50, 1, 0.1)
        for spec in (today, tomorrow, tomorrow.model_copy(update=changed))
    ]
    assert requests[0].identity == requests[1].identity != requests[2].identity


# What they cover


def test_the_training_hash_covers_the_training_and_nothing_else(config: Config) -> None:
    def hash_with(*overrides: str) -> str:
        experiment = load_experiment(config(), overrides)
        return training_of(grid(experiment)[0], experiment, DATA, MODEL).hash

    same = hash_with()
    for override in ("name=other", "batch_sizes=[64, 128]", "seeds=[0, 1]", "export=true", "data_dir=/tmp",
                     "regimes.LR.momentum=[0.0]", "regimes.New={learning_rate: 0.5, momentum: [0.0]}",
                     "attacks.pgd.steps=3", "attacks.fgsm.epsilon=[0.2]", "attacks.bim={epsilon: [0.1]}",
                     "hessian.tolerance=0.1", "hessian.every_epochs=1", "curvature.trace={examples: 64}",
                     "test_examples=49", "validation_examples=49", "checkpoint_every_epochs=5"):  # fmt: skip
        assert hash_with(override) == same, override
    for override in ("epochs=2", "train_examples=199", "model=m1", "seeds=[1]", "dataset=mnist",
                     "regimes.LR.learning_rate=0.02", "regimes.LR.halve_every_epochs=5",
                     "regimes.LR.momentum=[0.1]", "batch_sizes=[32]"):  # fmt: skip
        assert hash_with(override) != same, override
    experiment = load_experiment(config())
    trial = grid(experiment)[0]
    assert len({same, training_of(trial, experiment, "f" * 64, MODEL).hash, training_of(trial, experiment, DATA, "f" * 64).hash}) == 3  # fmt: skip


def test_a_measurement_is_known_by_what_determines_it_and_nothing_else(config: Config) -> None:
    def identities(*overrides: str, seed: int = 0) -> dict[tuple[str, float | None], str]:
        requests = requests_of(load_experiment(config(), overrides), seed)
        return {(r.label, r.epsilon): r.identity for r in requests if not r.free}

    before = identities()
    assert len(set(before.values())) == len(before) == 7
    for override in ("attacks.pgd.epsilon=[0.1, 0.2]", "curvature.trace={examples: 64}", "epochs=5",
                     "attacks.pgd.loss=cross_entropy", "attacks.pgd.attack=pgd", "hessian.every_epochs=1",
                     "hessian.method=rayleigh_ritz"):  # fmt: skip
        assert before.items() <= identities(override).items(), override
    for override, changed in {
        "attacks.pgd.steps=3": {"pgd"}, "attacks.pgd.examples=40": {"pgd"}, "attacks.pgd.loss=margin": {"pgd"},
        "hessian.tolerance=0.4": {"hessian"}, "hessian.method=power": {"hessian"}, "hessian.split=test": {"hessian"}, "hessian.examples=50": {"hessian"},
        "train_examples=199": {"train"}, "test_examples=49": {"test", "fgsm", "pgd", "zero_gradients"},
    }.items():  # fmt: skip
        after = identities(override, *(("hessian.examples=50",) if "split" in override else ()))
        assert {label for (label, e), found in after.items() if found != before[label, e]} == changed, (
            override
        )
    assert {label for (label, _), found in identities(seed=1).items() if found not in before.values()} == {"fgsm", "pgd"}  # fmt: skip
    renamed = identities("attacks.pgd=null", "attacks.other={attack: pgd, epsilon: [0.1], steps: 2, relative_step_size: 0.5}")  # fmt: skip
    assert renamed["other", 0.1] == before["pgd", 0.1]


def test_requests_are_derived_once_and_anew_for_a_copy() -> None:
    of = experiment(attacks={"fgsm": {"epsilon": [0.1]}})
    assert requests_of(of, 1) is requests_of(of, 1) is not requests_of(of, 2)
    more = of.model_copy(update={"attacks": experiment(attacks={"fgsm": {"epsilon": [0.1, 0.2]}}).attacks})
    assert len(requests_of(more, 1)) == len(requests_of(of, 1)) + 1
    assert of == experiment(attacks={"fgsm": {"epsilon": [0.1]}})  # one with requests, and one without


def test_what_two_labels_ask_for_is_measured_once_and_found_under_both() -> None:
    same = {"attack": "pgd", "epsilon": [0.1, 0.3]}
    of = experiment(attacks={"pgd": {"epsilon": [0.1]}, "again": same})
    requests = requests_of(of, 0)
    bare = record(grid(of)[0], of).model_copy(update={"measurements": ()})
    missing = bare.missing(requests)
    assert [(r.label, r.epsilon) for r in missing if r.epsilon is not None] == [("pgd", 0.1), ("again", 0.3)]
    full = bare.with_measurements(*(r.measured({"accuracy": 0.5}, 1.0) for r in missing))
    assert full.missing(requests) == []
    assert all(full.find(r) is not None for r in requests)
    assert bare.model_copy(update={"status": "diverged"}).missing(requests) == []


# Records of schema 1

OLD = sorted(
    path
    for root in (Path("tests/schema_1"), Path("docs/results"))
    for path in root.glob("*/trials/*/*/record.json")
)


def test_there_are_old_records() -> None:
    assert [("schema" in json.loads(path.read_text())) for path in OLD if "schema_1" in path.parts] == [
        False,
        False,
    ]


@functools.cache
def _stored(folder: Path) -> tuple[Experiment, list[Record]]:
    logs = LogFolder(folder)
    return logs.read_experiment(), [*logs.records()]


@pytest.mark.parametrize("path", OLD, ids=lambda path: "/".join(path.parts[-5:-1]))
def test_a_stored_record_is_read_and_needs_nothing_anew(path: Path) -> None:
    """Its numbers under the names of today, and every identity that its config asks for, but for what was mended."""
    experiment, records = _stored(path.parents[3])
    [record] = [r for r in records if r.folder == "/".join(path.parts[-3:-1])]
    mended = {"fgsm", "pgd", "zero_gradients"}
    asked = [request for request in requests_of(experiment, record.seed) if not request.free]
    assert {request.name for request in record.missing(asked)} <= mended
    by_softmax = [
        m.settings["loss"] for m in record.attacks if m.name in mended and "revision" not in m.settings
    ]
    assert set(by_softmax) <= {"softmax_cross_entropy"}
    assert record.model_sha256 == PAPER_STRUCTURES[record.model]
    [trial] = [t for t in grid(experiment) if t.name == record.folder]
    assert record.trial == trial
    assert (
        training_of(trial, experiment, record.data_sha256, record.model_sha256).hash == record.training_hash
    )
    raw = json.loads(path.read_text())
    if "schema" not in raw:
        assert schema_1(record.model_dump(mode="json", by_alias=True), raw["config_hash"]) == raw


def schema_1(new: dict[str, Any], config_hash: str) -> dict[str, Any]:
    """A record of schema 2 written back as one of schema 1, key by key."""
    found = new["measurements"]
    natural = {m["split"]: m for m in found if m["kind"] == "accuracy"}
    [top] = [m for m in found if m["kind"] == "curvature"]
    [zero] = [m for m in found if m["kind"] == "gradient"]
    same = ("name", "dataset", "model", "regime", "regimes", "seed", "epochs", "profile", "status", "train_examples",
            "history", "seconds", "data_sha256")  # fmt: skip
    return {
        **{key: new[key] for key in same},
        **new["sgd"],
        **new["provenance"],
        "config_hash": config_hash,
        **{f"{split}_accuracy": m["values"]["accuracy"] for split, m in natural.items()},
        **{f"{split}_loss": natural[split]["values"]["loss"] for split in ("train", "test")},
        **{f"{split}_examples": m["examples"] for split, m in natural.items()},
        "zero_gradient_fraction": zero["values"]["fraction"],
        "hessian": {
            "eigenvalue": top["values"]["value"],
            "residual": top["values"]["error"],
            "iterations": top["values"]["products"],
            "converged": top["values"]["converged"],
            "examples": top["examples"],
            "split": top["split"],
        },
        "attacks": [_old_attack(m) for m in found if m["kind"] == "attack"],
    }


def _old_attack(new: dict[str, Any]) -> dict[str, Any]:
    one_step = {"random_start": False, "restarts": 1, "early_stop": False}
    settings = one_step | new["settings"]
    keys = ("epsilon", "steps", "step_size", "random_start", "restarts", "early_stop")
    return {
        "name": new["name"], "norm": "Linf", **{key: settings[key] for key in keys}, "examples": new["examples"],
        "clean_accuracy": new["values"]["clean_accuracy"], "accuracy": new["values"]["accuracy"],
    }  # fmt: skip


def before_it_was_exact(found: dict[str, Any], name: str, epsilon: float | None, train_loss: float) -> Record:
    """A record whose measurement of a name is as it was made before the cross-entropy was exact."""
    of = experiment(attacks={"fgsm": {"epsilon": [0.1]}, "pgd": {"epsilon": [0.1]}})
    requests = {(r.name, r.epsilon): r for r in requests_of(of, 0)}
    raw = record(grid(of)[0], of).model_dump(mode="json", by_alias=True)
    for m in raw["measurements"]:
        if m["label"] == "train":
            m["values"]["loss"] = train_loss
        if (m["name"], m["settings"].get("epsilon")) == (name, epsilon):
            m["settings"].pop("revision", None)
            m["settings"].update(found)
            m["identity"] = requests[name, epsilon].identity_at(1)
    return Record.model_validate(upgraded(raw, {}))


@pytest.mark.parametrize(("name", "told"), [("fgsm", {}), ("pgd", {"loss": "cross_entropy"})])
def test_an_attack_of_before_is_one_by_softmax_and_the_exact_one_is_asked_for(
    name: str, told: dict[str, Any]
) -> None:
    """The old number keeps its identity, under that loss, and stands beside the new one."""
    of = experiment(attacks={"fgsm": {"epsilon": [0.1]}, "pgd": {"epsilon": [0.1]}})
    old = before_it_was_exact(told, name, 0.1, 0.1)
    assert [r.name for r in old.missing(requests_of(of, 0)) if not r.free] == [name]
    [softmax] = [m for m in old.attacks if m.label == f"{name}-softmax"]
    assert softmax.settings["loss"] == "softmax_cross_entropy"
    asked = experiment(attacks={name: {"epsilon": [0.1], "loss": "softmax_cross_entropy"}})
    [request] = [r for r in requests_of(asked, 0) if r.name == name]
    assert old.find(request) == softmax
    again = Record.model_validate(upgraded(old.model_dump(mode="json", by_alias=True), {}))
    assert again == old


@pytest.mark.parametrize(("train_loss", "missing"), [(0.1, []), (1e-4, ["top_eigenvalue"])])
def test_curvature_of_before_is_taken_over_where_the_network_is_not_sure_of_everything(
    train_loss: float, missing: list[str]
) -> None:
    of = experiment(attacks={"fgsm": {"epsilon": [0.1]}, "pgd": {"epsilon": [0.1]}})
    old = before_it_was_exact({}, "top_eigenvalue", None, train_loss)
    assert [r.name for r in old.missing(requests_of(of, 0)) if not r.free] == missing


def test_an_old_record_of_a_diverged_training_has_no_measurements() -> None:
    raw = json.loads(next(p for p in OLD if "schema_1" in p.parts).read_text())
    new = upgraded(raw | {"status": "diverged"}, {})
    assert (new["status"], new["measurements"]) == ("diverged", [])


def test_what_is_read_is_what_was_written(tmp_path: Path) -> None:
    """Schema 2 is passed through: written once, it is read with the same bytes."""
    old = next(path for path in OLD if "schema_1" in path.parts)
    logs = LogFolder(old.parents[3])
    hessian = logs.read_experiment().hessian.model_dump()
    written = LogFolder(tmp_path).write_record(read_record(old, hessian))
    first = written.read_bytes()
    assert json.loads(first)["schema"] == 2
    assert LogFolder(tmp_path).write_record(read_record(written, {})).read_bytes() == first


def test_a_mended_measure_is_measured_anew() -> None:
    """The revision enters the identity, and the record's settings, but for the first."""

    class Before(InputEigenvalue):
        revision = 1

    old, now = (
        Request("input_eigenvalue", "input_eigenvalue", spec(), "train", 1_000)
        for spec in (Before, InputEigenvalue)
    )
    assert old.identity == "6d27bb76df980c11b81d29dbc612e6afd68e86ec739469f058862bb039a10e75"
    assert now.identity != old.identity
    values = {"value": 1.0, "error": 0.0, "products": 1, "converged": True}
    assert "revision" not in old.measured(values, 1.0).settings
    assert now.measured(values, 1.0).settings["revision"] == 2


def test_curvature_of_the_first_revision_keeps_its_identity() -> None:
    """By which records made before are known."""

    class Before(TopEigenvalue):
        revision = 1

    experiment = load_experiment(Path("configs/cifar10_c1.yaml"))
    [now] = [r for r in requests_of(experiment, 1) if r.label == "hessian"]
    before = replace(now, spec=Before(**now.spec.model_dump()))
    assert before.identity == "44c533825c44a457dd7114def67afdebce90fa11a6afaa1ffdc668881ba1758a"
