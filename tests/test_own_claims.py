"""A user's own claims: stated in a config, kept with the time, judged, and refused where they cannot be meant."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic import experiment, realistic, write_sweep
from tfsgd.errors import RequestError
from tfsgd.plan.reading import load_claims, load_experiment
from tfsgd.records.folder import LogFolder
from tfsgd.records.stated import FILE, said_of, state_claims
from tfsgd.reporting.claims.claims import refuse_unknown_metrics
from tfsgd.reporting.claims.verdicts import judgements_of
from tfsgd.reporting.table.studies import read_studies

FLAT = {
    "statement": "Under LR a larger batch makes λ1 larger.",
    "kind": "trend",
    "metric": "lambda1",
    "regimes": ["LR"],
    "expected": "rises",
}
GRID: dict[str, Any] = {"batch_sizes": [64, 256, 1024], "claims": {"flat": FLAT}}
CONFIG = Path("configs/fmnist_stdcnn.yaml")


def with_claim(**changes: Any) -> str:
    block = {key: value for key, value in (FLAT | changes).items() if value is not None}
    return f"claims.flat={json.dumps(block)}"


def test_a_claim_that_was_stated_before_the_first_record_says_so(tmp_path: Path) -> None:
    of = experiment(**GRID)
    logs = LogFolder(tmp_path / "sweep")
    logs.path.mkdir()
    state_claims(logs, of.claims.values())
    write_sweep(logs.path, of)
    state_claims(logs, of.claims.values())  # again, as each start of the sweep does
    [study] = read_studies([logs.path])
    [found] = [j for j in judgements_of(study) if j.asked.role == "own"]
    assert (found.asked.key, found.verdict, found.family) == ("flat", "supported", 1)
    assert found.stated.startswith("stated before the first record, ")
    assert found.as_json()["stated"] == found.stated


def test_one_that_was_changed_later_was_stated_later(tmp_path: Path) -> None:
    of = experiment(**GRID)
    logs = LogFolder(write_sweep(tmp_path / "sweep", of))
    state_claims(logs, of.claims.values())
    known = json.loads((logs.path / FILE).read_text())
    assert [entry["records"] for entry in known.values()] == [len(list(logs.records()))]
    changed = of.claims["flat"].model_copy(update={"expected": "falls"})
    assert said_of(changed, known) == "stated after the data"
    assert said_of(of.claims["flat"], known).startswith(f"stated when there were {len(list(logs.records()))} records")


def test_claims_of_a_file_are_judged_on_stored_sweeps(tmp_path: Path) -> None:
    folder = write_sweep(tmp_path / "sweep", experiment(**GRID | {"claims": {}}))
    file = tmp_path / "mine.yaml"
    file.write_text(f"claims: {{late: {json.dumps(FLAT)}}}")
    [study] = read_studies([folder], load_claims(file))
    [found] = [j for j in judgements_of(study) if j.asked.role == "own"]
    assert (found.asked.key, found.stated) == ("late", "stated after the data")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"kind": "trent"}, "claims.flat.kind: expected 'trend', "),
        ({"regimes": ["LB"]}, "claims.flat.regimes: expected one of LR, LR/BS, Benchmark, received 'LB'; did you mean 'LR/BS'?"),
        ({"expected": None}, "claims.flat.expected: kind 'trend' needs rises or falls"),
        ({"margin": 2.0}, "claims.flat.margin: kind 'trend' has a direction, `expected`, and no margin"),
        ({"kind": "both"}, "claims.flat.metric: expected 2 for kind 'both', received 1"),
        ({"kind": "interaction"}, "claims.flat.regimes: expected 2 for kind 'interaction', received 1"),
        ({"kind": "equivalent"}, "claims.flat.expected: kind 'equivalent' has a margin, and no direction"),
        ({"statement": None}, "claims.flat.statement: missing"),
        ({"knobs": "momentum"}, "claims.flat.knobs: unknown key; did you mean 'knob'?"),
        ({"knob": "momentum", "momentum": 0.5}, "claims.flat.momentum: it is the knob, which is varied"),
    ],
)
def test_what_no_claim_can_be_is_refused_in_a_line(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(RequestError) as refusal:
        load_experiment(CONFIG, (with_claim(**changes),))
    assert said in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("metric", "said"),
    [
        ("lamda1", "claims.flat.metric: no column of numbers 'lamda1'; did you mean 'lambda1'?"),
        ("pgd_0.7", "claims.flat.metric: no column of numbers 'pgd_0.7'; did you mean 'pgd_0.3'?"),
        ("trace", "claims.flat.metric: no column of numbers 'trace'"),
    ],
)
def test_what_a_sweep_does_not_measure_is_refused_before_it_trains(metric: str, said: str) -> None:
    asked = load_experiment(CONFIG, (with_claim(metric=metric),))
    with pytest.raises(RequestError) as refusal:
        refuse_unknown_metrics(asked, "my.yaml")
    assert said in str(refusal.value)
    refuse_unknown_metrics(load_experiment(CONFIG, (with_claim(metric="trace"), "curvature.trace={}")), "my.yaml")


def test_a_margin_is_asked_for_where_no_metric_has_one() -> None:
    asked = load_experiment(CONFIG, (with_claim(metric="test_loss", kind="equivalent", expected=None),))
    with pytest.raises(RequestError, match="margin: missing; test_loss has none of its own"):
        refuse_unknown_metrics(asked, "my.yaml")


def test_claims_change_no_training(tmp_path: Path) -> None:
    plain, stated = (write_sweep(tmp_path / n, experiment(**GRID | c)) for n, c in (("a", {"claims": {}}), ("b", {})))
    hashes = [[r.training_hash for r in LogFolder(folder).records()] for folder in (plain, stated)]
    assert hashes[0] == hashes[1]
    assert realistic  # the same numbers
