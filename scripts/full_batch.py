"""λ1 of gradient descent, AdamW and Muon on full batches beside what it cannot stay above, from the records."""

import math
from collections.abc import Iterator
from pathlib import Path

from scripts.claim_text import table
from tfsgd.plan.config import WHILE_TRAINED
from tfsgd.plan.optimizers import SGD
from tfsgd.records.folder import LogFolder
from tfsgd.records.record import EIGENVALUE_COLUMNS, PRECONDITIONED, Record
from tfsgd.reporting.table.rows import ceiling

HEAD = (
    "rule", "rate", "train loss", "λ1, first → last", "as the optimizer sees it, first → last", "its ceiling",
    "share of it, largest", "share of it, mean of the last third", "directional sharpness, last",
)  # fmt: skip


def edges(folder: Path) -> Iterator[str]:
    """A row a training, those by SGD first."""
    records = sorted(LogFolder(folder).records(), key=lambda r: (r.sgd.optimizer != SGD, r.sgd.learning_rate))
    yield from table(HEAD, map(_row, records))


def _row(record: Record) -> tuple[str, ...]:
    s = record.sgd
    momentum = f", momentum {s.momentum:g}" if s.momentum else ""
    seen = [v for v in record.stability_history if v is not None]
    bound = ceiling(s, 0, record.epochs)
    shares = [value / bound for value in seen if math.isfinite(bound)]
    last = shares[-(-2 * len(shares) // 3) :]
    plain = record.history.get(EIGENVALUE_COLUMNS["inference"], ())
    return (
        f"{s.optimizer}{momentum}",
        f"{s.learning_rate:g}",
        f"{record.history['loss'][-1]:.3f}",
        _ends([v for v in plain if v is not None]),
        _ends([v for v in record.history.get(PRECONDITIONED, ()) if v is not None]),
        f"{bound:,.0f}" if shares else "not known",
        f"{max(shares):.2f}" if shares else "",
        f"{sum(last) / len(last):.2f}" if shares else "",
        next((f"{v:.3g}" for v in reversed(record.along.get(WHILE_TRAINED, ())) if v is not None), ""),
    )


def _ends(values: list[float]) -> str:
    return f"{values[0]:,.4g} → {values[-1]:,.4g}" if values else ""
