"""Which measure tells settings of SGD apart, and where PGD orders them otherwise than the smallest epsilon.

python -m scripts.orders docs/results/fmnist_stdcnn-seeds
"""

import re
import sys
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import numpy as np
import pandas as pd

from scripts.claim_text import table
from scripts.seed_ranges import moves
from tfsgd.api import read_records
from tfsgd.reporting.table.columns import SETTINGS

PRIMARY, NATURAL = "log2 of the median smallest ε", "natural accuracy"
ACCURACY = re.compile(r"(pgd|robust)_([\d.e-]+)")
NAMES = {"pgd": "PGD-40", "robust": "`robust`"}
NAMED = 3  # pairs, of those that all seeds swap


def measures(folder: Path) -> tuple[dict[str, pd.Series], pd.Series]:
    """Title -> values of the networks that learnt, the primary measure first; and the name of each one's cell."""
    t = read_records(folder)
    t = t[t.status == "completed"]
    regimes = t.groupby([t[s].fillna(0) for s in SETTINGS], sort=False).regime.transform("first")
    median = t.get("smallest_epsilon", pd.Series(np.nan, t.index))
    found = {PRIMARY: np.log2(median.where(median > 0)), NATURAL: t.test_accuracy}
    attacked = sorted((m[1], float(m[2]), m[0]) for m in map(ACCURACY.fullmatch, t.columns) if m)
    found |= {f"{NAMES[attack]} at ε = {epsilon:g}": t[column] for attack, epsilon, column in attacked}
    cells = regimes + " b" + t.batch_size.map(str) + " m" + t.momentum.map("{:g}".format)
    return {title: values for title, values in found.items() if values.notna().any()}, cells


def ratio(values: pd.Series, cells: pd.Series) -> tuple[float, int, int]:
    """F: the variance between cells over that of the seeds within them, and the degrees of freedom of both."""
    known = values.dropna()
    groups = known.groupby(cells[known.index])
    mean, size = groups.transform("mean"), groups.size()
    between, within = len(size) - 1, int((size - 1).sum())
    square = ((mean - known.mean()) ** 2).sum() / between
    return float(square / (((known - mean) ** 2).sum() / within)), between, within


def spreads(folder: Path) -> Iterator[str]:
    """F of each measure, the largest first."""
    found, cells = measures(folder)
    ratios = sorted(((ratio(values, cells), title) for title, values in found.items()), reverse=True)
    rows = [[title, f"{f:.1f}", f"{between}, {within}"] for (f, between, within), title in ratios]
    yield from table(["measure", "F", "degrees of freedom"], rows)


def orders(folder: Path) -> Iterator[str]:
    """How PGD and `robust` order cells beside the smallest epsilon, and pairs that all seeds of both measures swap."""
    found, cells = measures(folder)
    seeds = {title: values.dropna().groupby(cells).apply(list) for title, values in found.items()}
    rows, named = [], list[list[str]]()
    for title in (title for title in seeds if title not in (PRIMARY, NATURAL)):
        both = seeds[PRIMARY].index.intersection(seeds[title].index)
        ours, theirs = (seeds[t][both].map(np.mean) for t in (PRIMARY, title))
        pairs = [(a, b) if ours[a] > ours[b] else (b, a) for a, b in combinations(both, 2)]
        swaps = [(a, b) for a, b in pairs if theirs[a] < theirs[b]]
        sure = [p for p in swaps if moves(*seeds[PRIMARY][[*p]]) * moves(*seeds[title][[*p]]) < 0]
        rho = ours.rank().corr(theirs.rank())
        rows.append([title, f"{rho:.2f}", str(len(both)), f"{len(swaps)} of {len(pairs)}", str(len(sure))])
        for a, b in sorted(sure, key=lambda p: ours[p[1]] - ours[p[0]])[:NAMED]:
            factor, points = 2 ** (ours[a] - ours[b]), 100 * (theirs[b] - theirs[a])
            named.append([title, a, b, f"{factor:.2f}", f"{points:.1f}"])
    yield from table(
        ["beside the smallest ε", "Spearman", "cells", "pairs that swap", "under all seeds"], rows
    )
    yield ""
    yield from table(
        ["by", "larger smallest ε", "larger accuracy", "factor of ε", "points of accuracy"], named
    )


if __name__ == "__main__":
    print(*spreads(Path(sys.argv[1])), "", *orders(Path(sys.argv[1])), sep="\n")
