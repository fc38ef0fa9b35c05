"""`make results`: the reports of `docs/results`, and every number that README.md and docs/ take from their records.

A page says which: what stands between `<!-- networks of NAME -->` and `<!-- end -->` is written here from the records of
`docs/results/NAME`. `tests/test_results.py` holds the pages to it.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.claim_text import claims, effect, said, table
from scripts.findings import contrast, findings
from scripts.float32 import attacked, margins, saturated, sentences
from scripts.full_batch import edges
from scripts.orders import orders, spreads
from scripts.seed_ranges import counted, trials
from scripts.updates import beside, judged, updates
from tfsgd.measures.spec import Measurement
from tfsgd.records.folder import LogFolder
from tfsgd.records.record import Record
from tfsgd.records.upgrade import BY_SOFTMAX
from tfsgd.reporting.claims.agreement import entries_of, worst_knobs
from tfsgd.reporting.claims.verdicts import AFTER_HOLM, Judgement
from tfsgd.reporting.page.findings import findings_of
from tfsgd.reporting.page.page import write_report
from tfsgd.reporting.paper import PAPER_ATTACKS, attack_name
from tfsgd.reporting.table.columns import Column
from tfsgd.reporting.table.studies import read_studies

RESULTS = Path("docs/results")
PAGES = (Path("README.md"), RESULTS / "README.md", Path("docs/float32-and-fgsm.md"))
BLOCK = re.compile(r"(<!-- (\w+) of ([\w-]+) -->\n).*?(<!-- end -->)", re.S)
SHORT = {"fgsm": (0.1, 0.3), "pgd": (0.02, 0.05, 0.1, 0.3)}  # where there are more


def main() -> None:
    """Writes the reports anew, then the pages."""
    for experiment in sorted(RESULTS.glob("*/experiment.yaml")):
        print(write_report([experiment.parent]))
    for page in PAGES:
        page.write_text(filled(page.read_text()))
    for figure in unused_figures():
        figure.unlink()


def filled(text: str) -> str:
    """A page with its blocks written anew."""

    def block(found: re.Match[str]) -> str:
        lines = WRITERS[found[2]](RESULTS / found[3])
        return found[1] + "".join(f"{line}\n" for line in lines) + found[4]

    return BLOCK.sub(block, text)


def unused_figures() -> list[Path]:
    """Figures that no page shows: a report's page holds its own, and files of each would double the repository."""
    text = "".join(page.read_text() for page in PAGES)
    shown = set(re.findall(r"([\w-]+/report/figures/[\w.-]+)", text))
    return [p for p in RESULTS.glob("*/report/figures/*") if str(p.relative_to(RESULTS)) not in shown]


# What the blocks hold


def scale(folder: Path) -> Iterator[str]:
    """One paragraph: what was trained and measured, on what, and what it cost."""
    [study] = read_studies([folder])
    t, record = study.trials, next(LogFolder(folder).records())
    pgd = next(m for m in record.measurements if m.label.removesuffix(BY_SOFTMAX) == "pgd")
    hours = sum(record.cost for record in study.records) / 3600
    yield (
        f"{study.title}: {len(t)} networks, {study.length}, {t.train_examples.iloc[0]:,} training images, "
        f"{counted(t.seed, 'seed')}; PGD with {pgd.settings['steps']} steps on {pgd.examples:,} test images, λ1 on "
        f"{t.hessian_examples.iloc[0]:,.0f} training images. {hours:.1f} hours of a thread in all, on processors that had other "
        f"work as well ({'; '.join(sorted(set(t.device)))}). Commit and processor are in each record."
    )


