"""What became of every image: kept beside the record, read as a table, and missed where it is gone."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tfsgd
from tests.conftest import Config, Run, Work
from tfsgd.records import outcomes
from tfsgd.records.archive import read_arrays, write_arrays
from tfsgd.records.folder import LogFolder
from tfsgd.records.tensorboard_tags import scalars
from tfsgd.terminal.tables import results_table


class Killed(BaseException):
    """Stands for a signal that nothing catches."""


ONE = {"LR": {"learning_rate": 0.05, "momentum": [0.9]}}
ATTACKS = {
    "fgsm": {"epsilon": [0.05, 0.1]},
    "minimal": {"epsilon": [0.3], "steps": 20, "examples": 30},
    "minimal-l2": {"attack": "minimal", "norm": "L2", "epsilon": [5.0], "steps": 20, "examples": 30},
}


def swept(config: Config, run_sweep: Run, **changes: Any) -> Path:
    asked: dict[str, Any] = {"regimes": ONE, "attacks": ATTACKS, "epochs": 2, "export": True} | changes
    path = config(**asked)
    assert run_sweep(path)[0] == 0
    return path


def test_a_table_of_outcomes_says_what_the_record_says(
    config: Config, run_sweep: Run, tmp_path: Path
) -> None:
    swept(config, run_sweep)
    logs = tmp_path / "logs/tiny"
    table = tfsgd.outcomes(logs)
    [record] = LogFolder(logs).records()
    for m in record.measurements:
        if m.kind == "attack":
            rows = table[(table.label == m.label) & (table.epsilon == m.epsilon)]
            assert list(rows.image) == list(range(m.examples))
            assert rows.correct.mean() == pytest.approx(m.accuracy)
            assert set(rows.norm) == {m.settings["norm"]}
    searched = table[table.label == "minimal"]
    median = next(m.values["median"] for m in record.measurements if m.label == "minimal")
    assert np.quantile(searched.distance, 0.5, method="inverted_cdf") == pytest.approx(median)
    assert (searched.correct == np.isinf(searched.distance)).all()
    assert set(tfsgd.outcomes(logs, "minimal-l2").norm) == {"L2"}
    assert table[table.label == "fgsm"].distance.isna().all()
    # What broke an image at 0.05 does so at 0.1 for nearly all, and the smallest epsilon is not above where FGSM broke it.
    broken = table[(table.label == "fgsm") & (table.epsilon == 0.1) & ~table.correct].image
    near = searched[searched.image.isin(broken)].distance
    assert (near <= 0.1 + 1e-6).mean() > 0.9

    [record] = LogFolder(logs).records()
    least = outcomes.smallest_epsilons(logs / "trials" / record.folder, record)
    assert least is not None
    assert len(least) == 30
    expected = searched.distance.to_numpy().copy()
    for epsilon in (0.1, 0.05):  # what FGSM broke is broken
        rows = table[(table.label == "fgsm") & (table.epsilon == epsilon) & (table.image < 30)]
        expected = np.where(rows.correct, expected, np.minimum(expected, epsilon))
    np.testing.assert_allclose(least, expected)
    assert outcomes.smallest_epsilons(logs / "trials" / record.folder, record, "L1") is None


def test_the_spread_of_smallest_epsilons() -> None:
    least = np.concatenate([np.zeros(10), np.linspace(0.01, 1, 80), np.full(10, np.inf)])
    np.random.default_rng(1).shuffle(least)
    found = outcomes.spread(least)
    assert found["median"] == pytest.approx(np.sort(least)[49])
    assert found["censored"] == 0.1
    assert found["low"] < found["median"] < found["high"]
    # Binomial order statistics: ranks 40 and 60 of 100 hold the median with 95 %.
    low, high = np.sort(least)[[39, 60]]
    assert found["low"] == pytest.approx(low, abs=0.04)
    assert found["high"] == pytest.approx(high, abs=0.04)


@pytest.mark.parametrize("harm", ["gone", "cut", "changed"])
def test_outcomes_that_are_not_what_was_recorded_are_missed_and_nothing_else_is(
    config: Config, run_sweep: Run, run_measure: Run, tmp_path: Path, harm: str, work: Work
) -> None:
    path = swept(config, run_sweep)
    folder = tmp_path / "logs/tiny/trials/lr/b0064-m0.9-s0"
    file = folder / "outcomes.npz"
    if harm == "gone":
        file.unlink()
    elif harm == "cut":
        file.write_bytes(file.read_bytes()[:-100])
    else:
        arrays = read_arrays(file)
        record = json.loads((folder / "record.json").read_text())
        [changed] = [m["identity"] for m in record["measurements"] if m["label"] == "minimal-l2"]
        arrays[changed][0] = 0.123
        write_arrays(file, arrays)
    with pytest.warns(UserWarning, match=r"outcomes\.npz: gone or changed: .*minimal"):
        table = tfsgd.outcomes(tmp_path / "logs/tiny")
    assert set(table.label) == ({"fgsm", "minimal"} if harm == "changed" else set())
    work.measured.clear()
    code, _out, err = run_sweep(path)
    assert (code, work.measured) == (0, [])
    assert "outcomes.npz is gone, cut or changed in 1 trial (lr/b0064-m0.9-s0): " in err
    code, _out, err = run_measure(tmp_path / "logs/tiny", "--outcomes")
    assert (code, err, len(work.trained)) == (0, "", 1)
    assert work.measured == [("minimal-l2", 5.0)] if harm == "changed" else len(work.measured) == 4
    assert len(tfsgd.outcomes(tmp_path / "logs/tiny")) == 2 * 50 + 2 * 30


def test_a_kill_between_the_outcomes_and_the_record_costs_the_measurement_at_hand(
    config: Config,
    run_sweep: Run,
    work: Work,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    tests_are_tfsgd: None,
) -> None:
    keep, kept_so_far = outcomes.keep_outcomes, set[str]()

    def killed(folder: Path, found: Any, of: Any) -> None:
        keep(folder, found, of)
        assert not kept_so_far & found.keys()  # each is handed over once
        kept_so_far.update(found)
        if len(kept_so_far) == 2:
            raise Killed

    path = config(regimes=ONE, attacks=ATTACKS)
    with monkeypatch.context() as patch:
        patch.setattr("tfsgd.trials.trial.keep_outcomes", killed)
        with pytest.raises(Killed):
            run_sweep(path)
    assert run_sweep(path)[0] == 0
    assert len(work.trained) == 1
    whole = tfsgd.outcomes(tmp_path / "logs/tiny")
    assert len(whole) == 2 * 50 + 2 * 30
    record = json.loads((tmp_path / "logs/tiny/trials/lr/b0064-m0.9-s0/record.json").read_text())
    kept = read_arrays(tmp_path / "logs/tiny/trials/lr/b0064-m0.9-s0/outcomes.npz")
    assert kept.keys() == {m["identity"] for m in record["measurements"] if m["kind"] == "attack"}


def test_snapshots_have_outcomes_of_their_own(config: Config, run_sweep: Run, tmp_path: Path) -> None:
    asked = {"train_loss": [2.25], "examples": 200}
    swept(config, run_sweep, epochs=4, snapshots=asked, attacks={"fgsm": {"epsilon": [0.1]}})
    folder = tmp_path / "logs/tiny/trials/lr/b0064-m0.9-s0"
    [record] = LogFolder(tmp_path / "logs/tiny").records()
    for part in record.networks:
        [(identity, correct)] = outcomes.outcomes_of(folder, part).items()
        [m] = [m for m in part.measurements if m.identity == identity]
        assert correct.mean() == m.accuracy
    assert len(read_arrays(folder / "outcomes.npz")) == 2


def test_outcomes_are_measured_again_on_request_and_nothing_is_trained(
    config: Config, run_sweep: Run, run_measure: Run, work: Work, tmp_path: Path
) -> None:
    swept(config, run_sweep)
    logs = tmp_path / "logs/tiny"
    folder = logs / "trials/lr/b0064-m0.9-s0"
    before, whole = json.loads((folder / "record.json").read_text()), tfsgd.outcomes(logs)
    (folder / "outcomes.npz").unlink()
    old = json.loads(json.dumps(before))
    [first] = [m for m in old["measurements"] if m["label"] == "minimal"]  # as of a version that kept none
    del first["values"]["outcomes_sha256"]
    (folder / "record.json").write_text(json.dumps(old))
    work.measured.clear()
    code, out, err = run_measure(logs, "--outcomes")
    assert (code, err) == (0, "")
    assert "4 attacks measured again for their outcomes" in out
    assert work.measured == [("fgsm", 0.05), ("fgsm", 0.1), ("minimal", 0.3), ("minimal-l2", 5.0)]
    assert len(work.trained) == 1
    assert tfsgd.outcomes(logs).equals(whole)
    after = json.loads((folder / "record.json").read_text())
    for ours, theirs in zip(after["measurements"], before["measurements"], strict=True):
        assert {k: ours[k] for k in ("identity", "values")} == {k: theirs[k] for k in ("identity", "values")}
    assert "0 attacks measured again" in run_measure(logs, "--outcomes")[1]
    code, _, err = run_measure(folder / "model.keras", "--dataset", "fashion_mnist", "--outcomes")
    assert (code, err.count("\n")) == (2, 1)
    assert "--outcomes: expected LOGS/NAME" in err


def test_the_table_of_trials_has_the_smallest_epsilon(config: Config, run_sweep: Run, tmp_path: Path) -> None:
    swept(config, run_sweep)
    logs = tmp_path / "logs/tiny"
    [trial] = tfsgd.read_records(logs).itertuples()
    [record] = LogFolder(logs).records()
    least = outcomes.smallest_epsilons(logs / "trials" / record.folder, record)
    assert least is not None
    assert trial.smallest_epsilon == pytest.approx(np.quantile(least, 0.5, method="inverted_cdf"))
    assert trial.smallest_epsilon_low <= trial.smallest_epsilon <= trial.smallest_epsilon_high
    of, low, high = LogFolder(logs).read_experiment(), trial.smallest_epsilon_low, trial.smallest_epsilon_high

    def told(width: int) -> tuple[list[str], list[str]]:
        table = results_table([(record.trial, record)], of, width, logs)
        cells = [str(next(iter(column.cells))) for column in table.columns]
        return [str(column.header).replace("\n", " ") for column in table.columns], cells

    headings, cells = told(300)
    lead = headings.index("smallest ε")
    assert headings[lead - 1 : lead + 2] == ["test", "smallest ε", "λ1"]
    assert not any(heading.startswith("minimal median") for heading in headings)
    assert cells[lead] == f"{trial.smallest_epsilon:.3g} [{low:.3g}, {high:.3g}]"
    assert told(60)[1][lead] == f"{trial.smallest_epsilon:.3g}"
    place = logs / "trials" / record.folder
    assert scalars(record, of, place)["robustness/smallest_epsilon"] == pytest.approx(trial.smallest_epsilon)
    (logs / "trials" / record.folder / "outcomes.npz").unlink()
    # As of a record that kept none: the median that the search recorded, without an interval.
    [trial] = tfsgd.read_records(logs).itertuples()
    [recorded] = [m.values["median"] for m in record.measurements if m.label == "minimal"]
    assert trial.smallest_epsilon == recorded
    assert told(300)[1][lead] == f"{recorded:.3g}"
    assert scalars(record, of, place)["robustness/smallest_epsilon"] == recorded
    assert not hasattr(trial, "smallest_epsilon_low")
