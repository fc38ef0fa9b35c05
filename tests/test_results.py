"""README's and docs' results are those of the committed records; no figure among them is typed by hand."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest

from scripts import findings
from scripts.claim_text import said
from scripts.results import BLOCK, PAGES, RESULTS, filled, unused_figures
from scripts.seed_ranges import lost, momenta_of, moves, sizes_of, span, trials
from tests.test_readme import overrides_of
from tfsgd.plan.reading import load_experiment
from tfsgd.plan.trials import grid
from tfsgd.records.folder import LogFolder
from tfsgd.reporting.claims.claims import Expectation
from tfsgd.reporting.claims.verdicts import Verdict, judgements_of
from tfsgd.reporting.table.studies import read_studies

STUDIES = sorted(path.parent for path in RESULTS.glob("*/experiment.yaml"))
TEXTS = {page: page.read_text() for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=str)
def test_a_page_says_what_the_records_say(page: Path) -> None:
    assert len(BLOCK.findall(TEXTS[page])) >= 3
    assert filled(TEXTS[page]) == TEXTS[page]


def test_a_page_notices_another_number() -> None:
    page = Path("docs/float32-and-fgsm.md")
    changed = re.sub(r"\| (\d)(\d)\.(\d)% \|", r"| \g<1>\g<3>.\g<2>% |", TEXTS[page], count=1)
    assert changed != TEXTS[page]
    assert filled(changed) == TEXTS[page]


def test_no_result_is_typed_by_hand() -> None:
    """Beside the blocks, commands and names of files no accuracy, percentage or λ1; ε is no result."""
    typed = BLOCK.sub("", TEXTS[RESULTS / "README.md"])
    section = re.search(r"## What it has found so far\n(.*?)\n## ", TEXTS[Path("README.md")], re.S)
    assert section
    for text in (typed, BLOCK.sub("", section[1])):
        prose = re.sub(
            r"```.*?```|\]\(.*?\)|ε = [\d.]+|Section 3\.2|0\.3\b|5 %|up to 0\.15 %", "", text, flags=re.S
        )
        assert re.findall(r"\d+\.\d+|\d+ ?%", prose) == []


@pytest.mark.parametrize(
    ("verdict", "expectation", "words"),
    [
        ("supported", "holds", "as in the paper"),
        ("contradicted", "holds", "not as in the paper"),
        ("contradicted", "fails", "as in the paper: not so here"),
        ("supported", "fails", "not as in the paper: so here too"),
        ("contradicted", "opposite", "the opposite, as Section 3.2 says of this network"),
        ("supported", "opposite", "not as Section 3.2 says of this network"),
        ("supported", None, "holds"),
        ("contradicted", None, "does not hold"),
        ("not testable", "holds", "cannot be told"),
    ],
)
def test_a_verdict_is_said_beside_what_the_paper_says(
    verdict: Verdict, expectation: Expectation, words: str
) -> None:
    assert said(verdict, expectation) == words


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_the_command_of_a_study_has_its_trials(folder: Path) -> None:
    """Every record is one of the grid that the page's command gives."""
    text = re.search(rf"## {folder.name}: .*?```\n(.*?)```", TEXTS[RESULTS / "README.md"], re.S)
    assert text
    command = text[1].replace("\\\n", " ")
    config = re.search(r"configs/[\w/]+\.yaml", command)
    assert config
    experiment = load_experiment(Path(config[0]), overrides_of(command))
    names = {trial.name for trial in grid(experiment)}
    assert {record.folder for record in LogFolder(folder).records()} <= names


@pytest.mark.parametrize("folder", STUDIES, ids=lambda folder: folder.name)
def test_the_stored_verdicts_are_todays(folder: Path) -> None:
    """The report beside the records is of these records and of this code."""
    [study] = read_studies([folder])
    [stored] = json.loads((folder / "report" / "claims.json").read_text())
    judged = judgements_of(study)
    now = [(j.asked.key, j.verdict) for j in judged]
    assert [(c["claim"], c["verdict"]) for c in stored["claims"]] == now
    assert stored["recorded"] == len(study.trials)


