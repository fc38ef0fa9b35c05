"""Columns that follow from a record's settings and its λ1 alone."""

import math
from typing import Any

from tfsgd.measures.spec import Measurement
from tfsgd.plan.regimes import SGDSettings
from tfsgd.plan.wanted import TOP_EIGENVALUE
from tfsgd.records.record import EIGENVALUE_HISTORY, Record


def derived(record: Record, top: Measurement | None) -> dict[str, Any]:
    """What theory says of a trial's settings; each is a number, or NaN where it has no meaning.

    - `updates`: steps of SGD in all: epochs x the batches of an epoch.
    - `effective_learning_rate`: eta / (1 - gamma), what momentum makes of the rate of the first epoch.
    - `noise_scale`: eta N / (b (1 - gamma)), the scale of SGD's noise (Smith and Le 2018, section 4; with momentum).
    - `descent_eigenvalue`: lambda1 of the loss that SGD descends: with BatchNorm that of training mode.
    - `stability_ratio`: lambda1 eta / (2 (1 + gamma)) at the end: 1 is the edge of stability of gradient descent
      with momentum (Cohen et al. 2021, equation 2). NaN where the rate decays, so that the last one means nothing.
    - `stability_ratio_max`: the largest over the epochs in which lambda1 was recorded, each with its own rate.

    Args:
        record: of the trial.
        top: its lambda1 at the end.
    """
    s, steps = record.sgd, math.ceil(record.train_examples / record.sgd.batch_size)
    effective = s.learning_rate / (1 - s.momentum)
    eigenvalue = _descent_eigenvalue(record, top)
    return {
        "updates": record.epochs * steps,
        "effective_learning_rate": effective,
        "noise_scale": effective * record.train_examples / s.batch_size,
        "descent_eigenvalue": eigenvalue,
        "stability_ratio": math.nan if s.halve_every_epochs else eigenvalue / ceiling(s, 0),
        "stability_ratio_max": max(
            (
                value / ceiling(s, epoch)
                for epoch, value in enumerate(record.history.get(EIGENVALUE_HISTORY, ()))
                if value is not None and history_is_of_descent(record, top)
            ),
            default=math.nan,
        ),
    }


def ceiling(settings: SGDSettings, epoch: int) -> float:
    """2 (1 + gamma) / eta: above it gradient descent with momentum is unstable. The epoch counts from 0."""
    return 2 * (1 + settings.momentum) / settings.learning_rate_at(epoch)


def history_is_of_descent(record: Record, top: Measurement | None) -> bool:
    """Whether lambda1 over the epochs is that of the loss that SGD descends; it is measured as at the end."""
    return not record.batch_norm or _in_training_mode(top)


def _in_training_mode(found: Measurement | None) -> bool:
    return found is not None and found.settings.get("mode") == "training"


def _descent_eigenvalue(record: Record, top: Measurement | None) -> float:
    """NaN with BatchNorm where lambda1 was measured in inference mode alone."""
    found = top
    if record.batch_norm and not _in_training_mode(top):
        of_kind = [m for m in record.measurements if (m.kind, m.name) == ("curvature", TOP_EIGENVALUE)]
        found = next((m for m in reversed(of_kind) if _in_training_mode(m)), None)
    value = found.values.get("value") if found else None
    return math.nan if value is None else float(value)
