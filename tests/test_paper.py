"""The paper's facts and our margins: the documents say the same numbers as the code."""

import re
from pathlib import Path

import pytest

from tests.synthetic import PAPER_REGIMES
from tfsgd.data.load import DATASETS
from tfsgd.reporting import paper
from tfsgd.reporting.claims import evidence
from tfsgd.reporting.claims.claims import shipped_claims
from tfsgd.reporting.claims.kinds import KINDS, prose_of
from tfsgd.reporting.figures.style import DARK, sequence

READING = " ".join(Path("docs/reading-the-report.md").read_text().split())
README = " ".join(Path("README.md").read_text().split())
[LARGE_BATCH_SIZE] = {c.claim.at_least for c in shipped_claims("mnist", "stdcnn", []) if c.claim.at_least}

# Sentences with numbers -> the numbers that must stand there.
SENTENCES = [
    (READING, r"under-trained\*\* cell: its train accuracy is ([\d.]+) points", [100 * paper.UNDERTRAINED_MARGIN]),
    (READING, r"fewer than (\d+) seeds or (\d+) batch sizes", [paper.MIN_SEEDS, paper.MIN_BATCH_SIZES]),
    (READING, r"at its ε \(([\d.]+) for MNIST and Fashion-MNIST, ([\d.]+) for CIFAR-10\)",
     [DATASETS["mnist"].paper_epsilon, DATASETS["cifar10"].paper_epsilon]),
    (READING, r'"almost constant" accuracy[^|]*\|[^|]*less than ([\d.]+) points', [100 * paper.ACCURACY_MARGIN]),
    (READING, r'"almost constant" smallest ε[^|]*\|[^|]*less than a factor of ([\d.]+)', [paper.EPSILON_FACTOR]),
    (READING, r"with a factor of ([\d.]+), since λ1 hovers", [1.1]),
    (READING, r'"almost constant" λ1 \|[^|]*less than a factor of ([\d.]+)', [paper.EIGENVALUE_FACTOR]),
    (READING, r"the floor \|[^|]*within ([\d.]+) points of 0", [100 * paper.ACCURACY_MARGIN]),
    (READING, r"a large batch \| (\d+) or more", [LARGE_BATCH_SIZE]),
    (READING, r"residual above ([\d.]+)", [paper.RESIDUAL_LIMIT]),
    (READING, r"significance \| p < ([\d.]+)", [paper.ALPHA]),
    (READING, r"measured under fewer than (\d+) seeds", [paper.MIN_SEEDS]),
    (READING, r"over the batch sizes from (\d+) on", [LARGE_BATCH_SIZE]),
    (READING, r"quick profile, or fewer than (\d+) seeds", [paper.MIN_SEEDS]),
    (READING, r"keeps the learning rate at ([\d.]+)", [paper.LEARNING_RATE]),
    (READING, r"it after every (\d+) epochs", [paper.HALVE_EVERY_EPOCHS]),
    (READING, r"At batch size (\d+) LR and LR/BS are one", [paper.SHARED_BATCH_SIZE]),
    (README, r"within ±([\d.]+) points of accuracy and within a factor of ([\d.]+) of λ1",
     [100 * paper.ACCURACY_MARGIN, paper.EIGENVALUE_FACTOR]),
    (README, r"accuracies within ([\d.]+) points of 0 or of chance", [100 * paper.ACCURACY_MARGIN]),
    (README, r"those of at least (\d+)\.", [LARGE_BATCH_SIZE]),
    (README, r"Fewer than (\d+) seeds or (\d+) batch sizes", [paper.MIN_SEEDS, paper.MIN_BATCH_SIZES]),
]  # fmt: skip


@pytest.mark.parametrize(("text", "pattern", "expected"), SENTENCES, ids=[s[1][:40] for s in SENTENCES])
def test_the_documents_have_the_numbers_of_the_code(text: str, pattern: str, expected: list[float]) -> None:
    found = re.findall(pattern, text)
    assert found, "the sentence is gone: change the pattern with it"
    for numbers in found:
        assert [float(n) for n in ([numbers] if isinstance(numbers, str) else numbers)] == expected


def test_every_margin_of_the_documents_is_checked() -> None:
    """A number of points, seeds or batch sizes in another sentence would go its own way."""
    for text in (READING, README):
        patterns = [pattern for of, pattern, _ in SENTENCES if of is text]
        checked = " ".join(m[0] for pattern in patterns for m in re.finditer(pattern, text))
        for margin in (r"within ±?[\d.]+ points", r"fewer than \d+ seeds", r"factor of [\d.]+"):
            assert len(re.findall(margin, text, re.I)) == len(re.findall(margin, checked, re.I)), margin


def test_the_papers_settings_are_those_of_its_regimes() -> None:
    assert PAPER_REGIMES["LR"]["learning_rate"] == paper.LEARNING_RATE
    assert PAPER_REGIMES["LR/BS"]["ratio"] == paper.RATIO
    assert PAPER_REGIMES["Benchmark"]["halve_every_epochs"] == paper.HALVE_EVERY_EPOCHS
    assert paper.SHARED_BATCH_SIZE == 64


def test_prose_is_made_from_the_constants() -> None:
    assert "2 points of accuracy, a factor of 1.5 of λ1, of 1.25 of the smallest ε" in prose_of(
        KINDS["equivalent"]
    )
    assert all(prose_of(test) for test in KINDS.values())
    assert paper.FACTS["floor"] == "within 2 points of 0 or of guessing"
    assert paper.FACTS["few"] == "3 seeds or 3 batch sizes"
    template = Path("tfsgd/reporting/page/page.html.j2").read_text()
    assert not re.search(r"\d points of|factor of \d|\d seeds|\d batch sizes|batch size \d", template)


def test_only_what_was_tested_has_a_p_value() -> None:
    described = evidence.Evidence(effect=1.0, reason="2 of at least 3 seeds")
    for untested in (described, evidence.Evidence(reason="no trial")):
        assert untested.p is untested.p_for is untested.p_against is None
    tested = evidence_of(p_for=0.01, p_against=0.99)
    assert (tested.p, evidence_of(0.01, 0.99, is_two_sided=False).p) == (0.02, 0.01)


def evidence_of(p_for: float, p_against: float, is_two_sided: bool = True) -> evidence.Evidence:
    return evidence.Evidence(
        effect=1.0,
        floor=False,
        interval=(0.5, 1.5),
        p_for=p_for,
        p_against=p_against,
        is_two_sided=is_two_sided,
        distance=1.0,
        spread=0.5,
    )


def test_colours_of_one_drawing_leave_the_others_alone() -> None:
    before = dict(DARK)
    pairs = sequence(7)
    assert len(pairs) == len({light for light, _ in pairs}) == 7
    assert not {light for light, _ in pairs} & DARK.keys()
    assert dict(DARK) == before
