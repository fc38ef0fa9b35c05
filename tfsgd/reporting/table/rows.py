"""A record -> one row of the table of trials: everything that was measured, flat."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd

from tfsgd.measures.spec import Measurement, Split
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import HESSIAN, SPLITS, TOP_EIGENVALUE, requests_of
from tfsgd.plan.specs import defaults
from tfsgd.records.record import Record, labelled
from tfsgd.records.upgrade import BY_SOFTMAX
from tfsgd.reporting.paper import RESIDUAL_LIMIT, UNDERTRAINED_MARGIN
from tfsgd.reporting.table.checks import failed
from tfsgd.reporting.table.columns import MEANINGS
from tfsgd.reporting.table.derived import derived

NUMBERS = (
    *("train_loss", "train_accuracy", "validation_accuracy", "test_loss", "test_accuracy"),
    *("eigenvalue", "residual", "eigenvalue_standard_error", "descent_eigenvalue"),
)
CERTAINTY = ("confidence", "margin", "calibration_error")
DIRECTION = ("saturated", "misdirected")  # see tfsgd.measures.ZeroGradients
GRADIENTS = ("input_gradient", "input_gradient_radius", "zero_gradients", *DIRECTION)
# Labels of curvature measures that are other columns', such as pgd_0.1 or pgd_1e-05_median.
TAKEN = re.compile(rf".*_radius|.*_(\d+\.\d+|[\d.]+e-\d+)(_.*)?|{'|'.join([*MEANINGS, *GRADIENTS])}")

Key = tuple[str, str, float | None]  # kind, label and epsilon of a measurement: which column it belongs to
DESCENT: Key = ("descent", "", None)  # λ1 of training mode, whatever its label


def attack_column(attack: str, epsilon: float) -> str:
    """The column of the accuracy under an attack, such as `fgsm_0.3`."""
    return f"{attack}_{float(epsilon)}"


def curvature_column(label: str) -> str:
    """The column of a measure of curvature: its label, with `curvature:` before one that is another column's."""
    return f"curvature:{label}" if TAKEN.fullmatch(label) else label  # no label holds a colon


def at_loss(column: str, train_loss: float) -> str:
    """The column of the same number at a snapshot, such as `eigenvalue@0.5`."""
    return f"{column}@{train_loss:g}"


@dataclass(frozen=True)
class Row:
    """A record, and of its measurements those that make its columns.

    Attributes:
        record: with everything that was measured.
        path: of its log folder.
        experiments: the configs of the folders that are pooled; none: there is no experiment.yaml.
        usual: see `alike`.
    """

    record: Record
    path: Path
    experiments: tuple[Experiment, ...] = ()
    usual: Mapping[Key, tuple[str, int]] = field(default_factory=dict)

    @cached_property
    def asked(self) -> dict[Key, Measurement | None]:
        """What the configs ask for, under their labels; `None`: not measured yet."""
        found: dict[Key, Measurement | None] = {}
        for request in (r for e in self.experiments for r in requests_of(e, self.record.seed)):
            measured = self.record.find(request)
            mode = getattr(request.spec, "mode", None)
            for key in _keys(request.spec.kind, request.name, request.label, request.epsilon, mode):
                found.setdefault(key, labelled(measured, request.label) if measured else None)
        return found

    @cached_property
    def besides(self) -> list[Measurement]:
        """What was measured and is not asked for.

        Perturbations of many sources are a matrix, no attack of one number: of these only what is asked for counts.
        """
        used = {found.identity for found in self.asked.values() if found}
        return [m for m in self.record.measurements if m.identity not in used and _is_a_column(m)]

    @cached_property
    def found(self) -> dict[Key, Measurement | None]:
        """The measurement of each column: what is asked for; else what was measured besides, see `alike`."""
        besides: dict[Key, Measurement] = {}
        for m in self.besides:
            for key in _keys_of(m):
                usual, known = self.usual.get(key), besides.get(key)
                if usual is None or (
                    _settings(m) == usual[0] and (known is None or known.examples != usual[1])
                ):
                    besides[key] = m
        return besides | self.asked

    @cached_property
    def shown(self) -> Record:
        """The record with the measurements of the columns alone, and the matrix of transferred perturbations."""
        columns: dict[str, list[Measurement]] = defaultdict(list)
        for key, found in self.found.items():
            if found and key != DESCENT:
                columns[found.identity].append(found)
        for m in self.record.attacks:
            if m.name == "transfer":
                columns.setdefault(m.identity, [m])
        shown = (found for m in self.record.measurements for found in columns.pop(m.identity, ()))
        return self.record.model_copy(update={"measurements": tuple(shown)})

    def natural(self, split: Split) -> Measurement | None:
        """Natural accuracy on a split."""
        return self.found.get(("accuracy", split, None))

    @property
    def top_eigenvalue(self) -> Measurement | None:
        """λ1 at the end of the training."""
        return self.found.get(("curvature", HESSIAN, None))

    @property
    def descent_eigenvalue(self) -> Measurement | None:
        """λ1 of the loss that SGD descends: with BatchNorm only training mode's; `None`: not measured."""
        return self.found.get(DESCENT) if self.record.batch_norm else self.top_eigenvalue

    @property
    def attacks(self) -> dict[tuple[str, float], Measurement]:
        """What was measured, by label and epsilon, that besides what is asked for first."""
        return {
            (label, epsilon): found
            for (kind, label, epsilon), found in self.found.items()
            if kind == "attack" and epsilon is not None and found
        }

    @property
    def snapshots(self) -> dict[float, Row]:
        """Train loss that was asked for -> the network there, as if its training had ended; only where it was reached."""
        return {
            snapshot.train_loss: replace(
                self,
                record=self.record.model_copy(
                    update={"measurements": snapshot.measurements, "snapshots": ()}
                ),
            )
            for snapshot in self.record.snapshots
            if snapshot.epoch is not None
        }


