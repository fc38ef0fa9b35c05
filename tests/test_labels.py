"""A label names one thing: no attack and no measure takes another's name, column or tag."""

from pathlib import Path
from typing import Any

import pytest

from tests.synthetic import experiment, realistic, record
from tfsgd.measures.spec import Measurement
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import requests_of
from tfsgd.plan.specs import BUILT_IN
from tfsgd.plan.trials import grid
from tfsgd.records.tensorboard_tags import EIGENVALUE, PICTURE, SMALLEST_EPSILON, epoch_tag, tag
from tfsgd.reporting.table.columns import table_of
from tfsgd.reporting.table.rows import TrialRow, consistent
from tfsgd.terminal.tables import results_table

TRACE = {"measure": "trace", "examples": 50}
PGD = {"attack": "pgd", "epsilon": [0.1]}


def recorded(**keys: Any) -> Experiment:
    """A config as an older version has stored it."""
    raw = experiment().model_dump(mode="json") | keys
    return Experiment.model_validate(raw, context={"recorded": True})


def test_every_measurement_without_a_block_is_known() -> None:
    asked = requests_of(experiment(attacks={}, corruptions={}), 0)
    assert {request.label for request in asked} == {*BUILT_IN}


@pytest.mark.parametrize("label", BUILT_IN)
@pytest.mark.parametrize(("key", "block"), [("curvature", TRACE), ("attacks", PGD)])
def test_a_built_in_measurements_name_is_refused(label: str, key: str, block: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"{label}: expected another label"):
        experiment(**{key: {label: block}})
    assert label in getattr(recorded(**{key: {label: block}}), key)


@pytest.mark.parametrize(
    ("key", "blocks", "name"),
    [
        ("attacks", {"pgd": {"attack": "fgsm", "epsilon": [0.1]}}, "pgd"),
        ("attacks", {"FGSM": {"attack": "noise", "epsilon": [0.1]}}, "FGSM"),
        ("curvature", {"spectrum": TRACE}, "spectrum"),
    ],
)
def test_another_kinds_name_is_refused(key: str, blocks: dict[str, Any], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}: expected another label: it is the name of another kind"):
        experiment(**{key: blocks})
    assert name in getattr(recorded(**{key: blocks}), key)
    experiment(attacks={"PGD": PGD, "mine": PGD}, curvature={"trace": TRACE})


def test_epsilons_that_look_alike_are_refused() -> None:
    with pytest.raises(ValueError, match=r"pgd\.epsilon: expected values that differ in their first six"):
        experiment(attacks={"pgd": {"epsilon": [0.1, 0.1000001]}})


TAKEN = ["pgd_0.1", "zero_gradients", "margin", "test", "undertrained", "fgsm_0.1_median"]


def test_a_measures_column_is_no_other_ones() -> None:
    of = recorded(curvature=dict.fromkeys(TAKEN, TRACE) | {"plain": TRACE})
    curvature = dict.fromkeys(of.curvature, 17.0)
    trial = grid(of)[0]
    made = record(trial, of, lambda t: realistic(t) | curvature)
    [row] = consistent([TrialRow(made, Path("x"), (of,))])
    table = table_of([row])[0]
    assert table["pgd_0.1"][0] == realistic(trial)["pgd"][0.1]
    assert (table["zero_gradients"][0], table["plain"][0]) == (0.0, 17.0)
    assert [table[f"curvature:{label}"][0] for label in TAKEN if label != "test"] == [17.0] * 5
    # Tables of a sweep show it, and no measurement without an attack under the same label.
    results_table([(trial, made)], of, 200)


def test_a_measures_tag_is_no_other_ones() -> None:
    """Whatever its label: each kind has a group of its own, and λ1 its name."""
    assert tag("curvature", "hessian", "train", None) == "curvature/lambda1"
    assert tag("curvature", "lambda1", "train", None) == "curvature/lambda1:measure"
    assert tag("curvature", "trace", "train", None) == "curvature/trace"
    others = [("attack", "test", 0.1), ("accuracy", "test", None), ("gradient", "test", None)]
    tags = {
        tag(kind, label, "test", epsilon) for kind, label, epsilon in [*others, ("curvature", "test", None)]
    }
    assert tags == {"robustness/test_0.1", "accuracy/test", "network/test", "curvature/test"}
    assert max(tags | {SMALLEST_EPSILON, EIGENVALUE, epoch_tag("loss")}) < PICTURE  # sorted last


def test_a_table_of_many_labels_has_each_measure_once(capsys: pytest.CaptureFixture[str]) -> None:
    """The terminal's table of a config with natural measurements' labels, as it was stored."""
    of = recorded(curvature={"confidence": TRACE})
    trial = grid(of)[0]
    made = record(trial, of, lambda t: realistic(t) | {"confidence": 17.0})
    found: list[Measurement] = [m for m in made.measurements if m.label == "confidence"]
    assert [m.kind for m in found] == ["curvature"]
    table = results_table([(trial, made)], of, 300)
    assert [str(c.header) for c in table.columns].count("confidence") == 1
