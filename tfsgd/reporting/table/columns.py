"""The columns of records.csv: name, unit, meaning, and where each value comes from. A new column is a line here.

The tidy form is a trial, a column and a value: a `Column` tells what was measured, under which attack and epsilon,
and whether at the end of the training or at a snapshot.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from operator import attrgetter as get
from typing import Any

import pandas as pd

from tfsgd.measures.corruption_accuracy import Corruptions
from tfsgd.measures.norms import NAMES
from tfsgd.measures.spec import Measurement
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import GRADIENT_NORM, HESSIAN, requests_of
from tfsgd.plan.settings import plain, settings
from tfsgd.reporting.paper import RESIDUAL_LIMIT, UNDERTRAINED_MARGIN, attack_name, points
from tfsgd.reporting.table.cell import SETTINGS
from tfsgd.reporting.table.checks import failed
from tfsgd.reporting.table.rows import TrialRow

Attack = tuple[str, float]  # label, epsilon
ABSENT = object()  # a value that a trial has no place for

CURVATURE_RANK, SETTING_RANK, SMALLEST_RANK, UNRANKED = 2, 11, 99, math.inf


@dataclass(frozen=True)
class Column:
    """A column of the table of trials.

    Attributes:
        name: its heading.
        unit, meaning: for the dictionary of the columns.
        value: takes it from a row; `None`: it is of no single row, or of a measurement.
        title: as a measure in the matrix of correlations; empty: it is not there.
        rank: its place there.
        is_number: a missing value is NaN.
        is_log: it is compared on its logarithm.
        at_snapshots: it is taken there too.
        attack: of whose accuracy it is.
        at: the train loss of its snapshot; `None`: the end of the training.
    """

    name: str
    unit: str = ""
    meaning: str = ""
    value: Callable[[TrialRow], Any] | None = None
    title: str = ""
    rank: float = UNRANKED
    is_number: bool = False
    is_log: bool = False
    at_snapshots: bool = False
    attack: Attack | None = None
    at: float | None = None

    def at_loss(self, train_loss: float) -> Column:
        """The column of the same number at a snapshot."""
        meaning = f"{self.meaning}; at the end of the first epoch with a train loss of at most {train_loss:g}"
        return replace(self, name=at_loss(self.name, train_loss), meaning=meaning, at=train_loss, title="")


def _measured(kind: str, label: str, name: str, otherwise: Any = None) -> Callable[[TrialRow], Any]:
    """A value of the measurement of that kind and label."""

    def value(row: TrialRow) -> Any:
        found = row.found.get((kind, label, None))
        return found.values.get(name, otherwise) if found else otherwise

    return value


_top = partial(_measured, "curvature", HESSIAN)
_natural = partial(_measured, "accuracy")
_certainty = partial(_measured, "confidence", "confidence", otherwise=ABSENT)


def _setting(name: str) -> Callable[[TrialRow], Any]:
    return lambda row: plain(getattr(row.record.sgd, name))


def _derived(name: str) -> Callable[[TrialRow], Any]:
    return lambda row: row.derived[name]


def _smallest(name: str) -> Callable[[TrialRow], Any]:
    """Of smallest epsilons, where their outcomes are kept."""
    return lambda row: None if (e := row.smallest_epsilons.get(name, ABSENT)) == math.inf else e


_number = partial(Column, is_number=True)
_log = partial(_number, is_log=True)

# fmt: off
COLUMNS = (
    Column("folder", "path", "the trial's folder, relative to this file",
        lambda r: str(r.path / "trials" / r.record.folder)),
    Column("name", "", "name of the sweep", get("record.name")),
    Column("dataset", "", "data set", get("record.dataset")),
    Column("model", "", "network", get("record.model")),
    Column("regime", "", "label of the regime under which the trial is stored, or the first that it has now",
        lambda r: r.record.regime if r.record.regime in r.record.regimes else r.record.regimes[0]),
    Column("regimes", "", "labels of all regimes that the trial belongs to, separated by semicolons",
        get("record.regimes")),
    Column("seed", "", "seed of initialisation, order of the batches, dropout and random starts",
        get("record.seed")),
    Column("epochs", "epochs", "length of the training", get("record.epochs")),
    Column("profile", "", "full, or quick: the config's quick block", get("record.profile")),
    Column("status", "", "completed; diverged: the loss was not finite; collapsed: one predicted class or no "
        "better than guessing", get("record.status")),
    Column("train_examples", "images", "trained on in each epoch", get("record.train_examples")),
    Column("budget", "steps", "of SGD that were asked for in place of epochs; empty: whole epochs",
        get("record.updates")),
    *(Column(s.name, s.unit, s.meaning, _setting(s.name)) for s in settings()),
    _number("train_loss", "nats", "mean cross-entropy after training, in inference mode",
        _natural("train", "loss"), title="train loss", rank=9, at_snapshots=True),
    _number("train_accuracy", "0 to 1",
        "share of training images that are classified rightly, in inference mode",
        _natural("train", "accuracy"), at_snapshots=True),
    Column("validation_loss", "nats", "the same on the validation split", _natural("validation", "loss"),
        at_snapshots=True),
    _number("validation_accuracy", "0 to 1", "the same on the validation split",
        _natural("validation", "accuracy"), at_snapshots=True),
    _number("test_loss", "nats", "the same on the test split", _natural("test", "loss"), at_snapshots=True),
    _number("test_accuracy", "0 to 1", "the same on the test split: natural accuracy",
        _natural("test", "accuracy"), title="natural accuracy", rank=10, at_snapshots=True),
    _log("eigenvalue", "", "lambda1, the top eigenvalue of the Hessian of the mean cross-entropy",
        _top("value"), title="λ1", rank=0, at_snapshots=True),
    _number("residual", "", "|Hv - lambda v| / |lambda| of that eigenvalue", _top("error")),
    _number("eigenvalue_standard_error", "", "of that eigenvalue over images, its eigenvector held fixed",
        _top("standard_error")),
    Column("iterations", "products", "Hessian-vector products that it took", _top("products", 0)),
    Column("converged", "", "whether the residual reached its tolerance", _top("converged", False)),
    Column("updates", "steps", "of SGD in all, as asked for: a trial that diverged was stopped before",
        _derived("updates"), title="updates", rank=13),
    Column("effective_learning_rate", "", "eta / (1 - gamma)", _derived("effective_learning_rate"),
        title="rate η/(1−γ)", rank=SETTING_RANK),
    Column("noise_scale", "", "eta N / (b (1 - gamma))", _derived("noise_scale"), title="noise scale",
        rank=12),
    _log("descent_eigenvalue", "",
        "lambda1 of the loss that SGD descends: with BatchNorm that of training mode",
        _derived("descent_eigenvalue")),
    Column("descent_residual", "", "of that eigenvalue; 0 where it has converged",
        _derived("descent_residual")),
    Column("stability_ratio", "", "lambda1 eta / (2 (1 + gamma)) at the end; 1 is the edge of stability",
        _derived("stability_ratio"), title="λ1 / ceiling", rank=1, is_log=True),
    Column("stability_ratio_max", "", "the largest over the epochs in which lambda1 was recorded; empty "
        "where eta decays and that was at the end alone", _derived("stability_ratio_max"), is_log=True),
    Column("confidence", "0 to 1", "mean probability of the predicted class", _certainty("confidence"),
        title="confidence", rank=3, at_snapshots=True),
    Column("margin", "logits", "mean of the true class's logit minus the largest other", _certainty("margin"),
        title="logit margin", rank=4, at_snapshots=True),
    Column("calibration_error", "0 to 1", "expected calibration error", _certainty("calibration_error"),
        title="calibration error", rank=5, at_snapshots=True),
    Column("hessian_examples", "images", "on which lambda1 was measured",
        lambda r: r.top_eigenvalue and r.top_eigenvalue.examples),
    Column("hessian_split", "", "of the data, on which lambda1 was measured",
        lambda r: r.top_eigenvalue and r.top_eigenvalue.split),
    Column("seconds_train", "s", "training", lambda r: r.seconds["train"]),
    Column("seconds_attacks", "s", "all attacks", lambda r: r.seconds["attacks"]),
    Column("seconds_hessian", "s", "all measures of curvature", lambda r: r.seconds["hessian"]),
    Column("device", "", "on which the trial ran", get("record.provenance.device")),
    Column("threads", "", "of the processor that it used", get("record.provenance.threads")),
    Column("onednn", "", "whether oneDNN was on", get("record.provenance.onednn")),
    Column("replicas", "", "on which each batch was split", get("record.provenance.replicas")),
    Column("git_commit", "", "of the code", get("record.provenance.git_commit")),
    Column("data_sha256", "", "hash of the data", get("record.data_sha256")),
    Column("training_hash", "", "hash of all that determines the network", get("record.training_hash")),
    Column("failed_checks", "", "signs that an accuracy under attack is too high, separated by semicolons",
        lambda r: tuple(failed(r.shown, r.outcomes))),
    Column("undertrained", "",
        f"whether the cell's train accuracy is {points(UNDERTRAINED_MARGIN)} or more below that of the best "
        "cell of its study"),
    _log("smallest_epsilon", "pixels in [0, 1]", "median over the images of the least epsilon at which "
        "anything broke it: a search, or any attack in the L-infinity ball (without outcomes of the images: "
        "a search alone); empty where half of them hold out", _smallest("median"), title="smallest ε",
        rank=SMALLEST_RANK),
    _log("smallest_epsilon_low", "pixels in [0, 1]",
        "lower end of its 95 % interval, a bootstrap over the images", _smallest("low")),
    _log("smallest_epsilon_high", "pixels in [0, 1]", "upper end of that interval", _smallest("high")),
    Column("zero_gradients", "0 to 1",
        "share of test images whose loss has an input gradient of exactly zero", title="zero gradients",
        rank=8),
    Column("saturated", "0 to 1", "share of test images of which the network is so sure that float32's "
        "softmax gradient lacks the true class's term"),
    Column("misdirected", "0 to 1", "share of test images where that gradient points elsewhere: its cosine "
        "with the exact one is below 0.9"),
    Column("input_gradient", "", "value of the measure input_gradient, as the record names it",
        title="input gradient", rank=6),
    _log("jacobian", "logits per pixel unit",
        "mean over test images of the Frobenius norm of dz/dx, the logits centred over the classes",
        title="Jacobian", rank=7),
    _log("weight_norm", "", "Euclidean norm of all trained variables", title="weight norm", rank=9),
    _number("log_spectral_norms", "",
        "sum of the natural logarithms of the weight matrices' top singular values",
        title="log spectral norms", rank=9),
    _log("distance", "", "Euclidean norm of the trained variables less those with which the training began",
        title="distance from the start", rank=9),
    _log("gradient_norm", "nats per unit of weight",
        "Euclidean norm of the loss's gradient, on the images of lambda1", title="gradient norm", rank=1),
    _log("feature_rank", "dimensions", "effective rank of what the last dense layer sees, over test images",
        title="feature rank", rank=8),
    _log("temperature", "",
        "by which the logits are divided where the network is calibrated on the validation images",
        title="temperature T*", rank=5),
    _number("corruption_accuracy", "0 to 1", "share of test images that keep their true label under "
        "corruptions, the mean over families and severities", title="accuracy under corruptions", rank=10),
    Column("input_gradient_radius", "", "value of the measure input_gradient_radius, as the record names it",
        title="first-order radius", rank=7),
)
# fmt: on
KNOWN: Mapping[str, Column] = {column.name: column for column in COLUMNS}

OF_ATTACKS = (
    "accuracy",
    "clean_accuracy",
    "outcomes_sha256",
)  # what else attacks found has columns of its own

# Labels of curvature measures that are other columns', such as pgd_0.1 or pgd_1e-05_median.
TAKEN = re.compile(rf".*_radius|corruption_.*|.*_(\d+\.\d+|[\d.]+e-\d+)(_.*)?|{'|'.join(KNOWN)}")


# Names


def attack_column(attack: str, epsilon: float) -> str:
    """The column of the accuracy under an attack, such as `fgsm_0.3`."""
    return f"{attack}_{float(epsilon)}"


def smallest_column(attack: Attack, quartile: str = "median") -> str:
    """The column of a quartile of the smallest epsilons that an attack searches."""
    return f"{attack_column(*attack)}_{quartile}"


def curvature_column(label: str) -> str:
    """The column of a measure of curvature: its label, with `curvature:` before one that is another column's."""
    return f"curvature:{label}" if TAKEN.fullmatch(label) else label  # no label holds a colon


