"""TensorBoard's view of a sweep: one run a trial, and HParams. The records are the truth."""

import re
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorboard.plugins.hparams import api as hp

from tfsgd.errors import RequestError
from tfsgd.measures.attacks.minimal import Minimal
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import HESSIAN, is_primary, requests_of
from tfsgd.plan.settings import plain, settings_in_use
from tfsgd.plan.trials import Trial
from tfsgd.records.record import EIGENVALUE_COLUMNS, Record
from tfsgd.records.tensorboard_tags import (
    EIGENVALUE,
    PICTURE,
    SMALLEST_EPSILON,
    fingerprint,
    median_tag,
    scalars,
    tag,
)
from tfsgd.training.scalars import remove_events, write_epoch

DIGITS = 5  # of whole numbers: spaces before shorter ones, which no page shows, sort them as numbers


def write_hparams_config(experiment: Experiment, trials: list[Trial], folder: Path) -> None:
    """Tells the HParams view which settings and metrics there are; it shows nothing without.

    Raises:
        RequestError: it cannot be written.
    """
    remove_events(folder)
    values = [_settings(trial) for trial in trials]
    names = [s.name for s in settings_in_use([trial.settings for trial in trials])]
    hparams = [
        hp.HParam(key, hp.Discrete(sorted({v[key] for v in values if key in v})))
        for key in ("regime", "seed", *names)
    ]
    metrics = [hp.Metric(name) for name in _metrics(experiment)]
    try:
        with tf.summary.create_file_writer(str(folder)).as_default():
            hp.hparams_config(hparams=hparams, metrics=metrics)
    except tf.errors.OpError as error:  # a full disk, most likely
        said = re.sub(r"\{\{.*?\}\}", "", " ".join(str(error.message).split())).strip()[:200]
        raise RequestError(f"{folder}: TensorBoard's view cannot be written: {said}") from None


def _metrics(experiment: Experiment) -> list[str]:
    """Tags: the view shows five until it is told otherwise, so the three that lead come first.

    Of the attacks that at the largest epsilon, the paper's, comes first.
    """
    asked = sorted(requests_of(experiment, 0), key=lambda request: -(request.epsilon or 0))
    lead = [r for r in asked if r.split == "test" and r.spec.kind == "accuracy"]
    searched = [r for r in asked if isinstance(r.spec, Minimal)]
    tags = [tag(r.spec.kind, r.label, r.split, r.epsilon) for r in lead]
    tags += [SMALLEST_EPSILON] if any(map(is_primary, asked)) else []
    rest = [r for r in asked if r.spec.kind in ("attack", "curvature") and not r.free and r.label != HESSIAN]
    tags += [EIGENVALUE, *(tag(r.spec.kind, r.label, r.split, r.epsilon) for r in rest)]
    return [*tags, *(median_tag(r.label, r.epsilon) for r in searched)]


def write_summary(record: Record, experiment: Experiment, picture: bytes | None, folder: Path) -> None:
    """Writes a trial's hyperparameters, epochs, final measurements, config and picture of the attacks.

    It takes the place of all that was written while the trial was trained and measured. `folder` is the trial's.
    """
    remove_events(folder)
    suffix = f".{fingerprint(record, experiment, folder)}.v3"
    with tf.summary.create_file_writer(str(folder), filename_suffix=suffix).as_default():
        hp.hparams(_settings(record.trial), trial_id=record.folder)
        for done in range(1, record.epochs + 1):
            figures = {key: column[done - 1] for key, column in record.history.items() if done <= len(column)}
            if done == record.epochs:  # λ1 of the end is a measurement
                figures = {
                    key: value for key, value in figures.items() if key not in EIGENVALUE_COLUMNS.values()
                }
            write_epoch(figures, done)
        for name, value in scalars(record, experiment, folder).items():
            tf.summary.scalar(name, value, step=record.epochs)
        tf.summary.text("config", _as_code(experiment), step=record.epochs)
        if picture is not None:
            image = tf.image.decode_png(picture, channels=3)
            tf.summary.image(PICTURE, image[None], step=record.epochs)


def _as_code(experiment: Experiment) -> str:
    """The resolved config, indented as Markdown's code."""
    return "\n".join(f"    {line}" for line in experiment.model_dump_json(indent=2).splitlines())


def _settings(trial: Trial) -> dict[str, str | float]:
    """Those that it has other than by default. Whole numbers are texts: of a number 32 the view makes 32.000."""
    known = {s.name: plain(getattr(trial.settings, s.name)) for s in settings_in_use([trial.settings])}
    told: dict[str, Any] = {"regime": trial.regime, "seed": trial.seed} | known
    return {
        key: f"{value:{DIGITS}d}" if isinstance(value, int) and not isinstance(value, bool) else value
        for key, value in told.items()
        if value is not None
    }
