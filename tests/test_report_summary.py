"""The first screen of the page: findings from the primary claims, no verdicts where none are due, and the command that
would decide more."""

import re
from pathlib import Path
from typing import Any

import pytest

from tests.synthetic import experiment, realistic, write_sweep
from tests.test_readme import overrides_of
from tests.test_report import SMALL, TINY
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import Trial, grid
from tfsgd.records.folder import LogFolder
from tfsgd.reporting.claims.verdicts import Judgement, judgements_of
from tfsgd.reporting.page.findings import findings_of, has_verdicts, sentences_of
from tfsgd.reporting.page.page import write_report
from tfsgd.reporting.page.report_text import advice_of
from tfsgd.reporting.table.studies import Study, read_studies

VERDICTS = ("supported", "contradicted", "undecided", "descriptive")
MINIMAL: dict[str, Any] = SMALL | {"attacks": SMALL["attacks"] | {"minimal": {"epsilon": [0.5]}}}


def measured(trial: Trial) -> dict[str, Any]:
    """The smallest ε rises with the batch size under LR, and falls with momentum."""
    s = trial.settings
    noise = 1 + 0.01 * ((7 * trial.seed + s.batch_size // 64) % 3)
    median = 0.02 * noise * (s.batch_size / 64) ** 0.2 * (1 - 0.3 * s.momentum)
    return realistic(trial) | {"minimal": {0.5: 0.0}, "minimal_more": {"median": median, "censored": 0.0}}


def judged(folder: Path) -> tuple[Study, list[Judgement]]:
    (study,) = read_studies([folder])
    return study, judgements_of(study)


def sweep(tmp_path: Path, name: str = "mine", seeds: int = 3, **more: Any) -> Path:
    return write_sweep(tmp_path / "logs" / name, experiment(**SMALL | {"seeds": [*range(seeds)]}), **more)


def test_every_primary_claim_stands_in_one_finding_with_its_numbers(tmp_path: Path) -> None:
    of = experiment(**MINIMAL | {"seeds": [0, 1, 2]})
    study, judgements = judged(write_sweep(tmp_path / "s", of, measured))
    findings = findings_of(study, judgements)
    primary = [j for j in judgements if j.asked.role == "primary"]
    assert sum(len(f.effects) for f in findings) == len(primary) == 13
    assert len(findings) <= 10
    assert 3 <= len(sentences_of(findings)) <= 6
    (under_lr,) = [f for f in findings if f.title == "Larger batches under LR"]
    (curvature,) = [j for j in primary if j.asked.key == "batch-lr-eigenvalue"]
    assert curvature.evidence.interval
    low, high = curvature.evidence.interval
    shown = f"λ1 × {curvature.evidence.effect:.3g} [{low:.3g}, {high:.3g}]"
    assert under_lr.words(robustness=False) == f"{shown} per doubling"
    assert under_lr.sentence.startswith(f"Larger batches under LR: {shown}, the smallest ε × 1.1")
    assert [said for said, _ in under_lr.verdicts] == ["λ1 rises", "the smallest ε rises"]  # on this network


def test_a_verdict_is_on_what_the_paper_says(tmp_path: Path) -> None:
    """Of StdCNN on Fashion-MNIST it reports the opposite of its claim; elsewhere a rise contradicts it."""
    of = MINIMAL | {"seeds": [0, 1, 2]}
    found = {}
    for dataset in ("fashion_mnist", "mnist"):
        folder = write_sweep(tmp_path / dataset, experiment(**of | {"dataset": dataset}), measured)
        (finding, *_) = findings_of(*judged(folder))
        found[dataset] = finding
    assert found["fashion_mnist"].verdicts[1] == ("the smallest ε rises", "supported")
    assert found["mnist"].verdicts[1] == ("the smallest ε falls", "contradicted")
    assert found["mnist"].sentence.endswith("; the paper says that the smallest ε falls")
    assert "the paper says" not in found["fashion_mnist"].sentence


@pytest.mark.parametrize(
    "changes",
    [{"seeds": [0]}, {"profile": "quick", "batch_sizes": [32, 256], "epochs": 3, "seeds": [0, 1, 2]}],
)
def test_one_seed_and_a_quick_profile_are_described_without_a_word_of_a_verdict(
    tmp_path: Path, changes: dict[str, Any]
) -> None:
    folder = write_sweep(tmp_path / "s", experiment(**TINY | changes))
    study, judgements = judged(folder)
    assert not has_verdicts(study)
    assert all(e.verdict == "" for f in findings_of(study, judgements) for e in f.effects)
    text = write_report([folder], figures=["overview"]).read_text()
    assert "per doubling" in text
    assert not [word for word in VERDICTS if word in text]


def test_what_is_seen_at_first_is_short(tmp_path: Path) -> None:
    of = experiment(**MINIMAL | {"seeds": [0, 1, 2]})
    text = write_report([write_sweep(tmp_path / "s", of, measured)]).read_text()
    body = re.sub(r"<(style|script|svg)\b.*?</\1>", " ", text, flags=re.S)
    while "<details" in body:  # the innermost first
        body = re.sub(r"<details(?:(?!<details).)*?</details>", " ", body, flags=re.S)
    words = re.sub(r"<[^>]+>", " ", body).split()
    assert 100 < len(words) < 1500
    assert text.count("<figure") <= 15
    assert 'id="figure-overview"' in text


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
