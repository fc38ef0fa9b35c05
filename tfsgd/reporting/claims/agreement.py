"""Does a measure go with robustness when one knob is turned? The agreement of signs, knob by knob.

Networks are compared that differ in one knob alone and share the seed, so that no other knob explains what they have in
common (Jiang et al. 2020, arXiv:1912.02178, the granulated coefficient; Dziugaite et al. 2020, arXiv:2010.11924, who look
at the worst setting instead of the mean).
"""

import functools
import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from tfsgd.plan.claim import Claim
from tfsgd.reporting.claims.evidence import Evidence, Unit, decide, has_sign, rounded, untestable
from tfsgd.reporting.claims.kinds import base_momentum, kind
from tfsgd.reporting.paper import ALPHA
from tfsgd.reporting.statistics import Array, Contrast, holm, student_interval
from tfsgd.reporting.table.cells import Cell, Cells
from tfsgd.reporting.table.columns import CURVATURE_RANK, SETTING_RANK, SETTINGS, SMALLEST, Column, Metric
from tfsgd.reporting.table.studies import Study

MOST_LEVELS = 7  # of a line all of whose orders are counted; of a longer one 5,000 drawn ones
DRAWN = 5_000

Lines = Sequence[tuple[int, Sequence[int]]]  # seed, and the rows of a line, which differ in the knob alone


@dataclass(frozen=True)
class Agreement(Contrast):
    """How often two measures order two networks alike.

    The estimate is the mean over all pairs of 1 where both measures order them alike, -1 where oppositely, 0 where one ties;
    its interval is the seeds', within [-1, 1]; its p-values are by all orders of the second measure within each line.

    Attributes:
        pairs: of networks.
        seeds: that have some.
    """

    pairs: int
    seeds: int

    @property
    def p(self) -> float:
        return min(1.0, 2 * min(self.p_greater, self.p_less))


def agreement_of(measure: Array, other: Array, lines: Lines) -> Agreement | None:
    """The agreement of two measures along lines of networks.

    Args:
        measure: of each network; NaN: unknown.
        other: the same of the second measure, whose orders are counted.
        lines: networks that differ in one knob alone.

    Returns:
        `None`: no two networks can be compared.
    """
    by_seed: dict[int, list[float]] = {}
    null = np.ones(1)  # the probability of each sum of signs, from the least to the largest
    total = pairs = 0
    for seed, rows in lines:
        known = [i for i in rows if math.isfinite(measure[i]) and math.isfinite(other[i])]
        if len(known) < 2:
            continue
        ranks, others = _ranks(measure[known]), _ranks(other[known])
        found, count = int(_sums(ranks, np.array([others]))[0]), len(known) * (len(known) - 1) // 2
        total, pairs = total + found, pairs + count
        by_seed.setdefault(seed, []).append(found / count)
        null = np.convolve(null, _null(ranks, others))
    if not pairs:
        return None
    of_seeds = np.array([np.mean(values) for values in by_seed.values()])
    several = len(of_seeds) > 1
    low, high = student_interval(of_seeds) if several else (-1.0, 1.0)
    return Agreement(
        total / pairs,
        float(of_seeds.std(ddof=1)) if several else math.nan,
        max(-1.0, float(low)),
        min(1.0, float(high)),
        float(null[pairs + total :].sum()),
        float(null[: pairs + total + 1].sum()),
        pairs,
        len(of_seeds),
    )


def _ranks(values: Array) -> tuple[int, ...]:
    return tuple(np.unique(values, return_inverse=True)[1].tolist())


def _sums(a: tuple[int, ...], orders: NDArray[np.int64]) -> NDArray[np.int64]:
    """Of each order, over all pairs, the product of the signs of both differences: Kendall's S."""
    i, j = np.triu_indices(len(a), 1)
    signs = np.sign(orders[:, i] - orders[:, j]) * np.sign(np.array(a)[i] - np.array(a)[j])
    return np.asarray(signs.sum(1))


@functools.lru_cache(maxsize=4096)
def _null(a: tuple[int, ...], b: tuple[int, ...]) -> Array:
    """The probability of each S over the orders of b."""
    if len(a) <= MOST_LEVELS:
        orders = np.array([*itertools.permutations(b)])
    else:
        orders = np.random.default_rng(0).permuted(np.tile(b, (DRAWN, 1)), axis=1)
    pairs = len(a) * (len(a) - 1) // 2
    return np.bincount(_sums(a, orders) + pairs, minlength=2 * pairs + 1) / len(orders)


# Lines of a study


def knobs_of(rows: pd.DataFrame) -> dict[str, Lines]:
    """Every knob that is turned, by its name, with the lines of networks that differ in it alone.

    Args:
        rows: completed trials, one for every regime that they belong to; an index from 0.
    """
    found: dict[str, Lines] = {}
    for knob in ("batch_size", "momentum"):
        for regime, of_regime in rows.groupby("regime", sort=False):
            named = str(regime).removeprefix("other: ")
            found[f"{knob.replace('_', ' ')}, {named}"] = _lines(of_regime, knob, ["regime"])
    constant = rows[rows["halve_every_epochs"].isna()] if "halve_every_epochs" in rows else rows
    once = constant.drop_duplicates("folder")
    others = [s for s in SETTINGS if s not in ("batch_size", "momentum", "learning_rate") and s in rows]
    found["learning rate"] = _lines(once, "learning_rate", [*others, "batch_size"])
    return {name: lines for name, lines in found.items() if lines}


