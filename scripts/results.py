"""`make results`: the reports of `docs/results`, and every number that README.md and docs/ take from their records.

A page says which: what stands between `<!-- networks of NAME -->` and `<!-- end -->` is written here from the records of
`docs/results/NAME`. `tests/test_results.py` holds the pages to it.
"""

import functools
import json
import math
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from scripts.words import effect, elsewhere, said
from tfsgd.api import read_records
from tfsgd.measures.spec import Measurement
from tfsgd.records.folder import LogFolder
from tfsgd.records.record import Record
from tfsgd.reporting.checks import SAID
from tfsgd.reporting.page import write_report
from tfsgd.reporting.studies import read_studies

RESULTS = Path("docs/results")
PAGES = (Path("README.md"), RESULTS / "README.md")
BLOCK = re.compile(r"(<!-- (\w+) of ([\w-]+) -->\n).*?(<!-- end -->)", re.S)
CONTROL = "LR-0.1"  # the rate of LR over 1 − 0.9, without momentum
MAIN = ("batch-", "constant-", "lower-", "momentum-", "counter-", "ceiling-lr")
SHOWN = {None: (None,), "fgsm": (0.1, 0.3), "pgd": (0.1, 0.3)}  # the epsilons in the tables


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
    pgd = next(m for m in record.measurements if m.label == "pgd")
    hours = t[["seconds_train", "seconds_attacks", "seconds_hessian"]].sum().sum() / 3600
    yield (
        f"{study.title}: {len(t)} networks, {t.epochs.iloc[0]} epochs, {t.train_examples.iloc[0]:,} training images, "
        f"{counted(t.seed, 'seed')}; PGD with {pgd.settings['steps']} steps on {pgd.examples:,} test images, λ1 on "
        f"{t.hessian_examples.iloc[0]:,.0f} training images. {hours:.1f} hours of a thread in all, on processors that had other "
        f"work as well ({'; '.join(sorted(set(t.device)))}). Commit and processor are in each record."
    )


def networks(folder: Path) -> Iterator[str]:
    """Accuracies and λ1, a row a network."""
    t = trials(folder)
    shown = [
        name for name in ("fgsm_0.1", "fgsm_0.3", "pgd_0.02", "pgd_0.05", "pgd_0.1", "pgd_0.3") if name in t
    ]
    head = [
        "train",
        "test",
        *(name.replace("_", " ").upper() for name in shown),
        "λ1 (residual)",
        "stability ratio",
    ]
    rows = []
    for _, r in t.iterrows():
        learnt = r.status == "completed"
        attacked = [f"{r[name]:.3f}" if learnt else "" for name in shown]
        ratio = "" if pd.isna(r.stability_ratio) or not learnt else f"{r.stability_ratio:.2f}"
        numbers = [f"{r.train_accuracy:.3f}", f"{r.test_accuracy:.3f}", *attacked]
        rows.append(
            [*setting(r), *numbers, f"{r.eigenvalue:.1f} ({r.residual:.3f})", ratio if learnt else r.status]
        )
    yield from table([*SETTING, *head], rows)


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
    """The claims about each regime, under FGSM at the paper's epsilon and under PGD at one that is no floor."""

    def main(claim: dict[str, Any]) -> bool:
        under = claim["attack"], claim["epsilon"]
        return claim["claim"].startswith(MAIN) and under in ((None, None), ("fgsm", 0.3), ("pgd", 0.1))

    yield from verdicts(folder, main)


def verdicts(folder: Path, chosen: Callable[[dict[str, Any]], bool] = lambda claim: True) -> Iterator[str]:
    """The claims, one row each."""
    judged, rows = claims(folder), []
    for claim in filter(chosen, judged):
        if claim["epsilon"] not in SHOWN.get(claim["attack"], ()):
            continue
        at = f" (ε = {claim['epsilon']:g})" if claim["epsilon"] else ""
        why = claim["why"].replace(" after Holm's correction", "") + elsewhere(claim, judged)
        rows.append(
            [f"{claim['statement']}{at}", claim["section"], said(claim), effect(claim), why, claim["n"]]
        )
    yield from table(["claim", "source", "verdict", "effect [95 % interval]", "why", "n"], rows)


