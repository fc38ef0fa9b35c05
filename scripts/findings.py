"""What the networks of a study show beyond the claims, in sentences whose numbers come from the records.

A sentence speaks of the batch sizes at which all networks that it compares have learnt. What it says of a direction
holds for every seed, or it is said without one.
"""

from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pandas as pd

from scripts.seed_ranges import counted, lost, momenta_of, moves, over_seeds, sizes_of, span, trials, values
from tfsgd.reporting.table.checks import CHECKS
from tfsgd.reporting.table.columns import smallest_column
from tfsgd.reporting.table.studies import read_studies

CONTROL = "LR-0.1"  # the rate of LR over 1 − 0.9, without momentum
SMALLEST = smallest_column(("minimal", 0.5))
GOES = {1: "rises", 0: "goes", -1: "falls"}
CHANGES = {1: "raises", 0: "moves", -1: "lowers"}


def findings(folder: Path) -> Iterator[str]:
    """What the networks show beyond the claims."""
    t = trials(folder)
    yield f"Ranges are over the networks of {t.seed.nunique()} seeds that learnt; where no momentum is named it is 0."
    yield ""
    yield from ceilings(t)
    yield from confidence(t)
    yield from momentum(t)
    yield from control(t)
    yield from attacks(t)
    yield is_it_real(t)


def headline(holds: bool, said: str, otherwise: str) -> str:
    """A finding in bold, or, where the numbers do not bear it out, what the numbers are about."""
    return f"- **{said if holds else otherwise}**"


def ceilings(t: pd.DataFrame) -> Iterator[str]:
    """λ1 beside its ceiling, which falls under LR/BS and stays under LR."""
    over, sizes = partial(over_seeds, t), {r: sizes_of(t, (r, 0.0)) for r in ("LR", "LR/BS")}
    (small, *_, large), last = sizes["LR/BS"], sizes["LR"][-1]
    ends = {r: [values(t, r, b, "eigenvalue") for b in (s[0], s[-1])] for r, s in sizes.items()}
    gone = "".join(_collapsed(t, b) for b in sorted(set(t.batch_size)) if b > large and lost(t, "LR/BS", b))
    title = "Under LR/BS the ceiling falls with the batch size, and λ1 with it"
    yield (
        f"{headline(moves(*ends['LR/BS']) < 0, title, 'λ1 and its ceiling')}: from {over('LR/BS', small, 'eigenvalue', '.0f')} at "
        f"batch size {small} to {over('LR/BS', large, 'eigenvalue', '.0f')} at {large}, where it stands at "
        f"{over('LR/BS', large, 'stability_ratio')} of the edge of stability, 2(1 + γ)/η (Cohen et al. 2021){gone}. Under LR, whose "
        f"ceiling stays, it {GOES[moves(*ends['LR'])]} to {over('LR', last, 'eigenvalue', '.0f')} at {last}, "
        f"{over('LR', last, 'stability_ratio')} of it."
    )


def _collapsed(t: pd.DataFrame, batch_size: int) -> str:
    """How many networks of LR/BS collapsed at a batch size, and where the others stand."""
    others = values(t, "LR/BS", batch_size, "stability_ratio")
    stand = f", and the rest stands at {span(others, '.2f')} of it" if others else ""
    return f"; at {batch_size} {lost(t, 'LR/BS', batch_size)} networks collapsed{stand}"


def confidence(t: pd.DataFrame) -> Iterator[str]:
    """The smallest ε beside the confidence, under LR and LR/BS."""
    over, sizes = partial(over_seeds, t), sizes_of(t, ("LR", 0.0))
    small, large = sizes[0], sizes[-1]
    radius, sure = (
        moves(*(values(t, "LR", b, column) for b in (small, large))) for column in (SMALLEST, "confidence")
    )
    both = sizes_of(t, ("LR/BS", 0.0))
    all_of_them = partial(over_seeds, t[t.batch_size.isin(both)], "LR/BS", None)
    title = "The more robust networks are the less sure ones"
    yield (
        f"{headline(radius * sure < 0, title, 'Robustness and confidence')}: from batch size "
        f"{small} to {large} under LR the median smallest ε {GOES[radius]} from {over('LR', small, SMALLEST, '.3f')} to "
        f"{over('LR', large, SMALLEST, '.3f')} while the mean confidence {GOES[sure]} from {over('LR', small, 'confidence')} to "
        f"{over('LR', large, 'confidence')}; under LR/BS, whose networks are sure to {all_of_them('confidence')} from batch "
        f"size {both[0]} to {both[-1]}, it is {all_of_them(SMALLEST, '.3f')} at all of these."
    )


