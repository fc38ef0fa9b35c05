"""TensorBoard's view of a sweep: one run a trial, and HParams. The records are the truth."""

import re
from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hp

from tfsgd.errors import RequestError
from tfsgd.measures.attacks.minimal import Minimal
from tfsgd.plan.config import Experiment
from tfsgd.plan.regimes import plain, settings_in_use
from tfsgd.plan.requests import requests_of
from tfsgd.plan.trials import Trial
from tfsgd.records.record import EIGENVALUE_COLUMNS, Record
from tfsgd.records.tensorboard_tags import fingerprint, median_tag, scalars, tag
from tfsgd.training.scalars import remove_events, write_epoch


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
    # The largest epsilon, the paper's, comes first: the view shows five metrics until it is told otherwise.
    asked = sorted(requests_of(experiment, 0), key=lambda request: -(request.epsilon or 0))
    first = [request for request in asked if request.split == "test" and request.spec.kind == "accuracy"]
    first += [request for request in asked if request.spec.kind in ("attack", "curvature")]
    metrics = [hp.Metric(tag(r.spec.kind, r.label, r.split, r.epsilon)) for r in first]
    metrics += [hp.Metric(median_tag(r.label, r.epsilon)) for r in first if isinstance(r.spec, Minimal)]
    try:
        with tf.summary.create_file_writer(str(folder)).as_default():
            hp.hparams_config(hparams=hparams, metrics=metrics)
    except tf.errors.OpError as error:  # a full disk, most likely
        said = re.sub(r"\{\{.*?\}\}", "", " ".join(str(error.message).split())).strip()[:200]
        raise RequestError(f"{folder}: TensorBoard's view cannot be written: {said}") from None


def write_summary(record: Record, experiment: Experiment, picture: bytes | None, folder: Path) -> None:
    """Writes a trial's hyperparameters, epochs, final measurements, config and picture of the attacks.

    It takes the place of all that was written while the trial was trained and measured.
    """
    remove_events(folder)
    suffix = f".{fingerprint(record, experiment)}.v2"
    with tf.summary.create_file_writer(str(folder), filename_suffix=suffix).as_default():
        hp.hparams(_settings(record.trial), trial_id=record.folder)
        for done in range(1, record.epochs + 1):
            figures = {key: column[done - 1] for key, column in record.history.items() if done <= len(column)}
            if done == record.epochs:  # λ1 of the end is a measurement
                figures = {
                    key: value for key, value in figures.items() if key not in EIGENVALUE_COLUMNS.values()
                }
            write_epoch(figures, done)
        for name, value in scalars(record, experiment).items():
            tf.summary.scalar(name, value, step=record.epochs)
        tf.summary.text("config", _as_code(experiment), step=record.epochs)
        if picture is not None:
            image = tf.image.decode_png(picture, channels=3)
            tf.summary.image("attacks", image[None], step=record.epochs)


def _as_code(experiment: Experiment) -> str:
    """The resolved config, indented as Markdown's code."""
    return "\n".join(f"    {line}" for line in experiment.model_dump_json(indent=2).splitlines())


def _settings(trial: Trial) -> dict[str, str | float | int]:
    """Those that it has other than by default."""
    known = {s.name: plain(getattr(trial.settings, s.name)) for s in settings_in_use([trial.settings])}
    told = {key: value for key, value in known.items() if value is not None}
    return {"regime": trial.regime, "seed": trial.seed, **told}