def corruption_column(family: str) -> Column:
    """The column of the accuracy under a family of corruptions, such as `corruption_rotate`."""
    said = f"share of test images that keep their true label under {family.replace('_', ' ')}"
    return Column(f"corruption_{family}", "0 to 1", f"{said}, the mean over severities", is_number=True)


def at_loss(column: str, train_loss: float) -> str:
    """The column of the same number at a snapshot, such as `eigenvalue@0.5`."""
    return f"{column}@{train_loss:g}"


def is_measured(trials: pd.DataFrame, column: str) -> bool:
    """Whether any of the trials has a value there."""
    return column in trials and bool(trials[column].notna().any())


# Values


Value = tuple[Column, Any]


def values_of(row: TrialRow) -> Iterator[Value]:
    """All values of a trial, in the order of the columns."""
    for column in COLUMNS:
        if column.value and column.name != "failed_checks":
            yield column, column.value(row)
    yield from _attack_values(row)
    yield from _other_values(row)
    for loss, there in row.snapshots.items():
        for column, value in _snapshot_values(there):
            yield column.at_loss(loss), value
    yield KNOWN["failed_checks"], tuple(failed(row.shown, row.outcomes))


def asked_columns(experiment: Experiment) -> dict[str, Column]:
    """The columns of what a config asks for besides those that every study has, before anything is measured."""
    found = []
    for request in requests_of(experiment, experiment.seeds[0]):
        if request.epsilon is not None:
            name = attack_column(request.label, request.epsilon)
            found.append(Column(name, "0 to 1", is_number=True, attack=(request.label, request.epsilon)))
            found.append(_unknown(f"{name}_median", is_number=True, is_log=True))
        elif request.spec.kind == "curvature" and request.label not in (HESSIAN, GRADIENT_NORM):
            found.append(_unknown(curvature_column(request.label), is_number=True))
        elif isinstance(request.spec, Corruptions):
            found += map(corruption_column, request.spec.families)
    losses = experiment.snapshots.train_loss if experiment.snapshots else ()
    kept = [column for column in (*COLUMNS, *found) if column.at_snapshots or column.attack]
    return {c.name: c for c in (*found, *(column.at_loss(loss) for loss in losses for column in kept))}


