"""Columns that follow from a record's settings and its λ1 alone."""

import math
from typing import Any

from tfsgd.records.record import Record


def derived(record: Record, eigenvalue: float | None) -> dict[str, Any]:
    """What theory says of a trial's settings; each is a number, or NaN where it has no meaning.

    - `updates`: steps of SGD in all: epochs x the batches of an epoch, or what was asked for.
    - `effective_learning_rate`: eta / (1 - gamma), what momentum makes of the rate of the first epoch.
    - `noise_scale`: eta N / (b (1 - gamma)), the scale of SGD's noise (Smith and Le 2018, section 4; with momentum).
    - `stability_ratio`: lambda1 eta / (2 (1 + gamma)) at the end: 1 is the edge of stability of gradient descent
      with momentum (Cohen et al. 2021, equation 2). NaN where the rate decays, so that the last one means nothing.
      With BatchNorm lambda1 is that of training mode, since SGD descends that loss, and NaN without it.
    - `stability_ratio_max`: the largest over the epochs in which lambda1 was recorded, each with its own rate.

    Args:
        record: of the trial.
        eigenvalue: lambda1 at the end of the loss that SGD descends; `None`: not measured.
    """
    s = record.sgd
    effective = s.learning_rate / (1 - s.momentum)
    ratios = [
        value * s.learning_rate_at(epoch) / (2 * (1 + s.momentum))
        for epoch, value in enumerate(record.stability_history)
        if value is not None
    ]
    at_the_end = None if s.halve_every_epochs else eigenvalue
    return {
        "updates": record.updates or record.epochs * record.steps,
        "effective_learning_rate": effective,
        "noise_scale": effective * record.train_examples / s.batch_size,
        "stability_ratio": math.nan
        if at_the_end is None
        else at_the_end * s.learning_rate / (2 * (1 + s.momentum)),
        "stability_ratio_max": max(ratios, default=math.nan),
    }
