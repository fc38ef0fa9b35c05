"""A record and those of its measurements that make its columns."""

from __future__ import annotations

import json
import math
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.spec import Measurement
from tfsgd.plan.config import Experiment
from tfsgd.plan.optimizers import SGD, stability_bound
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.requests import HESSIAN, TOP_EIGENVALUE, requests_of
from tfsgd.plan.settings import plain
from tfsgd.plan.specs import defaults
from tfsgd.records.outcomes import outcomes_of, smallest_epsilon
from tfsgd.records.record import Record, labelled
from tfsgd.reporting.table.checks import Check, failed

Key = tuple[str, str, float | None]  # kind, label and epsilon of a measurement: which column it belongs to
DESCENT: Key = ("descent", "", None)  # λ1 of training mode, whatever its label


@dataclass(frozen=True)
class TrialRow:
    """A record, and of its measurements those that make its columns.

    Attributes:
        record: with everything that was measured.
        path: of its log folder.
        experiments: the configs of the folders that are pooled; none: there is no experiment.yaml.
        modal_settings: see `consistent`.
    """

    record: Record
    path: Path
    experiments: tuple[Experiment, ...] = ()
    modal_settings: Mapping[Key, tuple[str, int]] = field(default_factory=dict)

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
    def extra(self) -> list[Measurement]:
        """What was measured and is not asked for.

        Perturbations of many sources are a matrix, no attack of one number: of these only what is asked for counts.
        """
        used = {found.identity for found in self.asked.values() if found}
        return [m for m in self.record.measurements if m.identity not in used and _is_a_column(m)]

    @cached_property
    def found(self) -> dict[Key, Measurement | None]:
        """The measurement of each column: what is asked for; else what else was measured, see `consistent`."""
        extra: dict[Key, Measurement] = {}
        for m in self.extra:
            for key in _keys_of(m):
                modal, known = self.modal_settings.get(key), extra.get(key)
                is_better = known is None or (modal and known.examples != modal[1])
                if modal is None or (_settings(m) == modal[0] and is_better):
                    extra[key] = m
        return extra | self.asked

    @property
    def folder(self) -> str:
        """The trial's."""
        return str(self.path / "trials" / self.record.folder)

    @property
    def regime(self) -> str:
        """The label under which it is stored, or the first that it has now."""
        return self.record.regime if self.record.regime in self.record.regimes else self.record.regimes[0]

    @property
    def settings(self) -> dict[str, Any]:
        """Those of SGD, as a table has them."""
        return {name: plain(value) for name, value in vars(self.record.sgd).items()}

    @property
    def failed_checks(self) -> tuple[Check, ...]:
        """Those of its robustness."""
        return tuple(failed(self.shown, self.outcomes))

    @cached_property
    def outcomes(self) -> dict[str, NDArray[np.generic]]:
        """What became of every image, by the identity of its measurement, as far as it is kept."""
        return outcomes_of(Path(self.folder), self.record)

    @cached_property
    def smallest_epsilons(self) -> dict[str, float | None]:
        """The spread of the images' smallest epsilons in L-infinity: of old records, without outcomes, the median alone.
        `None`: too many images hold out."""
        found = smallest_epsilon(Path(self.folder), self.record)
        return {name: None if value == math.inf else value for name, value in found.items()}

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

    @cached_property
    def derived(self) -> dict[str, Any]:
        """What theory says of its settings, see `tfsgd.reporting.table.rows`."""
        return derived(self.record, self.descent_eigenvalue)

    @cached_property
    def seconds(self) -> dict[str, float]:
        """What the trial has cost: of schema 1 the sums, else the sum over the measurements of a kind."""
        found = {"train": 0.0, "attacks": 0.0, "hessian": 0.0} | self.record.seconds
        for m in self.record.measurements:
            if key := {"attack": "attacks", "curvature": "hessian"}.get(m.kind):
                found[key] += m.seconds or 0.0
        return found

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
        """What was measured, by label and epsilon, what is not asked for first."""
        return {
            (label, epsilon): found
            for (kind, label, epsilon), found in self.found.items()
            if kind == "attack" and epsilon is not None and found
        }

    @property
    def snapshots(self) -> dict[float, TrialRow]:
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