def momentum(t: pd.DataFrame) -> Iterator[str]:
    """What momentum does to λ1 and to the train loss, and to the smallest ε."""
    sizes = sizes_of(t, ("LR", 0.0), ("LR", 0.9))
    if not sizes:
        return
    ends = [*dict.fromkeys((sizes[0], sizes[-1]))]
    flatter = all(moves(*(values(t, "LR", b, "eigenvalue", m) for m in (0.0, 0.9))) < 0 for b in ends)
    own = [b for b in sizes_of(t, ("LR/BS", 0.0)) if not _is_shared(t, b)][-2:]
    places = [("LR", b) for b in ends] + [("LR/BS", b) for b in own]
    first = momenta_of(t, *places[0])
    shown = "; ".join(_at_momenta(t, *place, first) for place in places)
    losses = [values(t, "LR", ends[-1], "train_loss", m) for m in (0.0, 0.9)]
    yield (
        f"{headline(flatter, 'Momentum flattens under LR', 'λ1 and momentum')}: at momenta {_named(first)} λ1 is {shown}. With momentum "
        f"0.9 under LR the train loss at batch size {ends[-1]} {GOES[moves(*losses)]} from {span(losses[0], '.2f')} to "
        f"{span(losses[1], '.2f')}."
    )
    yield _smallest_and_momentum(t, ends, flatter)


def _smallest_and_momentum(t: pd.DataFrame, ends: list[int], flatter: bool) -> str:
    """The smallest ε without momentum and with 0.9 under LR, and what attacks leave there at the smaller batch size."""
    radii = {b: [values(t, "LR", b, SMALLEST, m) for m in (0.0, 0.9)] for b in ends}
    down = {moves(*pair) for pair in radii.values()}
    changes = " and ".join(
        f"from {span(none, '.3f')} to {span(much, '.3f')} at batch size {size}"
        for size, (none, much) in radii.items()
    )
    before, pgd = (values(t, "LR", ends[0], "pgd_0.05", m) for m in (0.0, 0.9))
    square, apgd = (values(t, "LR", ends[0], f"{a}_0.05", 0.9) for a in ("square", "apgd"))
    title = "Flatter is less robust here"
    return (
        f"{headline(flatter and down == {-1}, title, 'The smallest ε and momentum')}: momentum 0.9 under LR "
        f"{CHANGES[down.pop() if len(down) == 1 else 0]} the median smallest ε {changes}. At batch size {ends[0]} PGD at ε = 0.05 leaves "
        f"{span(pgd, '.1%')} of the images ({span(before, '.1%')} without momentum), Square, which needs no gradient, "
        f"{span(square, '.1%')} of the first 200 and Auto-PGD {span(apgd, '.1%')} of the first 500."
    )


def _is_shared(t: pd.DataFrame, batch_size: int) -> bool:
    """LR and LR/BS are one and the same network there."""
    return bool(t[t.batch_size == batch_size].regimes.map(lambda labels: {"LR", "LR/BS"} <= {*labels}).any())


def _at_momenta(t: pd.DataFrame, regime: str, batch_size: int, named: list[float]) -> str:
    """λ1 at each momentum that trains, which are named if they are others: `32–45, 4–7 under LR at batch size 64 (momenta 0, 0.9)`."""
    there = momenta_of(t, regime, batch_size)
    shown = ", ".join(over_seeds(t, regime, batch_size, "eigenvalue", ".0f", m) for m in there)
    notes = [f"momenta {_named(there)}"] if there != named else []
    everyone = sorted(t.momentum.unique())
    notes += [f"{n} collapsed at {m:g}" for m in everyone if (n := lost(t, regime, batch_size, m))]
    return f"{shown} under {regime} at batch size {batch_size}" + (f" ({'; '.join(notes)})" if notes else "")


def _named(momenta: list[float]) -> str:
    return ", ".join(f"{m:g}" for m in momenta)


