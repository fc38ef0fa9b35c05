"""The summary at the top of the page: one line a claim, and the command that would decide more."""

from pathlib import Path
from typing import Any

import pytest
from tfsgd.reporting.page.summary import advice_of, lines_of

from tests.synthetic import experiment, realistic, write_sweep
from tests.test_readme import overrides_of
from tests.test_report import SMALL
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.reporting.claims import evidence
from tfsgd.reporting.claims.claims import BEYOND
from tfsgd.reporting.claims.verdicts import Judgement, judge
from tfsgd.reporting.page.report_text import claim_rows
from tfsgd.reporting.table.studies import Study, read_studies


def judged(folder: Path) -> tuple[Study, list[Judgement]]:
    (study,) = read_studies([folder])
    return study, judge(study.trials, study.dataset, study.model, study.attacks, study.paper_epsilon)


def sweep(tmp_path: Path, name: str = "mine", seeds: int = 3, **more: Any) -> Path:
    return write_sweep(tmp_path / "logs" / name, experiment(**SMALL | {"seeds": [*range(seeds)]}), **more)


def test_every_claim_of_the_paper_is_in_one_line_with_verdict_number_and_n(tmp_path: Path) -> None:
    _, judgements = judged(sweep(tmp_path))
    lines = {line.statement: line for line in lines_of(judgements)}
    primary = [j for j in judgements if j.primary and j.claim.group != BEYOND]
    assert sum(len(line.found) for line in lines.values()) == len(primary)
    falls = lines["Under LR, accuracy falls as the batch size grows."]
    assert [f.metric for f in falls.found] == ["natural accuracy", "FGSM accuracy", "PGD accuracy"]
    (natural,) = [j for j in primary if j.claim.key == "batch-lr-natural-accuracy"]
    assert not isinstance(natural.evidence, str)
    assert falls.found[0].verdict == natural.verdict == "supported"
    assert falls.found[0].number.startswith("-")
    assert falls.found[0].number.endswith("points per doubling")
    assert falls.n == "3 seeds x 3 batch sizes (64-4096)"
    assert len(lines) < 25


def test_metrics_that_were_measured_on_other_cells_have_an_n_of_their_own(tmp_path: Path) -> None:
    folder = sweep(tmp_path)
    logs = LogFolder(folder)
    for record in logs.records():
        if record.sgd.batch_size == 4096 and record.seed == 2:
            kept = tuple(m for m in record.measurements if m.label != "fgsm")
            logs.write_record(record.model_copy(update={"measurements": kept}))
    _, judgements = judged(folder)
    falls = next(x for x in lines_of(judgements) if x.statement.startswith("Under LR, accuracy falls"))
    assert falls.n == (
        "natural accuracy: 3 seeds x 3 batch sizes (64-4096); FGSM accuracy: 3 seeds x 2 batch sizes (64-512); "
        "PGD accuracy: 3 seeds x 3 batch sizes (64-4096)"
    )


def test_a_claim_on_the_floor_is_told_where_it_is_not(tmp_path: Path) -> None:
    _, judgements = judged(sweep(tmp_path))
    (line,) = [x for x in lines_of(judgements) if x.statement.startswith("Under LR, accuracy falls")]
    pgd = line.found[2]
    assert pgd.where == "ε = 0.05, at the paper's a floor"
    assert pgd.verdict == "supported"


@pytest.mark.parametrize(
    ("name", "seeds", "expected"),
    [("mine", 1, [0, 1, 2]), ("fmnist_stdcnn", 3, [0, 1, 2, 3, 4])],
)
def test_it_names_the_command_that_would_decide_more(
    tmp_path: Path, name: str, seeds: int, expected: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The command is the sweep's own with more seeds, wherever its folder lies and whatever was set."""
    folder = sweep(tmp_path, name, seeds)
    moved = folder.rename(folder.parent / "moved")
    study, judgements = judged(moved)
    advice = advice_of(study, judgements)
    assert advice.what == "2 more seeds"
    words = f"{moved}/experiment.yaml --logs {moved.parent} --set name=moved --set 'seeds=[{','.join(map(str, expected))}]'"
    assert advice.command == f"python -m tfsgd.sweep {words}"
    found = load_experiment(moved / "experiment.yaml", overrides_of(advice.command))
    assert (found.name, found.seeds) == ("moved", tuple(expected))
    assert {r.folder for r in study.records} < {trial.name for trial in grid(found)}
    monkeypatch.chdir(tmp_path)
    moved.parent.rename("logs")
    study, judgements = judged(Path("logs/moved"))
    assert advice_of(study, judgements).command.startswith(
        "python -m tfsgd.sweep logs/moved/experiment.yaml --set name=moved --set 'seeds="
    )
    a_trial = study.trials[["seconds_train", "seconds_attacks", "seconds_hessian"]].sum(axis=1).mean()
    assert advice.hours == f"{a_trial * 2 * 11 / 3600:.0f} h"


def test_more_seeds_cost_what_the_plan_has_of_each(tmp_path: Path) -> None:
    """Trials that are not planned any more are not trained under new seeds."""
    folder = sweep(tmp_path)
    before = advice_of(*judged(folder))
    fewer = experiment(**SMALL | {"seeds": [0, 1, 2], "batch_sizes": [64, 512]})
    LogFolder(folder).write_experiment(fewer)
    study, judgements = judged(folder)
    assert (study.planned, len(study.trials)) == (21, 33)
    after = advice_of(study, judgements)
    assert after.command == before.command
    assert float(after.hours.split()[0]) == pytest.approx(21 / 33 * float(before.hours.split()[0]), abs=1)


def test_an_unfinished_sweep_is_to_be_finished(tmp_path: Path) -> None:
    def missing(trial: Trial) -> bool:
        return trial.seed == 2 and trial.regime == "LR"

    study, judgements = judged(sweep(tmp_path, leave_out=missing, truth=realistic))
    advice = advice_of(study, judgements)
    assert advice.lacking.endswith("and 6 planned trials without a record")
    assert advice.command.startswith("python -m tfsgd.sweep /")
    assert "seeds" not in advice.command


def test_where_two_things_are_claimed_to_rise_both_slopes_are_shown(tmp_path: Path) -> None:
    _, judgements = judged(sweep(tmp_path))
    (both,) = [j for j in judgements if j.claim.key == "counter-lr-fgsm-accuracy" and j.epsilon == 0.05]
    (curvature,) = [j for j in judgements if j.claim.key == "batch-lr-eigenvalue"]
    (row,) = [r for r in claim_rows([both], both.claim.group)]
    assert isinstance(curvature.evidence, evidence.Tested)
    low, high = curvature.evidence.interval
    expected = f"λ1: factor {curvature.evidence.effect:.3g} [{low:.3g}, {high:.3g}] per doubling"
    assert row["main"]["effect"].endswith(f"per doubling; {expected}")
    assert "points" in row["main"]["effect"]
