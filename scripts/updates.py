"""What equally many updates leave of a comparison that was made after equally many epochs."""

from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from scripts.claim_text import claims, table, verdict_and_number
from scripts.findings import GOES, SMALLEST, headline
from scripts.seed_ranges import moves, of_cell, over_seeds, sizes_of, span, trials, values
from tfsgd.plan.length import steps_per_epoch

REGIME = "LR"
COLUMNS = {
    "train loss": ("train_loss", ".2f"),
    "test accuracy": ("test_accuracy", ".3f"),
    "confidence": ("confidence", ".2f"),
    "λ1": ("eigenvalue", ".1f"),
    "share of the ceiling": ("stability_ratio", ".2f"),
    "median smallest ε": (SMALLEST, ".3f"),
    "PGD at ε = 0.05": ("pgd_0.05", ".1%"),
}
JUDGED = {
    "natural accuracy": "batch-lr-natural-accuracy",
    "smallest ε": "batch-lr-smallest-epsilon",
    "λ1": "batch-lr-eigenvalue",
}
TOLD = {"The train loss": "train loss", "λ1": "λ1", "The median smallest ε": "median smallest ε"}


def updates(folder: Path) -> Iterator[str]:
    """A sentence a column: LR's networks of equally many updates beside those of equally many epochs."""
    equal, epochs = trials(folder), trials(_in_epochs(folder))
    ends = {m: _ends(equal, epochs, m) for m in sorted(equal.momentum.unique())}
    title = "More robust with the batch size, because fewer updates were made; λ1 grows all the same"
    alone = all(
        _goes(equal, m, b, SMALLEST)
        == 0
        < min(_goes(equal, m, b, "eigenvalue"), _goes(epochs, m, b, SMALLEST))
        for m, b in ends.items()
    )
    yield headline(alone, title, "Equally many updates in place of equally many epochs").removeprefix("- ")
    yield ""
    for name, column in TOLD.items():
        said = "; ".join(
            f"at momentum {m:g} it {_move(equal, m, b, column)} between batch sizes {b[0]} and {b[1]} after equally many updates, "
            f"and {_move(epochs, m, b, column)} after equally many epochs"
            for m, b in ends.items()
        )
        yield f"- **{name}**: {said}."


def beside(folder: Path) -> Iterator[str]:
    """Ranges over the seeds, a row for every batch size, momentum and length of training."""
    equal, epochs = trials(folder), trials(_in_epochs(folder))
    cells = equal[["batch_size", "momentum"]].drop_duplicates().sort_values(["momentum", "batch_size"])
    rows = [
        _row(t, int(size), float(momentum))
        for size, momentum in cells.itertuples(index=False)
        for t in (equal, epochs)
        if size in sizes_of(t, (REGIME, momentum))
    ]
    yield from table(["batch size", "momentum", "epochs", "updates", *COLUMNS], rows)


def judged(folder: Path) -> Iterator[str]:
    """The paper's claim on batch sizes under LR, a column a metric: after equally many updates, and epochs."""
    rows = []
    for what, of in (("updates", folder), ("epochs", _in_epochs(folder))):
        found = {j.asked.key: j for j in claims(of)}
        cells = [found[key] for key in JUDGED.values()]
        rows.append([f"equally many {what}", *map(verdict_and_number, cells), cells[0].evidence.n])
    yield from table(
        ["under LR accuracy and the smallest ε fall and λ1 rises, per doubling", *JUDGED, "n"], rows
    )


def _in_epochs(folder: Path) -> Path:
    """The study that is the same but for the length of training."""
    return folder.parent / folder.name.replace("-updates", "-seeds")


def _ends(equal: pd.DataFrame, epochs: pd.DataFrame, momentum: float) -> tuple[int, int]:
    """The smallest and the largest batch size that both have."""
    both = sorted({*sizes_of(equal, (REGIME, momentum))} & {*sizes_of(epochs, (REGIME, momentum))})
    return both[0], both[-1]


def _goes(t: pd.DataFrame, momentum: float, ends: tuple[int, int], column: str) -> int:
    return moves(*(values(t, REGIME, size, column, momentum) for size in ends))


def _move(t: pd.DataFrame, momentum: float, ends: tuple[int, int], name: str) -> str:
    """`rises from 4–7 to 31–40`: a column at two batch sizes, without a direction where the ranges overlap."""
    column, form = COLUMNS[name]
    before, after = (span(values(t, REGIME, size, column, momentum), form) for size in ends)
    return f"{GOES[_goes(t, momentum, ends, column)]} from {before} to {after}"


def _row(t: pd.DataFrame, size: int, momentum: float) -> list[str]:
    """How long the networks of a cell trained, and the ranges of what they became."""
    one = of_cell(t, REGIME, size, momentum).iloc[0]
    epochs = one.updates / steps_per_epoch(one.train_examples, size)
    told = (over_seeds(t, REGIME, size, column, form, momentum) for column, form in COLUMNS.values())
    return [f"{size}", f"{momentum:g}", f"{epochs:.3g}", f"{one.updates:,.0f}", *told]
