"""A record -> one row of the table of trials: everything that was measured, flat."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import pandas as pd

from tfsgd.measures.spec import Measurement, Split
from tfsgd.plan.config import Experiment
from tfsgd.plan.wanted import HESSIAN, SPLITS, natural, top_eigenvalue, wanted
from tfsgd.records.record import Record
from tfsgd.reporting.checks import failed
from tfsgd.reporting.columns import MEANINGS
from tfsgd.reporting.derived import derived
from tfsgd.reporting.paper import RESIDUAL_LIMIT, UNDERTRAINED_MARGIN

NUMBERS = (
    *("train_loss", "train_accuracy", "validation_accuracy", "test_loss", "test_accuracy"),
    *("eigenvalue", "residual", "descent_eigenvalue"),
)
CERTAINTY = ("confidence", "margin", "calibration_error")


def attack_column(attack: str, epsilon: float) -> str:
    """The column of the accuracy under an attack, such as `fgsm_0.3`."""
    return f"{attack}_{float(epsilon)}"


def at_loss(column: str, train_loss: float) -> str:
    """The column of the same number at a snapshot, such as `eigenvalue@0.5`."""
    return f"{column}@{train_loss:g}"


@dataclass(frozen=True)
class Row:
    """A record, and of its measurements those that its folder's config asks for."""

    record: Record
    path: Path
    experiment: Experiment | None
    usual: Mapping[tuple[str, float | None], tuple[str, int]] = field(default_factory=dict)  # see `alike`

    def natural(self, split: Split) -> Measurement | None:
        if self.experiment is None:
            return self.record.natural(split)
        [request] = natural({split: self.experiment.examples(split)})
        return self.record.find(request)

    @property
    def top_eigenvalue(self) -> Measurement | None:
        if self.experiment is None:
            return self.record.top_eigenvalue
        return self.record.find(top_eigenvalue(self.experiment))

    @property
    def attacks(self) -> dict[tuple[str, float], Measurement | None]:
        """By label and epsilon, those that are asked for first; then what was measured besides, see `alike`.

        Perturbations of many sources are a matrix, no attack of one number: of these only what is asked for is here.
        """
        asked = self._asked
        besides: dict[tuple[str, float | None], Measurement] = {}
        for m in self.besides:
            usual = self.usual.get((m.label, m.epsilon))
            if usual is None or _settings(m) == usual[0]:
                known = besides.get((m.label, m.epsilon))
                if usual is None or known is None or known.examples != usual[1]:
                    besides[m.label, m.epsilon] = m
        return {key: found for key, found in (besides | asked).items() if key[1] is not None}  # type: ignore[misc]

    @property
    def besides(self) -> list[Measurement]:
        """Attacks that the folder's config does not ask for."""
        used = {found.identity for found in self._asked.values() if found}
        return [m for m in self.record.attacks if m.identity not in used and m.name != "transfer"]

    @property
    def _asked(self) -> dict[tuple[str, float | None], Measurement | None]:
        requests = wanted(self.experiment, self.record.seed) if self.experiment else []
        return {(r.label, r.epsilon): self.record.find(r) for r in requests if r.epsilon is not None}

    @property
    def snapshots(self) -> dict[float, Row]:
        """Train loss that was asked for -> the network there, as if its training had ended; only where it was reached."""
        return {
            snapshot.train_loss: Row(
                self.record.model_copy(update={"measurements": snapshot.measurements, "snapshots": ()}),
                self.path,
                self.experiment,
                self.usual,
            )
            for snapshot in self.record.snapshots
            if snapshot.epoch is not None
        }


def alike(rows: Sequence[Row]) -> list[Row]:
    """Rows whose columns hold numbers with the same settings.

    Of an attack that the config does not ask for, measured with several settings under one label, the settings and the
    number of images count that most trials have, of equally many the first ones; a trial without these settings has no number.
    """
    found: dict[tuple[str, float | None], Counter[tuple[str, int]]] = defaultdict(Counter)
    for row in rows:
        for m in row.besides:
            found[m.label, m.epsilon][_settings(m), m.examples] += 1
    usual = {key: count.most_common(1)[0][0] for key, count in found.items() if len(count) > 1}
    return [replace(row, usual=usual) for row in rows]


def _settings(measured: Measurement) -> str:
    return json.dumps([measured.name, measured.settings, measured.split], sort_keys=True)


