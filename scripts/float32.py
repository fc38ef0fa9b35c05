"""What float32's softmax makes of attacks and of the paper's sentences, beside the exact gradient, from the records."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.claim_text import table, verdict_and_number
from scripts.seed_ranges import span
from tfsgd.reporting.claims.verdicts import Judgement, judgements_of
from tfsgd.reporting.paper import attack_name
from tfsgd.reporting.table.columns import Attack, attack_column
from tfsgd.reporting.table.studies import Study, read_studies

SENTENCES = {
    "Under LR accuracy falls as the batch size grows (Section 3), per doubling": "batch-lr",
    "Under Benchmark likewise (Section 3), per doubling": "batch-benchmark",
    "Under LR/BS it is almost constant (Abstract, Section 3), widest pair of batch sizes": "constant-lrbs",
    "Under LR it rises as momentum grows (Section 4), per 0.1 of momentum": "momentum-lr",
    "Under LR/BS momentum hardly changes it (Sections 4 and 5), widest pair of momenta": "momentum-lrbs-constant",
}
AT = (("fgsm", 0.3), ("fgsm", 0.1), ("pgd", 0.1))


def saturated(folder: Path) -> Iterator[str]:
    """How sure the networks are, and what FGSM at the paper's epsilon is by either gradient."""
    study = _study(folder)
    t = _learnt(study)
    pair = ("fgsm", study.paper_epsilon or 0.0)
    softmax, exact = (attack_column(*key) for key in (study.softmax[pair], pair))
    r = {column: np.corrcoef(t.saturated, t[column])[0, 1] for column in (softmax, exact)}
    yield (
        f"**FGSM at the paper's ε = {pair[1]:g} measures how sure a network is.** Of the {len(t)} networks of {study.title} that learnt, "
        f"float32 loses the true class's term of the softmax's gradient at {t.saturated.mean():.1%} of the test images in the mean, at "
        f"{t.saturated.max():.1%} of them in the surest network. Over these networks FGSM accuracy follows that share with "
        f"r = {r[softmax]:.3f}. By the exact gradient its mean is {t[exact].mean():.1%} in place of {t[softmax].mean():.1%}."
    )


def margins(folder: Path) -> Iterator[str]:
    """How far networks that are gone can have been from saturation."""
    t = _study(folder).trials
    yield (
        f"float32 begins to lose the true class's term at a margin of the logits of about 17. The mean margin on test images is "
        f"{span(t.margin, '.1f')} and the mean confidence {span(t.confidence, '.2f')}, so few images can be saturated; how many is not known."
    )


def attacked(folder: Path) -> Iterator[str]:
    """Mean accuracies over the networks that learnt, a row an attack and epsilon."""
    study = _study(folder)
    t, rows = _learnt(study), []
    for pair, twin in study.softmax.items():
        both = t[[attack_column(*twin), attack_column(*pair), "saturated"]].dropna()
        if both.empty:
            continue
        softmax, exact, sure = (both[column] for column in both)
        rows.append([
            f"{attack_name(pair[0])} {pair[1]:g}", str(len(both)), f"{softmax.mean():.1%}", f"{exact.mean():.1%}",
            f"{(softmax - exact).max() * 100:+.1f} points", _r(sure, softmax), _r(sure, exact),
        ])  # fmt: skip
    head = ["attack, ε", "networks", "float32's softmax", "exact", "largest difference", "r with saturated images, softmax", "exact"]  # fmt: skip
    yield from table(head, rows)


def sentences(folder: Path) -> Iterator[str]:
    """The paper's sentences on accuracy under attack, as either gradient judges them."""
    study = _study(folder)
    exact, softmax = _judged(study, study.trials), _judged(study, by_softmax(study))
    rows = []
    for sentence, name in SENTENCES.items():
        keys = [(f"{name}-{attack}-accuracy", (attack, epsilon)) for attack, epsilon in AT]
        cells = [verdict_and_number(found[key]) for key in keys if key in exact for found in (softmax, exact)]
        if any("[" in cell for cell in cells):
            rows.append([sentence, *cells])
    head = [f"{attack_name(a)} {e:g}, points: {by}" for a, e in AT for by in ("float32's softmax", "exact")]
    yield from table(["what the paper says", *head], rows)


def by_softmax(study: Study) -> pd.DataFrame:
    """The trials with float32's accuracies in the columns of the exact ones."""
    columns = {attack_column(*twin): attack_column(*pair) for pair, twin in study.softmax.items()}
    return study.trials.drop(columns=list(columns.values())).rename(columns=columns)


def _judged(study: Study, trials: pd.DataFrame) -> dict[tuple[str, Attack | None], Judgement]:
    found = judgements_of(replace(study, trials=trials), AT)
    return {(judgement.asked.key, judgement.asked.attack): judgement for judgement in found}


def _study(folder: Path) -> Study:
    [study] = read_studies([folder])
    return study


def _learnt(study: Study) -> pd.DataFrame:
    return study.trials[study.trials["status"] == "completed"].dropna(subset=["saturated"])


def _r(one: pd.Series, other: pd.Series) -> str:
    return f"{np.corrcoef(one, other)[0, 1]:+.3f}" if len(one) > 2 and other.std() > 0 else ""
