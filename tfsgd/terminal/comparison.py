"""Several networks side by side: a row for each measure, a column for each network."""

import csv
import io
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePath

from rich import box
from rich.table import Table

from tfsgd.measures.spec import Measurement
from tfsgd.plan.requests import HESSIAN, titled
from tfsgd.terminal.tables import in_words, value_and_evidence

LONGEST_NAME = 28  # characters of a network's name in a heading or a legend
SMALLEST = "smallest ε, median"
CSV_HEADINGS = ("measure", "epsilon", "images")


@dataclass(frozen=True)
class NetworkColumn:
    """What is known of one network.

    Attributes:
        name: as it was asked for, or of its folder.
        dataset: for people.
        measurements: all of it.
        smallest: its smallest epsilons over all attacks, as `tfsgd.records.outcomes.spread` gives them; empty: none.
    """

    name: str
    dataset: str
    measurements: Sequence[Measurement]
    smallest: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ComparisonRow:
    """One measure of all networks; `None` and `-` where it was not measured."""

    what: str
    epsilon: float | None
    images: int
    numbers: list[float | None]
    texts: list[str]


def short_names(names: Sequence[str]) -> list[str]:
    """Names for headings and legends: the shortest end of each path that no other has, without what all end in."""
    parts = [
        PurePath(name).with_suffix("").parts if name.endswith(".keras") else PurePath(name).parts
        for name in names
    ]
    parts = [p[:-1] if len(p) > 1 and p[-1] == "model" else p for p in parts]  # a trial's network
    while len(set(parts)) > 1 and all(len(p) > 1 for p in parts) and len({p[-1] for p in parts}) == 1:
        parts = [p[:-1] for p in parts]
    short = [_cut_in_the_middle(_shortest_end(p, [q for q in parts if q != p])) for p in parts]
    if len(set(short)) == len(short):
        return short
    return [f"{i} {name}" for i, name in enumerate(short, 1)]


def _shortest_end(path: tuple[str, ...], others: Sequence[tuple[str, ...]]) -> str:
    ends = (path[-n:] for n in range(1, len(path) + 1))
    return "/".join(next((end for end in ends if all(other[-len(end) :] != end for other in others)), path))


def _cut_in_the_middle(name: str) -> str:
    half = LONGEST_NAME // 2
    return name if len(name) <= LONGEST_NAME else f"{name[: half - 1]}…{name[-half:]}"


def comparison_rows(columns: Sequence[NetworkColumn]) -> list[ComparisonRow]:
    """All measures of all networks: natural accuracy, the smallest epsilon and λ1 lead.

    The same label with other settings, on another number of images or another data set is another row.
    """
    several = len({column.dataset for column in columns}) > 1
    found: dict[tuple[str, ...], list[Measurement | None]] = {}
    for i, column in enumerate(columns):
        for m in column.measurements:
            key = (
                column.dataset,
                m.kind,
                m.label,
                m.split,
                str(m.examples),
                json.dumps(m.settings, sort_keys=True),
            )
            found.setdefault(key, [None] * len(columns))[i] = m
    rows = []
    for (dataset, kind, label, *_), ms in sorted(found.items(), key=lambda row: _rank(row[0])):
        first = next(m for m in ms if m)
        what = f"accuracy on {first.split} images" if kind == "accuracy" else titled(label)
        texts = [value_and_evidence(m)[0] if m else "-" for m in ms]
        numbers = [m.main_value if m else None for m in ms]
        rows.append(
            ComparisonRow(
                f"{what}, {dataset}" if several else what, first.epsilon, first.examples, numbers, texts
            )
        )
    smallest = [c.smallest.get("median") for c in columns]
    if any(median is not None for median in smallest):
        images = max(m.examples for c in columns for m in c.measurements if "censored" in m.values)
        texts = [" ".join(in_words(c.smallest)).strip() for c in columns]
        after = sum(key[1] == "accuracy" for key in found)
        rows.insert(after, ComparisonRow(SMALLEST, None, images, smallest, texts))
    return rows


def _rank(key: tuple[str, ...]) -> int:
    """Of a row; those of one rank stay as they were measured."""
    _, kind, label, *_ = key
    return 0 if kind == "accuracy" else 1 if label == HESSIAN else 2


def headings(columns: Sequence[NetworkColumn]) -> list[str]:
    """Of the table's columns."""
    return ["measure", "ε", "images", *short_names([column.name for column in columns])]


def cells(rows: Sequence[ComparisonRow]) -> Iterator[list[str]]:
    """Of each row, for readers."""
    for row in rows:
        yield [row.what, "" if row.epsilon is None else f"{row.epsilon:g}", f"{row.images:,}", *row.texts]


def comparison_table(columns: Sequence[NetworkColumn]) -> Table:
    """For a terminal; no number is cut: print it with `crop=False`."""
    table = Table(title="all networks", title_justify="left", box=box.SIMPLE_HEAD, pad_edge=False)
    for number, heading in enumerate(headings(columns)):
        table.add_column(heading, justify="right" if number else "left", no_wrap=number > 2)
    for row in cells(comparison_rows(columns)):
        table.add_row(*row)
    return table


def comparison_csv(columns: Sequence[NetworkColumn]) -> str:
    """As CSV with every digit; empty where a network has no such number, `inf` where no ε in reach breaks half of the images."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow([*CSV_HEADINGS, *short_names([column.name for column in columns])])
    for row in comparison_rows(columns):
        epsilon = "" if row.epsilon is None else row.epsilon
        writer.writerow([row.what, epsilon, row.images, *("" if n is None else n for n in row.numbers)])
    return file.getvalue()