def networks(folder: Path) -> Iterator[str]:
    """Accuracies and λ1, a row a network."""
    t = trials(folder)
    [study] = read_studies([folder])
    attacked_at = [c for c in study.columns.values() if c.attack and c.at is None and t[c.name].notna().any()]
    exact = [c for c in attacked_at if c.attack and c.attack[0] in PAPER_ATTACKS]
    softmax = [
        c for c in attacked_at if c.attack and c.attack[0] in {f"{a}{BY_SOFTMAX}" for a in PAPER_ATTACKS}
    ]
    few = [c for c in exact if c.attack and c.attack[1] in SHORT[c.attack[0]]]
    exact = sorted(few, key=lambda c: c.attack or ("", 0.0)) if len(exact) > 6 else exact
    shown = exact or softmax
    head = ["train", "test", *map(_heading, shown), "λ1 (residual)", "stability ratio"]
    rows = []
    for _, r in t.iterrows():
        learnt = r.status == "completed"
        attacked = [f"{r[c.name]:.3f}" if learnt and pd.notna(r[c.name]) else "" for c in shown]
        ratio = "" if pd.isna(r.stability_ratio) or not learnt else f"{r.stability_ratio:.2f}"
        numbers = [f"{r.train_accuracy:.3f}", f"{r.test_accuracy:.3f}", *attacked]
        rows.append(
            [*setting(r), *numbers, f"{r.eigenvalue:.1f} ({r.residual:.3f})", ratio if learnt else r.status]
        )
    yield from table([*SETTING, *head], rows)


def _heading(column: Column) -> str:
    """`FGSM 0.3`, or `FGSM by softmax, 0.3`."""
    assert column.attack
    label, epsilon = column.attack
    by = " by softmax," if label.endswith(BY_SOFTMAX) else ""
    return f"{attack_name(label.removesuffix(BY_SOFTMAX))}{by} {epsilon}"


def measures(folder: Path) -> Iterator[str]:
    """What explains them, a row a network; an empty place was not measured."""
    records = {(r.regime, r.sgd.batch_size, r.sgd.momentum, r.seed): r for r in LogFolder(folder).records()}
    asked = {title: column for title, column in MEASURES.items() if any(map(column.found, records.values()))}
    rows = []
    for _, row in trials(folder).iterrows():
        record = records[row.regime, row.batch_size, row.momentum, row.seed]
        rows.append([*setting(row), *(column.show(record) for column in asked.values())])
    head = [f"{title}, {column.images(records.values())}" for title, column in asked.items()]
    yield from table([*SETTING, *head], rows)


def summary(folder: Path) -> Iterator[str]:
    """The findings, a row each, as on the first screen of the report."""
    [study] = read_studies([folder])
    rows = []
    for finding in findings_of(study, claims(folder)):
        if any(effect.words for effect in finding.effects):
            says = "<br>".join(f"{said}: **{verdict}**" for said, verdict in finding.verdicts)
            n = "; ".join(dict.fromkeys(effect.judgement.evidence.n for effect in finding.effects))
            rows.append(
                [finding.title, finding.words(False), finding.words(True), says, finding.seeds_needed, n]
            )
    yield from table(
        ["finding", "λ1 or natural accuracy", "smallest ε", "the paper says", "seeds needed", "n"], rows
    )


def verdicts(folder: Path) -> Iterator[str]:
    """The claims that have numbers, a row each."""
    yield from _claims_table([j for j in claims(folder) if j.verdict != "not testable"])


def _claims_table(judged: Iterable[Judgement]) -> Iterator[str]:
    rows = []
    for j in judged:
        at = f" (ε = {j.asked.attack[1]:g})" if j.asked.attack else ""
        more = f"; {j.seeds_needed} seeds would decide" if j.seeds_needed else ""
        words, why = said(j.verdict, j.asked.expectation), f"{j.why.removesuffix(AFTER_HOLM)}{more}"
        rows.append(
            [f"{j.asked.claim.statement}{at}", j.asked.claim.source, words, effect(j), why, j.evidence.n]
        )
    yield from table(["claim", "source", "verdict", "effect [95 % interval]", "why", "n"], rows)