def alike(rows: Sequence[Row]) -> list[Row]:
    """Rows whose columns hold numbers with the same settings.

    Of what no config asks for, measured with several settings under one label, the settings and the number of images
    count that most trials have, of equally many the first ones; a trial without these settings has no number.
    """
    found: dict[Key, Counter[tuple[str, int]]] = defaultdict(Counter)
    for row in rows:
        for m in row.besides:
            for key in _keys_of(m):
                found[key][_settings(m), m.examples] += 1
    usual = {key: count.most_common(1)[0][0] for key, count in found.items() if len(count) > 1}
    return [replace(row, usual=usual) for row in rows]


def _keys_of(m: Measurement) -> Iterator[Key]:
    return _keys(m.kind, m.name, m.label, m.epsilon, m.settings.get("mode"))


def _keys(kind: str, name: str, label: str, epsilon: float | None, mode: str | None) -> Iterator[Key]:
    yield kind, label, epsilon
    if name == TOP_EIGENVALUE and mode == "training":
        yield DESCENT


def _is_a_column(m: Measurement) -> bool:
    """λ1's label was another measure's in old configs; that has no column."""
    return m.name != "transfer" and (m.kind, m.label, m.name == TOP_EIGENVALUE) != (
        "curvature",
        HESSIAN,
        False,
    )


def _settings(measured: Measurement) -> str:
    known = defaults(measured.kind, measured.name)
    unusual = {
        key: value for key, value in measured.settings.items() if key not in known or value != known[key]
    }
    return json.dumps([measured.name, unusual, measured.split], sort_keys=True)


def trial_row(row: Row) -> dict[str, Any]:
    """One trial, flat: accuracies in [0, 1], `eigenvalue` is the top one of the Hessian.

    A snapshot's numbers stand in columns of their own, see `at_loss`; `failed_checks` has the checks of
    `tfsgd.reporting.table.checks` that the trial fails.
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
        "eigenvalue_standard_error": curvature.get("standard_error"),
        "iterations": curvature.get("products", 0),
        "converged": bool(curvature.get("converged")),
        **derived(record, row.descent_eigenvalue),
        **_certainty_columns(row),
        "hessian_examples": top.examples if top else None,
        "hessian_split": top.split if top else None,
        **{f"seconds_{key}": value for key, value in _seconds(record).items()},
        **record.provenance.model_dump(exclude={"versions"}),
        "data_sha256": record.data_sha256,
        "training_hash": record.training_hash,
        **_attack_columns(row),
        **_other_columns(row),
        **_snapshot_columns(row),
        "failed_checks": tuple(failed(row.shown)),
    }


def _natural_columns(row: Row) -> dict[str, Any]:
    columns: dict[str, Any] = {}
    for split in SPLITS:
        found = row.natural(split)
        columns[f"{split}_loss"] = found.values.get("loss") if found else None
        columns[f"{split}_accuracy"] = found.accuracy if found else None
    return columns


def _certainty_columns(row: Row) -> dict[str, Any]:
    found = row.found.get(("confidence", "confidence", None))
    return {key: found.values[key] for key in CERTAINTY} if found else {}


def _attack_columns(row: Row) -> dict[str, Any]:
    """Accuracies, and what an attack found besides in columns such as `minimal_0.3_median`."""
    columns: dict[str, Any] = {}
    for key, found in row.attacks.items():
        columns[attack_column(*key)] = found.accuracy
        for name, value in found.values.items():
            if name not in ("accuracy", "clean_accuracy") and not isinstance(value, list | tuple):
                columns[f"{attack_column(*key)}_{name}"] = value
    return columns


def _other_columns(row: Row) -> dict[str, Any]:
    """Measures of gradient and curvature besides λ1, under their labels."""
    columns: dict[str, Any] = {}
    for m in row.shown.measurements:
        if m.kind == "gradient" or (m.kind == "curvature" and m.label != HESSIAN):
            column = m.label if m.kind == "gradient" else curvature_column(m.label)
            columns[column] = m.values.get("value", m.values.get("fraction"))
            if "radius" in m.values:
                columns[f"{column}_radius"] = m.values["radius"]
            columns |= {
                key: m.values[key] for key in DIRECTION if m.name == "zero_gradients" and key in m.values
            }
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
            **_certainty_columns(there),
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


def by_softmax(attacks: Iterable[tuple[str, float]]) -> dict[tuple[str, float], tuple[str, float]]:
    """(attack, epsilon) -> the same attack by float32's softmax, where both were measured, see `tfsgd.records.upgrade`."""
    known = {*attacks}
    return {key: twin for key in attacks if (twin := (f"{key[0]}{BY_SOFTMAX}", key[1])) in known}


def snapshots_of(rows: Sequence[Row]) -> list[float]:
    """The train losses at which networks were kept and measured, from large to small."""
    return sorted({s.train_loss for row in rows for s in row.record.snapshots}, reverse=True)


def table_of(rows: Sequence[Row]) -> pd.DataFrame:
    """One row a trial."""
    table = pd.DataFrame([trial_row(row) for row in rows])
    numbers = [*NUMBERS, *(attack_column(*attack) for attack in attacks_of(rows))]
    numbers += [at_loss(n, loss) for loss in snapshots_of(rows) for n in numbers if n != "residual"]
    table = table.astype(dict.fromkeys([n for n in numbers if n in table], float)).copy()
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