def control(t: pd.DataFrame) -> Iterator[str]:
    """Momentum 0.9 beside ten times LR's rate without it: the same step in the long run, under another ceiling."""
    sizes = sizes_of(t, ("LR", 0.9), (CONTROL, 0.0))
    if not sizes:
        return
    over, ends = partial(over_seeds, t), (sizes[0], sizes[-1])

    def beside(column: str, form: str) -> str:
        pairs = ((over("LR", b, column, form, 0.9), over(CONTROL, b, column, form), b) for b in ends)
        return " and ".join(f"{one} against {other} at batch size {b}" for one, other, b in pairs)

    alike = all(moves(values(t, "LR", b, SMALLEST, 0.9), values(t, CONTROL, b, SMALLEST)) == 0 for b in sizes)
    said = "Momentum 0.9 does to robustness what its rate, 0.01/(1 − γ), does without it"
    yield (
        f"{headline(alike, said, 'Momentum 0.9 beside its rate, 0.01/(1 − γ), without it')}: the median smallest ε is "
        f"{beside(SMALLEST, '.3f')}. λ1 is {beside('eigenvalue', '.0f')}: without momentum the ceiling is (1 + γ)/(1 − γ) = "
        f"19 times lower, and at {ends[1]} λ1 stands at {over(CONTROL, ends[1], 'stability_ratio')} of it."
    )


def attacks(t: pd.DataFrame) -> Iterator[str]:
    """PGD beside Auto-PGD, and at the paper's ε."""
    over, large = partial(over_seeds, t), sizes_of(t, ("LR", 0.0))[-1]
    stronger = moves(values(t, "LR", large, "pgd_0.1"), values(t, "LR", large, "apgd_0.1")) < 0
    yield (
        f"{headline(stronger, 'PGD with 40 steps of ε/30 has not converged', 'PGD beside Auto-PGD')}: at ε = 0.1 it leaves LR's networks "
        f"of batch size {large} {over('LR', large, 'pgd_0.1', '.1%')} of the images, Auto-PGD "
        f"{over('LR', large, 'apgd_0.1', '.1%')} of the first 500."
    )
    most = t[t.status == "completed"]["pgd_0.3"].max()
    where = "the paper's ε = 0.3"
    told = headline(most < 0.02, f"At {where} nothing can be told apart under PGD", f"PGD at {where}")
    yield f"{told}: no network keeps more than {100 * most:.1f} % of the images."


def contrast(folder: Path) -> Iterator[str]:
    """What the same network shows on data where PGD at the paper's epsilon is no floor."""
    t = trials(folder)
    over = partial(over_seeds, t)
    paper = read_studies([folder])[0].paper_epsilon
    yield f"Ranges are over {counted(t.seed, 'seed')}; momentum is 0 but for Benchmark's 0.9."
    yield ""
    for regime, momentum in (("LR", 0.0), ("LR/BS", 0.0), ("Benchmark", 0.9)):
        sizes = sizes_of(t, (regime, momentum))
        small, large = sizes[0], sizes[-1]
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
    sizes = sizes_of(t, ("LR", 0.0), ("LR/BS", 0.0))
    small, large = sizes[0], sizes[-1]
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
    """Whether PGD and the smallest epsilon order LR's batch sizes in opposite ways, in every seed's network."""
    ends = sizes_of(t, ("LR", 0.0))
    radius, left = (
        moves(*(values(t, "LR", b, column) for b in (ends[0], ends[-1]))) for column in (SMALLEST, pgd)
    )
    if radius * left >= 0:
        return ""
    says = "rises where PGD falls" if radius > 0 else "falls where PGD rises"
    return f" Under LR it {says}: the two disagree on which networks are the more robust ones."


def is_it_real(t: pd.DataFrame) -> str:
    """How many networks that were trained fail a check of their accuracy under attack, and what that means."""
    t = t[t.status == "completed"]
    told = t.failed_checks.map(lambda checks: [c for c in checks if c.sign != "float32"])  # of other columns
    failed = [*{(i, check.name): check for i, checks in enumerate(told) for check in checks}.values()]
    said = "; ".join(
        f"{CHECKS[n]['said']} ({count})" for n, count in Counter(c.name for c in failed).most_common()
    )
    meaning = {
        "weak attack": "A weak attack leaves more images than a stronger one would, so PGD's numbers are too high.",
        "masked gradients": "Where gradients are masked no number under attack can be trusted.",
    }
    return (
        f"- **Is it real?** {int((told.map(len) > 0).sum())} of {len(t)} networks fail a check of their accuracy under "
        f"attack{f': {said}' if said else ''}. {' '.join(meaning[sign] for sign in sorted({c.sign for c in failed}))}".rstrip()
    )