def _snapshot_values(there: TrialRow) -> Iterator[Value]:
    """Of a snapshot what figures and claims need; a λ1 that is hardly known is left out."""
    top = there.top_eigenvalue
    is_known = top and (top.values["converged"] or (top.values["error"] or 1) <= RESIDUAL_LIMIT)
    for column in COLUMNS:
        if column.at_snapshots and column.value:
            yield column, column.value(there) if is_known or column.name != "eigenvalue" else None
    yield from _attack_values(there)


def _attack_values(row: TrialRow) -> Iterator[Value]:
    """Accuracies, and what an attack found besides, such as the median of the smallest epsilons."""
    for key, m in row.attacks.items():
        name, norm = attack_column(*key), NAMES[m.settings.get("norm", "Linf")]
        meaning = (
            f"share of attacked images that keep their true label under {attack_name(key[0])} with epsilon = "
            f"{key[1]:g} ({norm}, images in [0, 1])"
        )
        yield Column(name, "0 to 1", meaning, is_number=True, attack=key), m.accuracy
        for of, value in m.values.items():
            if of not in OF_ATTACKS and not isinstance(value, list | tuple):
                title = {"title": f"median ε ({key[0]})", "rank": SMALLEST_RANK} if of == "median" else {}
                yield _unknown(f"{name}_{of}", **title), value