def agreement(folder: Path) -> Iterator[str]:
    """Measures downwards, knobs across: the agreement with the smallest epsilon, bold where it is told from 0."""
    [study] = read_studies([folder])
    found = entries_of(study)
    knobs = [*dict.fromkeys(entry.knob for entry in found)]
    at = {(entry.measure, entry.knob): entry for entry in found}
    verdict = dict(worst_knobs(found))
    rows = []
    for measure in verdict:
        cells = [at.get((measure, knob)) for knob in knobs]
        shown = [
            (f"**{e.found.estimate:+.2f}**" if e.sign else f"{e.found.estimate:+.2f}") if e else ""
            for e in cells
        ]
        rows.append([measure, *shown, verdict[measure]])
    yield from table(["measure", *knobs, "over all knobs"], rows)


# Their parts


SETTING = ("regime", "batch size", "momentum", "seed")


@dataclass(frozen=True)
class Measured:
    """A value of the measurement with a label; of most images where there are several, or of so many."""

    label: str
    key: str
    digits: str
    epsilon: float | None = None
    error: str = ""  # the key of what stands in brackets behind it
    examples: int | None = None
    mode: str = ""  # that was asked for; empty: any

    def found(self, record: Record) -> Measurement | None:
        same = [
            m
            for m in record.measurements
            if (m.label, m.epsilon) == (self.label, self.epsilon)
            and self.examples in (None, m.examples)
            and self.mode in ("", m.settings.get("mode"))
        ]
        return max(
            (m for m in same if m.values.get(self.key) is not None), key=lambda m: m.examples, default=None
        )

    def show(self, record: Record) -> str:
        m = self.found(record)
        behind = f" ({m.values[self.error]:{self.digits}})" if m and self.error else ""
        return f"{m.values[self.key]:{self.digits}}{behind}" if m else ""

    def images(self, records: Iterable[Record]) -> str:
        found = sorted({m.examples for m in map(self.found, records) if m})
        return f"{' or '.join(f'{n:,}' for n in found)} images"


MEASURES = {
    "confidence": Measured("confidence", "confidence", ".3f"),
    "margin of the logits": Measured("confidence", "margin", ".2f"),
    "median smallest ε": Measured("minimal", "median", ".4f", 0.5),
    "PGD 0.05": Measured("pgd-reference", "accuracy", ".3f", 0.05),
    "noise 0.05": Measured("noise", "accuracy", ".3f", 0.05),
    "APGD 0.05": Measured("apgd", "accuracy", ".3f", 0.05),
    "Square 0.05": Measured("square", "accuracy", ".3f", 0.05, examples=200),
    "APGD 0.01 by softmax": Measured("apgd-softmax", "accuracy", ".3f", 0.01),
    "Square 0.01": Measured("square", "accuracy", ".3f", 0.01),
    "noise 0.3": Measured("noise", "accuracy", ".3f", 0.3),
    "APGD 0.3": Measured("apgd", "accuracy", ".3f", 0.3),
    "Square 0.3": Measured("square", "accuracy", ".3f", 0.3, examples=200),
    "tr H (s.e.)": Measured("trace", "value", ".0f", error="error"),
    "λ1 in training mode": Measured("extremes", "value", ".1f", mode="training"),
    "lowest eigenvalue": Measured("extremes", "lowest", ".1f"),
    "batch sharpness (s.e.)": Measured("batch_sharpness", "value", ".1f", error="error"),
    "gradient noise scale (s.e.)": Measured("gradient_noise", "value", ",.0f", error="error"),
    "λ1 of the input (s.e.)": Measured("input_eigenvalue", "value", ".1f", error="error"),
}


def setting(row: Any) -> list[str]:
    return [" = ".join(row.regimes), str(row.batch_size), f"{row.momentum:g}", str(row.seed)]


WRITERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "scale": scale,
    "networks": networks,
    "measures": measures,
    "summary": summary,
    "verdicts": verdicts,
    "agreement": agreement,
    "findings": findings,
    "contrast": contrast,
    "updates": updates,
    "beside": beside,
    "judged": judged,
    "saturated": saturated,
    "attacked": attacked,
    "margins": margins,
    "sentences": sentences,
    "spreads": spreads,
    "orders": orders,
    "edges": edges,
}

if __name__ == "__main__":
    main()