def findings(folder: Path) -> Iterator[str]:
    """What the networks show beyond the claims."""
    t = trials(folder)
    over = functools.partial(over_seeds, t)

    def of_all(regime: str, batch_size: int, momentum: float, status: str) -> str:
        cell = t[(t.regime == regime) & (t.batch_size == batch_size) & (t.momentum == momentum)]
        return f"{int((cell.status == status).sum())} of {len(cell)}"

    small, large = int(t.batch_size.min()), int(t.batch_size.max())
    seeds = t.seed.nunique()
    yield f"Ranges are over {seeds} seeds; where no momentum is named it is 0."
    yield ""
    yield (
        f"- **Under LR/BS the ceiling falls with the batch size, and λ1 with it**: from {over('LR/BS', small, 'eigenvalue', '.0f')} "
        f"at batch size {small} to {over('LR/BS', large, 'eigenvalue', '.0f')} at {large}, where it stands at "
        f"{over('LR/BS', large, 'stability_ratio')} of the edge of stability, 2(1 + γ)/η (Cohen et al. 2021). Under LR, whose "
        f"ceiling stays, it grows to {over('LR', large, 'eigenvalue', '.0f')}, {over('LR', large, 'stability_ratio')} of it."
    )
    yield (
        "- **The more robust networks are the less sure ones**: under LR the median smallest ε rises from "
        f"{over('LR', small, SMALLEST, '.3f')} to {over('LR', large, SMALLEST, '.3f')} while the mean confidence falls from "
        f"{over('LR', small, 'confidence')} to {over('LR', large, 'confidence')}; under LR/BS, which trains every batch size to "
        f"a confidence of {over('LR/BS', None, 'confidence')}, it is {over('LR/BS', None, SMALLEST, '.3f')} at all of them."
    )
    if 0.9 in set(t[t.regime == "LR"].momentum):
        middle = int(t.batch_size.median())
        momenta = {r: sorted(t[t.regime == r].momentum.unique()) for r in ("LR", "LR/BS")}
        places = (("LR", small), ("LR", large), ("LR/BS", middle), ("LR/BS", large))
        flat = [", ".join(over(r, b, "eigenvalue", ".0f", m) for m in momenta[r]) for r, b in places]
        at = {r: ", ".join(f"{m:g}" for m in found) for r, found in momenta.items()}
        yield (
            "- **Momentum flattens under LR, and under LR/BS where it trains**: under LR λ1 is, at momenta "
            f"{at['LR']}, {flat[0]} at batch size {small} and {flat[1]} at {large}; under LR/BS at momenta {at['LR/BS']}, {flat[2]} at {middle} and "
            f"{flat[3]} at {large}, where at 0.9 {of_all('LR/BS', large, 0.9, 'collapsed')} networks collapsed. It also trains further: under LR at batch size "
            f"{large} the train loss falls from {over('LR', large, 'train_loss')} to {over('LR', large, 'train_loss', '.2f', 0.9)}."
        )
        yield (
            f"- **Flatter is less robust here, also where PGD says otherwise**: momentum 0.9 under LR lowers the median smallest ε from "
            f"{over('LR', small, SMALLEST, '.3f')} to {over('LR', small, SMALLEST, '.3f', 0.9)} at batch size {small} and from "
            f"{over('LR', large, SMALLEST, '.3f')} to {over('LR', large, SMALLEST, '.3f', 0.9)} at {large}. At batch size {small} "
            f"PGD at ε = 0.05 leaves {over('LR', small, 'pgd_0.05', '.1%', 0.9)} of the images, but Square, which needs no gradient, "
            f"{over('LR', small, 'square_0.05', '.1%', 0.9)} of the first 200 and Auto-PGD {over('LR', small, 'apgd_0.05', '.1%', 0.9)} "
            "of the first 500: PGD is too weak for these networks."
        )
    yield from control(t)
    yield (
        f"- **PGD with 40 steps of ε/30 has not converged**: at ε = 0.1 it leaves LR's networks of batch size {large} "
        f"{over('LR', large, 'pgd_0.1', '.1%')} of the images, Auto-PGD {over('LR', large, 'apgd_0.1', '.1%')} of the first 500."
    )
    yield (
        f"- **At the paper's ε = {0.3} nothing can be told apart under PGD**: no network keeps more than "
        f"{100 * t[t.status == 'completed']['pgd_0.3'].max():.1f} % of the images."
    )

    yield is_it_real(t)