def _other_values(row: TrialRow) -> Iterator[Value]:
    """Measures of gradient and curvature besides λ1, under their labels."""
    for m in row.shown.measurements:
        if m.label == "weights":
            yield KNOWN["weight_norm"], m.values["value"]
            yield KNOWN["log_spectral_norms"], m.values["log_spectral_norms"]
        elif m.kind == "corruption":
            yield KNOWN["corruption_accuracy"], m.values["accuracy"]
            for family, found in zip(m.values["families"], m.values["accuracies"], strict=True):
                yield corruption_column(family), sum(found) / len(found)
        elif m.kind in ("gradient", "weights") or m.label == GRADIENT_NORM:
            yield from _measure_values(m, KNOWN.get(m.label) or _unknown(m.label))
        elif m.kind == "curvature" and m.label != HESSIAN:
            title = {"title": m.label.replace("_", " "), "rank": CURVATURE_RANK}
            yield from _measure_values(m, _unknown(curvature_column(m.label), **title))


def _measure_values(m: Measurement, column: Column) -> Iterator[Value]:
    yield column, m.values.get("value", m.values.get("fraction"))
    if "radius" in m.values:
        name = f"{column.name}_radius"
        yield KNOWN.get(name) or _unknown(name), m.values["radius"]
    for name in ("saturated", "misdirected"):
        if m.name == "zero_gradients" and name in m.values:
            yield KNOWN[name], m.values[name]


def _unknown(name: str, **more: Any) -> Column:
    return Column(name, "", f"value of the measure {name}, as the record names it", **more)


# Tables


def table_of(rows: Sequence[TrialRow]) -> tuple[pd.DataFrame, dict[str, Column]]:
    """One row a trial, and its columns by name.

    Under-trained are trials of cells whose mean train accuracy is 2 points or more below the best cell's. A cell is one
    setting of SGD over its seeds; only completed trials count for the mean.
    """
    values = [[(c, v) for c, v in values_of(row) if v is not ABSENT] for row in rows]
    columns = {column.name: column for of_row in values for column, _ in of_row}
    table = pd.DataFrame([{c.name: v for c, v in of_row} for of_row in values])
    numbers = [c.name for c in columns.values() if c.is_number]
    table = table.astype(dict.fromkeys(numbers, float)).copy()
    completed = table["train_accuracy"].where(table["status"] == "completed")
    cell = completed.groupby([table[setting].fillna(0) for setting in SETTINGS]).transform("mean")
    table["undertrained"] = (cell <= cell.max() - UNDERTRAINED_MARGIN) & completed.notna()
    return table, columns | {"undertrained": KNOWN["undertrained"]}


def attacks_of(rows: Sequence[TrialRow]) -> list[Attack]:
    """Every (attack, epsilon) that was measured in some trial, in order."""
    return sorted({key for row in rows for key in row.attacks})
