"""The regimes beside each other at each batch size, as a table."""

import numpy as np
import pandas as pd

from tfsgd.reporting.page.latex import escaped, table
from tfsgd.reporting.table.columns import is_measured
from tfsgd.reporting.table.metrics import EIGENVALUE, NATURAL, SMALLEST, Metric, attacked
from tfsgd.reporting.table.studies import Study

Row = dict[str, str]  # heading -> text


def comparison_of(study: Study) -> list[Row]:
    """A row for each batch size, regime and momentum with completed trials: means and standard deviations over the seeds."""
    rows = study.by_regime
    rows = rows[rows["status"] == "completed"]
    metrics = [m for m in _metrics(study) if is_measured(rows, m.column)]
    several = rows["momentum"].nunique() > 1
    order = {regime.name: i for i, regime in enumerate(study.regimes)}
    found = []
    for (size, regime, momentum), cell in sorted(
        rows.groupby(["batch_size", "regime", "momentum"]), key=lambda item: (item[0][0], order[item[0][1]], item[0][2])
    ):  # fmt: skip
        name = f"{regime}, momentum {momentum:g}" if several else str(regime)
        numbers = {metric.what: _spread(cell[metric.column], metric) for metric in metrics}
        found.append({"batch size": f"{size:g}", "regime": name, **numbers, "seeds": str(len(cell))})
    return found


def comparison_table(study: Study) -> str:
    """The same for LaTeX; empty where there is nothing."""
    rows = comparison_of(study)
    if not rows:
        return ""
    lines = [[escaped(text) for text in row.values()] for row in rows]
    return table([*rows[0]], lines, "rl" + "l" * (len(rows[0]) - 2))


def _metrics(study: Study) -> list[Metric]:
    """Natural accuracy, the smallest epsilon, what the ensemble leaves, λ1."""
    robust = [attacked(*attack) for attack in study.attacks if attack[0].partition("-")[0] == "robust"]
    return [NATURAL, SMALLEST, *robust, EIGENVALUE]


def _spread(values: pd.Series, metric: Metric) -> str:
    """`90.1 ± 0.2 %` or `0.031 × 1.05`: mean and standard deviation, of the logarithm where that is the metric's scale."""
    scaled = metric.scaled(values).dropna().to_numpy()
    if not len(scaled):
        return ""
    deviation = float(np.std(scaled, ddof=1)) if len(scaled) > 1 else None
    if metric.is_log:
        return f"{2 ** scaled.mean():.3g}" + ("" if deviation is None else f" × {2**deviation:.2f}")
    return f"{100 * scaled.mean():.1f}" + (" %" if deviation is None else f" ± {100 * deviation:.1f} %")