def _lines(rows: pd.DataFrame, knob: str, same: Sequence[str]) -> Lines:
    others = (
        s for s in ("batch_size", "momentum", "order_seed") if s != knob and s not in same and s in rows
    )
    fixed = [*same, *others, "seed"]
    groups = rows.sort_values(knob).groupby(fixed, dropna=False)
    return [(int(of.iloc[0]["seed"]), [*of.index]) for _, of in groups if of[knob].nunique() > 1]


class Entry(NamedTuple):
    """A measure's agreement with the smallest epsilon on one knob; `p_holm` is corrected over the whole table."""

    measure: str
    knob: str
    found: Agreement
    p_holm: float

    @property
    def sign(self) -> int:
        """1 or -1 where it is told from 0, else 0."""
        return int(math.copysign(1, self.found.estimate)) if self.p_holm < ALPHA else 0

    def as_json(self) -> dict[str, Any]:
        numbers = {key: rounded(getattr(self.found, key)) for key in ("low", "high", "p")}
        of = {"measure": self.measure, "knob": self.knob, "value": rounded(self.found.estimate)}
        return of | numbers | {"pairs": self.found.pairs, "p_holm": rounded(self.p_holm)}


def measures_of(study: Study) -> list[Column]:
    """Every measure that varies over the trials, in the order of its rank; settings, and what is a smallest epsilon, are none."""
    titled = (c for c in study.columns.values() if c.title and c.rank < SETTING_RANK)
    ranked = sorted(
        titled, key=lambda column: (column.rank, column.name if column.rank == CURVATURE_RANK else "")
    )
    return [column for column in ranked if study.trials[column.name].nunique() > 1]


def agreements(cells: Cells, columns: Sequence[Column]) -> list[Entry]:
    """The table of measures and knobs; empty where no smallest epsilon was measured."""
    rows = cells.rows[cells.rows["status"] == "completed"].reset_index(drop=True)
    if not cells.has(SMALLEST):
        return []
    robustness, knobs, found = rows[SMALLEST.column].to_numpy(float), knobs_of(rows), []
    for column in columns:
        measure = pd.to_numeric(rows[column.name], errors="coerce").to_numpy(float)
        for knob, lines in knobs.items():
            if of := agreement_of(measure, robustness, lines):
                found.append((column.title, knob, of))
    corrected = holm([of.p for *_, of in found])
    return [Entry(*entry, p) for entry, p in zip(found, corrected, strict=True)]


@functools.lru_cache(maxsize=4)
def entries_of(study: Study) -> list[Entry]:
    """The table of a study: the page, its figure and `claims.json` show the same."""
    return agreements(Cells(study.trials, study.chance, study.rules), measures_of(study))


def worst_knobs(entries: Sequence[Entry]) -> Iterator[tuple[str, str]]:
    """Each measure with its verdict, which is that of its worst knob, in words."""
    for measure, of in itertools.groupby(entries, lambda e: e.measure):
        together = [*of]
        signs = {e.sign for e in together}
        if signs == {1}:
            said = "rises with robustness on every knob"
        elif signs == {-1}:
            said = "falls with robustness on every knob"
        elif {1, -1} <= signs:
            said = "changes sign: " + ", ".join(
                f"{e.found.estimate:+.2f} ({e.knob})" for e in together if e.sign
            )
        else:
            worst = min(together, key=lambda e: abs(e.found.estimate))
            said = f"not told on {sum(not e.sign for e in together)} of {len(together)} knobs, the least on {worst.knob}"
        yield measure, said


# A claim


@kind
def agreement(cells: Cells, metrics: Sequence[Metric], claim: Claim) -> Evidence:
    """Over pairs of networks that differ in the knob alone and share the seed, the mean product of the signs of both
    differences, of the metric and of the smallest ε; the p-value counts all orders of the smallest ε within a seed, the
    interval is Student's over the seeds."""
    [metric], [regime] = metrics, claim.regimes
    at = base_momentum(claim, regime) if claim.knob == "batch_size" and claim.momentum else None
    rows = cells.rows[(cells.rows["status"] == "completed") & (cells.rows["regime"] == regime)]
    rows = rows[rows["batch_size"].between(claim.at_least or 0, claim.at_most or math.inf)]
    rows = (rows if at is None else rows[rows["momentum"] == at]).reset_index(drop=True)
    for needed in (SMALLEST, metric):
        if not cells.has(needed):
            raise untestable(cells, needed, "")
    measure, robustness = (pd.to_numeric(rows[m.column]).to_numpy(float) for m in (metric, SMALLEST))
    found = agreement_of(measure, robustness, _lines(rows, claim.knob, ["regime"]))
    if found is None:
        knob = claim.knob.replace("_", " ")
        raise untestable(cells, metric, f"{regime}: no two networks differ in the {knob} alone")
    basis = Evidence(
        unit=Unit("agreement"),
        effect=found.estimate,
        seeds=found.seeds,
        sample=tuple(dict.fromkeys(map(Cell, rows["regime"], rows["batch_size"], rows["momentum"]))),
        batch_sizes=rows[claim.knob].nunique(),
        detail=f"{found.pairs} pairs",
    )
    return decide(basis, lambda: has_sign(found, claim.sign) | {"interval": (found.low, found.high)})