def test_no_figure_is_kept_that_no_page_shows() -> None:
    assert unused_figures() == []
    for page, text in TEXTS.items():
        for name in re.findall(r"\]\(([\w/.-]+\.png)\)", text):
            assert (page.parent / name).is_file(), name


def test_a_span_is_its_ends() -> None:
    assert span([0.5, 0.25, 0.75], ".2f") == "0.25–0.75"
    assert span([0.5], ".1%") == "50.0 %"
    assert span([0.5, 0.25], ".1%") == "25.0–50.0 %"
    assert span([float("nan")], ".1f") == "(not measured)"


# Sentences on a grid that is no full product


@pytest.fixture(scope="module")
def seeds() -> pd.DataFrame:
    return trials(RESULTS / "fmnist_stdcnn-seeds")


@pytest.fixture(scope="module")
def uneven(seeds: pd.DataFrame) -> pd.DataFrame:
    """With four times the largest batch size, at momenta 0 and 0.9 of the paper's regimes; LR/BS collapses there."""
    seeds = seeds[seeds.batch_size.between(64, 1024)]
    more = seeds[(seeds.batch_size == 1024) & seeds.momentum.isin([0.0, 0.9]) & seeds.order.notna()]
    status = more.status.where(more.regime != "LR/BS", "collapsed")
    return pd.concat([seeds, more.assign(batch_size=4096, status=status)], ignore_index=True)


def sentences(t: pd.DataFrame, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr(findings, "trials", lambda folder: t)
    return "\n".join(findings.findings(RESULTS))


def test_sentences_speak_of_batch_sizes_whose_networks_were_measured(
    uneven: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = sentences(uneven, monkeypatch)
    assert "not measured" not in text
    assert "at 4096 3 of 3 networks collapsed" in text
    assert "under LR at batch size 4096 (momenta 0, 0.9)" in text
    assert text.count("against") == 4  # momentum 0.9 and its rate alone, at 64 and 1024
    assert sizes_of(uneven, ("LR/BS", 0.0)) == [64, 256, 1024]
    assert sizes_of(uneven, ("LR/BS", 0.9)) == [64, 256]  # at 1024 one network of three has learnt
    assert momenta_of(uneven, "LR/BS", 1024) == [0.0, 0.2, 0.5]
    assert momenta_of(uneven, "LR", 4096) == [0.0, 0.9]
    assert (lost(uneven, "LR/BS", 4096, 0.9), lost(uneven, "LR", 4096)) == ("3 of 3", "")


def test_what_has_not_collapsed_stands_beside_what_has(
    uneven: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    survivor = (uneven.batch_size == 4096) & (uneven.regime == "LR/BS") & (uneven.seed == 2)
    some = uneven.assign(
        status=uneven.status.mask(survivor, "completed"),
        stability_ratio=uneven.stability_ratio.mask(survivor, 1.25),
    )
    text = sentences(some, monkeypatch)
    assert "at 4096 2 of 3 networks collapsed, and the rest stands at 1.25 of it" in text
    assert sentences(uneven, monkeypatch).count("from batch size 64 to 1024") == text.count(
        "from batch size 64 to 1024"
    )


def test_a_sentence_does_not_say_what_the_numbers_do_not(
    uneven: pd.DataFrame, monkeypatch: pytest.MonkeyPatch
) -> None:
    bold = "**The more robust networks are the less sure ones**"
    assert bold in sentences(uneven, monkeypatch)
    assert bold not in sentences(uneven.assign(confidence=0.9), monkeypatch)
    assert "mean confidence goes from 0.90 to 0.90" in sentences(uneven.assign(confidence=0.9), monkeypatch)
    flat = sentences(uneven.assign(eigenvalue=50.0, stability_ratio=0.5), monkeypatch)
    for claimed in ("λ1 with it", "Momentum flattens", "Flatter is less robust"):
        assert claimed in sentences(uneven, monkeypatch)
        assert claimed not in flat


def test_values_move_only_where_ranges_do_not_overlap() -> None:
    assert moves([1.0, 2.0], [2.5, 3.0]) == 1
    assert moves([2.5, 3.0], [1.0, 2.0]) == -1
    assert moves([1.0, 2.0], [1.5, 3.0]) == moves([], [1.0]) == 0
