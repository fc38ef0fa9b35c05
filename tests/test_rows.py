"""The table of trials: a column holds numbers of one kind."""

from pathlib import Path

import numpy as np

from tests.synthetic import experiment, realistic, record
from tests.test_checks import made
from tfsgd.plan.trials import grid
from tfsgd.records.record import Record
from tfsgd.reporting.table.columns import attacks_of, table_of
from tfsgd.reporting.table.rows import TrialRow, consistent


def with_square(*measured: tuple[int, int, float]) -> TrialRow:
    """A trial with Square at ε = 0.05 under one label: queries, images, accuracy."""
    record = made()
    [some] = [m for m in record.attacks if m.label == "pgd" and m.epsilon == 0.05]
    found = [
        some.model_copy(
            update={
                "name": "square", "label": "square", "examples": images, "identity": f"{queries}-{images}",
                "settings": {"epsilon": 0.05, "queries": queries}, "values": {"accuracy": accuracy},
            }
        )
        for queries, images, accuracy in measured
    ]  # fmt: skip
    kept = tuple(m for m in record.measurements if m.label != "square")
    return TrialRow(record.model_copy(update={"measurements": (*kept, *found)}), Path("x"))


def column(*rows: TrialRow) -> list[float]:
    return [float(x) for x in table_of(consistent(rows))[0]["square_0.05"]]


def test_the_settings_that_most_trials_have_make_the_column() -> None:
    """The last measured does not, nor one with other settings in a trial that lacks these."""
    rows = [
        with_square((500, 200, 0.1), (200, 300, 0.3)),
        with_square((500, 200, 0.2)),
        with_square((200, 300, 0.4)),
    ]
    rows += [with_square((500, 200, 0.15)), with_square((500, 100, 0.16))]
    assert np.array_equal(column(*rows), [0.1, 0.2, np.nan, 0.15, 0.16], equal_nan=True)


def test_one_setting_is_what_was_measured_last_as_before() -> None:
    assert column(with_square((500, 200, 0.1)), with_square((500, 200, 0.2))) == [0.1, 0.2]
    assert isinstance(consistent([with_square((500, 200, 0.1))])[0].record, Record)


def test_a_setting_that_an_older_record_does_not_name_is_the_default() -> None:
    """Else a new setting of a measure would take its numbers out of all older records."""
    of = experiment(curvature={"trace": {"examples": 100}}, seeds=[0, 1, 2])
    rows = []
    for seed, trial in enumerate(grid(of)[:3]):
        made = record(trial, of, lambda t: {**realistic(t), "trace": 7.0})
        older = [
            m.model_copy(update={"settings": {k: v for k, v in m.settings.items() if k != "mode" or seed}})
            for m in made.measurements
        ]
        rows.append(TrialRow(made.model_copy(update={"measurements": tuple(older)}), Path("x")))
    assert list(table_of(consistent(rows))[0]["trace"]) == [7.0] * 3


def test_an_epsilon_that_is_asked_for_and_measured_nowhere_has_no_column() -> None:
    """Else figures have an empty panel, and claims say that there is no trial."""
    of = experiment(seeds=[0])
    more = of.model_copy(update={"attacks": experiment(attacks={"pgd": {"epsilon": [0.3, 0.5]}}).attacks})
    known, other = (record(trial, of) for trial in grid(of)[:2])
    bare = known.model_copy(update={"measurements": ()})
    rows = [TrialRow(r, Path("x"), (more,)) for r in (bare, other)]
    table = table_of(rows)[0]
    assert "pgd_0.5" not in table
    assert ("pgd", 0.5) not in attacks_of(rows)
    assert list(table["pgd_0.3"].isna()) == [True, False]  # of a trial that lacks it there is no number
