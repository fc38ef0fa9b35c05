"""TensorBoard's view of a sweep: final scalars and HParams. The records are the truth."""

from pathlib import Path

import tensorflow as tf
from tensorboard.plugins.hparams import api as hp

from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial
from tfsgd.records.record import Record

SETTINGS = ("regime", "batch_size", "momentum", "learning_rate", "seed")


def write_hparams_config(experiment: Experiment, trials: list[Trial], folder: Path) -> None:
    """Tells the HParams view which settings and metrics there are; it shows nothing without."""
    for stale in folder.glob("events.out.tfevents.*"):
        stale.unlink()
    values = [_settings(trial) for trial in trials]
    hparams = [hp.HParam(key, hp.Discrete(sorted({v[key] for v in values}))) for key in SETTINGS]
    metrics = [hp.Metric(tag) for tag in _metric_tags(experiment)]
    with tf.summary.create_file_writer(str(folder)).as_default():
        hp.hparams_config(hparams=hparams, metrics=metrics)


def write_summary(
    trial: Trial, record: Record, experiment: Experiment, picture: bytes | None, folder: Path
) -> None:
    """Writes a trial's hyperparameters, final measurements, config and picture of the attacks."""
    with tf.summary.create_file_writer(str(folder)).as_default():
        hp.hparams(_settings(trial), trial_id=trial.name)
        for tag, value in _metrics(record).items():
            if value is not None:
                tf.summary.scalar(tag, value, step=record.epochs)
        tf.summary.text("config", _as_code(experiment), step=record.epochs)
        if picture is not None:
            image = tf.image.decode_png(picture, channels=3)
            tf.summary.image("attacks", image[None], step=record.epochs)


def _as_code(experiment: Experiment) -> str:
    """The resolved config, indented as Markdown's code."""
    return "\n".join(f"    {line}" for line in experiment.model_dump_json(indent=2).splitlines())


def _settings(trial: Trial) -> dict[str, str | float | int]:
    s = trial.settings
    return dict(
        zip(SETTINGS, (trial.regime, s.batch_size, s.momentum, s.learning_rate, trial.seed), strict=True)
    )


def _metric_tags(experiment: Experiment) -> list[str]:
    """The largest epsilon, the paper's, comes first: the view shows five metrics until it is told otherwise."""
    attacks = [
        (epsilon, name)
        for name, attack in (("fgsm", experiment.attacks.fgsm), ("pgd", experiment.attacks.pgd))
        for epsilon in (attack.epsilon if attack else ())
    ]
    in_order = sorted(attacks, key=lambda attack: -attack[0])
    return [
        "test_accuracy",
        "hessian_eigenvalue",
        *(_attack_tag(name, epsilon) for epsilon, name in in_order),
    ]


def _attack_tag(name: str, epsilon: float) -> str:
    return f"{name}_{epsilon:g}_accuracy"


def _metrics(record: Record) -> dict[str, float | None]:
    return {
        "test_accuracy": record.test_accuracy,
        "hessian_eigenvalue": record.hessian.eigenvalue,
        **{_attack_tag(a.name, a.epsilon): a.accuracy for a in record.attacks},
    }
