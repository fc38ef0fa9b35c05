"""Columns that follow from a record's settings and its λ1 alone."""

import math
from typing import Any

from tfsgd.measures.spec import Measurement
from tfsgd.plan.optimizers import SGD, stability_bound
from tfsgd.plan.regimes import SGDSettings
from tfsgd.records.record import Record


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