def consistent(rows: Sequence[TrialRow]) -> list[TrialRow]:
    """Rows whose columns hold numbers with the same settings.

    Of what no config asks for, measured with several settings under one label, the settings and the number of images
    count that most trials have, of equally many the first ones; a trial without these settings has no number.
    """
    found: dict[Key, Counter[tuple[str, int]]] = defaultdict(Counter)
    for row in rows:
        for m in row.extra:
            for key in _keys_of(m):
                found[key][_settings(m), m.examples] += 1
    modal = {key: count.most_common(1)[0][0] for key, count in found.items() if len(count) > 1}
    return [replace(row, modal_settings=modal) for row in rows]


def _keys_of(m: Measurement) -> Iterator[Key]:
    return _keys(m.kind, m.name, m.label, m.epsilon, m.settings.get("mode"))


def _keys(kind: str, name: str, label: str, epsilon: float | None, mode: str | None) -> Iterator[Key]:
    yield kind, label, epsilon
    if name == TOP_EIGENVALUE and mode == "training":
        yield DESCENT


def _is_a_column(m: Measurement) -> bool:
    """λ1's label was another measure's in old configs; that has no column."""
    is_another = (m.kind, m.label) == ("curvature", HESSIAN) and m.name != TOP_EIGENVALUE
    return m.name != "transfer" and not is_another


def _settings(measured: Measurement) -> str:
    known = defaults(measured.kind, measured.name)
    unusual = {key: v for key, v in measured.settings.items() if key not in known or v != known[key]}
    return json.dumps([measured.name, unusual, measured.split], sort_keys=True)


# What follows from a record's settings and its λ1 alone


def derived(record: Record, descent: Measurement | None) -> dict[str, Any]:
    """What theory says of a trial's settings; each is a number, or NaN where it has no meaning.

    - `updates`: steps of SGD in all: epochs x the batches of an epoch, or the budget; a trial that diverged made fewer.
    - `effective_learning_rate`: eta / (1 - gamma), what momentum makes of the rate of the first epoch.
    - `noise_scale`: eta N / (b (1 - gamma)), the scale of SGD's noise (Smith and Le 2018, section 4; with momentum).
    - `descent_eigenvalue`: lambda1 of the loss that SGD descends: with BatchNorm that of training mode; of Adam and its
      like the preconditioned one.
    - `descent_residual`: of that eigenvalue; 0 where it has converged.
    - `stability_ratio`: lambda1 eta / (2 (1 + gamma)) at the end: 1 is the edge of stability of gradient descent
      with momentum (Cohen et al. 2021, equation 2). NaN where the rate changes, so that the last one means nothing,
      and for other rules than the paper's Algorithm 1.
    - `stability_ratio_max`: the largest over the epochs in which lambda1 was recorded, each with its own rate. NaN
      where the rate decays and that was at the end alone.

    Args:
        record: of the trial.
        descent: its lambda1 at the end, of the loss that SGD descends; `None`: not measured.
    """
    s, values = record.sgd, descent.values if descent else {"converged": True}
    eigenvalue = _number(values.get("value"), math.nan)
    if s.optimizer != SGD:
        eigenvalue = next((v for v in reversed(record.stability_history) if v is not None), math.nan)
    effective = s.learning_rate / (1 - s.momentum)
    ratios = [
        value / ceiling(s, epoch, record.epochs)
        for epoch, value in enumerate(record.stability_history)
        if value is not None
    ]
    if not s.is_constant and len(ratios) < 2:
        ratios = []
    return {
        "updates": record.updates_made,
        "effective_learning_rate": effective,
        "noise_scale": effective * record.train_examples / s.batch_size,
        "descent_eigenvalue": eigenvalue,
        "descent_residual": 0.0 if values.get("converged") else _number(values.get("error"), math.inf),
        "stability_ratio": eigenvalue / ceiling(s, 0, record.epochs) if s.is_constant else math.nan,
        "stability_ratio_max": max(ratios, default=math.nan),
    }


def ceiling(settings: SGDSettings, epoch: int, epochs: int) -> float:
    """2 (1 + gamma) / eta in an epoch, counted from 0: above it gradient descent with momentum is unstable.

    Of Adam and its like that of the preconditioned eigenvalue, see `stability_bound`. NaN for other steps, and where
    another loss is descended than that of lambda1.
    """
    if settings.is_algorithm_1:
        bound: float | None = 2 * (1 + settings.momentum)
    elif settings.optimizer != SGD and not (
        settings.label_smoothing or settings.adversarial_epochs or settings.sam
    ):
        bound = stability_bound(settings.optimizer, settings.optimizer_arguments)
    else:
        bound = None
    return math.nan if bound is None else bound / settings.learning_rate_at(epoch, epochs)


def _number(value: float | None, otherwise: float) -> float:
    return otherwise if value is None else float(value)