def control(t: pd.DataFrame) -> Iterator[str]:
    """Momentum 0.9 beside ten times LR's rate without it: the same step in the long run, under another ceiling."""
    over, ends = functools.partial(over_seeds, t), (int(t.batch_size.min()), int(t.batch_size.max()))

    def beside(column: str, form: str) -> str:
        pairs = ((over("LR", b, column, form, 0.9), over(CONTROL, b, column, form), b) for b in ends)
        return " and ".join(f"{one} against {other} at batch size {b}" for one, other, b in pairs)

    if CONTROL in set(t.regime):
        yield (
            "- **Momentum 0.9 does to robustness what its rate, 0.01/(1 − γ), does without it**: the median smallest ε is "
            f"{beside(SMALLEST, '.3f')}. λ1 is {beside('eigenvalue', '.0f')}: without momentum the ceiling is (1 + γ)/(1 − γ) = "
            f"19 times lower, and λ1 stands at {over(CONTROL, ends[1], 'stability_ratio')} of it."
        )


def contrast(folder: Path) -> Iterator[str]:
    """What the same network shows on data where PGD at the paper's epsilon is no floor."""
    t = trials(folder)
    over = functools.partial(over_seeds, t)
    small, large = int(t.batch_size.min()), int(t.batch_size.max())
    paper = read_studies([folder])[0].paper_epsilon
    yield f"Ranges are over {counted(t.seed, 'seed')}; momentum is 0 but for Benchmark's 0.9."
    yield ""
    for regime, momentum in (("LR", 0.0), ("LR/BS", 0.0), ("Benchmark", 0.9)):
        ends = [
            (
                over(regime, size, f"pgd_{paper}", ".1%", momentum),
                over(regime, size, "eigenvalue", ".1f", momentum),
            )
            for size in (small, large)
        ]
        yield (
            f"- **{regime}**: from batch size {small} to {large} PGD accuracy at the paper's ε = {paper} goes from {ends[0][0]} to "
            f"{ends[1][0]}, λ1 from {ends[0][1]} to {ends[1][1]}."
        )
    if SMALLEST in t:
        yield (
            f"- **The median smallest ε** of the first 1,000 images goes from {over('LR', small, SMALLEST, '.3f')} to "
            f"{over('LR', large, SMALLEST, '.3f')} under LR, from {over('LR/BS', small, SMALLEST, '.3f')} to "
            f"{over('LR/BS', large, SMALLEST, '.3f')} under LR/BS.{disagreement(t, f'pgd_{paper}')}"
        )
    if f"apgd_{paper}" in t:
        yield (
            f"- **Stronger attacks leave less at ε = {paper}**: of LR/BS's networks, for which PGD leaves "
            f"{over('LR/BS', None, f'pgd_{paper}', '.1%')}, Auto-PGD {over('LR/BS', None, f'apgd_{paper}', '.1%')} of the first 500 "
            f"images and Square {over('LR/BS', None, f'square_{paper}', '.1%')} of the first 200."
        )
    yield is_it_real(t)


def disagreement(t: pd.DataFrame, pgd: str) -> str:
    """Whether PGD and the smallest epsilon order LR's batch sizes in opposite ways."""
    means = t[(t.regime == "LR") & (t.momentum == 0)].groupby("batch_size")[[SMALLEST, pgd]].mean()
    rise = means.iloc[-1] - means.iloc[0]
    if rise[SMALLEST] * rise[pgd] >= 0:
        return ""
    says = "rises where PGD falls" if rise[SMALLEST] > 0 else "falls where PGD rises"
    return f" Under LR it {says}: the two disagree on which networks are the more robust ones."


def is_it_real(t: pd.DataFrame) -> str:
    """How many networks that were trained fail a check of their accuracy under attack, and what that means."""
    t = t[t.status == "completed"]
    failed = [
        *{(i, check.name): check for i, checks in enumerate(t.failed_checks) for check in checks}.values()
    ]
    said = "; ".join(f"{SAID[n][1]} ({count})" for n, count in Counter(c.name for c in failed).most_common())
    meaning = {
        "weak attack": "A weak attack leaves more images than a stronger one would, so PGD's numbers are too high.",
        "masked gradients": "Where gradients are masked no number under attack can be trusted.",
    }
    return (
        f"- **Is it real?** {int((t.failed_checks.map(len) > 0).sum())} of {len(t)} networks fail a check of their accuracy under "
        f"attack{f': {said}' if said else ''}. {' '.join(meaning[sign] for sign in sorted({c.sign for c in failed}))}".rstrip()
    )