def trial_row(row: Row) -> dict[str, Any]:
    """One trial, flat: accuracies in [0, 1], `eigenvalue` is the top one of the Hessian.

    A snapshot's numbers stand in columns of their own, see `at_loss`; `failed_checks` has the checks of
    `tfsgd.reporting.checks` that the trial fails.
    """
    record, top = row.record, row.top_eigenvalue
    keys = ("name", "dataset", "model", "regime", "regimes", "seed", "epochs", "profile", "status")
    curvature = top.values if top else {}
    return {
        "folder": str(row.path / "trials" / record.folder),
        **{key: getattr(record, key) for key in (*keys, "train_examples")},
        "regime": record.regime if record.regime in record.regimes else record.regimes[0],
        "budget": record.updates,
        **asdict(record.sgd),
        **_natural_columns(row),
        "eigenvalue": curvature.get("value"),
        "residual": curvature.get("error"),
        "iterations": curvature.get("products", 0),
        "converged": bool(curvature.get("converged")),
        **derived(record, top),
        **_certainty_columns(record),
        "hessian_examples": top.examples if top else None,
        "hessian_split": top.split if top else None,
        **{f"seconds_{key}": value for key, value in _seconds(record).items()},
        **record.provenance.model_dump(exclude={"versions"}),
        "data_sha256": record.data_sha256,
        "training_hash": record.training_hash,
        **_attack_columns(row),
        **_other_columns(record),
        **_snapshot_columns(row),
        "failed_checks": tuple(failed(record)),
    }


def _natural_columns(row: Row) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for split in SPLITS:
        found = row.natural(split)
        columns[f"{split}_loss"] = found.values.get("loss") if found else None
        columns[f"{split}_accuracy"] = found.accuracy if found else None
    return columns


def _certainty_columns(record: Record) -> dict[str, Any]:
    found = next((m for m in reversed(record.measurements) if m.kind == "confidence"), None)
    return {key: found.values[key] for key in CERTAINTY} if found else {}


def _attack_columns(row: Row) -> dict[str, Any]:
    """Accuracies, and what an attack found besides in columns such as `minimal_0.3_median`."""
    columns: dict[str, Any] = {}
    for key, found in row.attacks.items():
        columns[attack_column(*key)] = found.accuracy if found else None
        for name, value in found.values.items() if found else ():
            if name not in ("accuracy", "clean_accuracy") and not isinstance(value, list | tuple):
                columns[f"{attack_column(*key)}_{name}"] = value
    return columns


def _other_columns(record: Record) -> dict[str, Any]:
    """Measures of gradient and curvature besides λ1, under their labels."""
    columns: dict[str, Any] = {}
    for m in record.measurements:
        if m.kind == "gradient" or (m.kind == "curvature" and m.label != HESSIAN):
            label = f"{m.kind}_{m.label}" if m.label in MEANINGS else m.label  # no other column's place
            columns[label] = m.values.get("value", m.values.get("fraction"))
            if "radius" in m.values:
                columns[f"{label}_radius"] = m.values["radius"]
    return columns


def _snapshot_columns(row: Row) -> dict[str, Any]:
    """Of each snapshot what figures and claims need; a λ1 that is hardly known is left out."""
    columns: dict[str, Any] = {}
    for loss, there in row.snapshots.items():
        top = there.top_eigenvalue
        known = top is not None and (top.values["converged"] or (top.values["error"] or 1) <= RESIDUAL_LIMIT)
        found = {
            **_natural_columns(there),
            "eigenvalue": top.values["value"] if top and known else None,
            **_certainty_columns(there.record),
            **_attack_columns(there),
        }
        columns |= {at_loss(column, loss): value for column, value in found.items()}
    return columns


def _seconds(record: Record) -> dict[str, float]:
    """What a trial has cost: of schema 1 the sums, else the sum over the measurements of a kind."""
    columns = {"train": 0.0, "attacks": 0.0, "hessian": 0.0} | record.seconds
    for found in record.measurements:
        key = {"attack": "attacks", "curvature": "hessian"}.get(found.kind)
        if key:
            columns[key] += found.seconds or 0.0
    return columns


# Tables


def attacks_of(rows: Sequence[Row]) -> list[tuple[str, float]]:
    """Every (attack, epsilon) that was measured in some trial, in order."""
    return sorted({key for row in rows for key in row.attacks})


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """One row a trial; `attrs` holds its `attacks` and the train losses of its `snapshots`."""
    attacks = attacks_of(rows)
    losses = sorted({s.train_loss for row in rows for s in row.record.snapshots}, reverse=True)
    table = pd.DataFrame([trial_row(row) for row in rows])
    numbers = [*NUMBERS, *(attack_column(*attack) for attack in attacks)]
    numbers += [at_loss(column, loss) for loss in losses for column in numbers if column != "residual"]
    table = table.astype(dict.fromkeys([n for n in numbers if n in table], float)).copy()
    table.attrs |= {"attacks": tuple(attacks), "snapshots": tuple(losses)}
    table["undertrained"] = undertrained(table)
    return table


def undertrained(trials: pd.DataFrame) -> pd.Series:
    """Trials of cells whose mean train accuracy is 2 points or more below the best cell's.

    A cell is one setting of SGD over its seeds; only completed trials count for the mean.
    """
    completed = trials["train_accuracy"].where(trials["status"] == "completed")
    keys = [
        trials[key].fillna(0) for key in ("batch_size", "momentum", "learning_rate", "halve_every_epochs")
    ]
    cell = completed.groupby(keys).transform("mean")
    return (cell <= cell.max() - UNDERTRAINED_MARGIN) & completed.notna()
