"""Columns that follow from a record's settings and its λ1 alone."""

import math
from typing import Any

from tfsgd.records.record import EIGENVALUE_HISTORY, Record


def derived(record: Record, eigenvalue: float | None) -> dict[str, Any]:
    """What theory says of a trial's settings; each is a number, or NaN where it has no meaning.

    - `updates`: steps of SGD in all: epochs x the batches of an epoch.
    - `effective_learning_rate`: eta / (1 - gamma), what momentum makes of the rate of the first epoch.
    - `noise_scale`: eta N / (b (1 - gamma)), the scale of SGD's noise (Smith and Le 2018, section 4; with momentum).
    - `stability_ratio`: lambda1 eta / (2 (1 + gamma)) at the end: 1 is the edge of stability of gradient descent
      with momentum (Cohen et al. 2021, equation 2). NaN where the rate decays, so that the last one means nothing,
      and with BatchNorm, where lambda1 in inference mode is not that of the loss that SGD descends.
    - `stability_ratio_max`: the largest over the epochs in which lambda1 was recorded, each with its own rate.

    Args:
        record: of the trial.
        eigenvalue: its lambda1 at the end.
    """
    s, steps = record.sgd, math.ceil(record.train_examples / record.sgd.batch_size)
    effective = s.learning_rate / (1 - s.momentum)
    ratios = [
        value * s.learning_rate_at(epoch) / (2 * (1 + s.momentum))
        for epoch, value in enumerate(record.history.get(EIGENVALUE_HISTORY, ()))
        if value is not None and not record.batch_norm
    ]
    at_the_end = None if record.batch_norm or s.halve_every_epochs else eigenvalue
    return {
        "updates": record.epochs * steps,
        "effective_learning_rate": effective,
        "noise_scale": effective * record.train_examples / s.batch_size,
        "stability_ratio": math.nan
        if at_the_end is None
        else at_the_end * s.learning_rate / (2 * (1 + s.momentum)),
        "stability_ratio_max": max(ratios, default=math.nan),
    }