# Their parts


SETTING = ("regime", "batch size", "momentum", "seed")
SMALLEST = "minimal_0.5_median"


@dataclass(frozen=True)
class Column:
    """A value of the measurement with a label; of most images where there are several, or of so many."""

    label: str
    key: str
    digits: str
    epsilon: float | None = None
    error: str = ""  # the key of what stands in brackets behind it
    examples: int | None = None

    def found(self, record: Record) -> Measurement | None:
        same = [
            m
            for m in record.measurements
            if (m.label, m.epsilon) == (self.label, self.epsilon) and self.examples in (None, m.examples)
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
    "confidence": Column("confidence", "confidence", ".3f"),
    "margin of the logits": Column("confidence", "margin", ".2f"),
    "median smallest ε": Column("minimal", "median", ".4f", 0.5),
    "PGD 0.05": Column("pgd-reference", "accuracy", ".3f", 0.05),
    "noise 0.05": Column("noise", "accuracy", ".3f", 0.05),
    "APGD 0.05": Column("apgd", "accuracy", ".3f", 0.05),
    "Square 0.05": Column("square", "accuracy", ".3f", 0.05, examples=200),
    "noise 0.3": Column("noise", "accuracy", ".3f", 0.3),
    "APGD 0.3": Column("apgd", "accuracy", ".3f", 0.3),
    "Square 0.3": Column("square", "accuracy", ".3f", 0.3, examples=200),
    "tr H (s.e.)": Column("trace", "value", ".0f", error="error"),
    "lowest eigenvalue": Column("extremes", "lowest", ".1f"),
    "batch sharpness (s.e.)": Column("batch_sharpness", "value", ".1f", error="error"),
    "gradient noise scale (s.e.)": Column("gradient_noise", "value", ",.0f", error="error"),
    "λ1 of the input (s.e.)": Column("input_eigenvalue", "value", ".1f", error="error"),
}


def trials(folder: Path) -> pd.DataFrame:
    """The records' table in the order of the paper's regimes, batch sizes, momenta and seeds."""
    t = read_records(folder)
    t["order"] = t.regime.map({"LR": 0, "LR/BS": 1, "Benchmark": 2})
    return t.sort_values(["order", "batch_size", "momentum", "seed"])


def over_seeds(
    t: pd.DataFrame,
    regime: str,
    batch_size: int | None,
    column: str,
    digits: str = ".2f",
    momentum: float = 0.0,
) -> str:
    """The range of a column over the seeds of a cell, or of all of a regime's batch sizes."""
    if column not in t:
        return span([], digits)
    member = t.regimes.map(lambda regimes: regime in regimes) & (t.momentum == momentum)
    sized = t.batch_size == (batch_size or t.batch_size)
    return span(t[member & sized & (t.status == "completed")][column], digits)


def claims(folder: Path) -> list[dict[str, Any]]:
    """The judged claims of a report."""
    [study] = json.loads((folder / "report" / "claims.json").read_text())
    return list(study["claims"])


def counted(values: Iterable[Any], what: str) -> str:
    """`seed 0`, `seeds 0, 1, 2`."""
    found = sorted(set(values))
    return f"{what}{'s' * (len(found) > 1)} {', '.join(map(str, found))}"


def setting(row: Any) -> list[str]:
    return [" = ".join(row.regimes), str(row.batch_size), f"{row.momentum:g}", str(row.seed)]


def span(values: Iterable[float], digits: str) -> str:
    """`0.88–0.99`, or one number where all are equal; shares as `18.5–27.6 %`."""
    known = [v for v in values if not math.isnan(v)]
    if not known:
        return "(not measured)"
    ends = [f"{v:{digits}}".removesuffix("%") for v in (min(known), max(known))]
    return "–".join(dict.fromkeys(ends)) + " %" * digits.endswith("%")


def table(head: Iterable[str], rows: Iterable[Iterable[str]]) -> Iterator[str]:
    columns = [*head]
    yield f"| {' | '.join(columns)} |"
    yield "|" + "---|" * len(columns)
    for row in rows:
        yield f"| {' | '.join(row)} |"


WRITERS: dict[str, Callable[[Path], Iterator[str]]] = {
    "scale": scale,
    "networks": networks,
    "measures": measures,
    "summary": summary,
    "verdicts": verdicts,
    "findings": findings,
    "contrast": contrast,
}

if __name__ == "__main__":
    main()
