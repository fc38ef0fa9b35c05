"""What the page says about a study: a summary, notes, where the numbers come from, and what would tell more."""

import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import pandas as pd

from tfsgd.measures.spec import Measurement
from tfsgd.reporting.claims.verdicts import Judgement
from tfsgd.reporting.paper import MIN_SEEDS, attack_name
from tfsgd.reporting.statistics import Array, variance_components
from tfsgd.reporting.table.columns import EIGENVALUE, NATURAL, SETTINGS, SMALLEST, Metric
from tfsgd.reporting.table.studies import Study
from tfsgd.text import counted

MORE_SEEDS = 2
ROLES = {
    "primary": "The paper's claims that decide",
    "secondary": "The paper's other claims",
    "beyond": "Beyond the paper",
    "own": "Your claims",
}


def seeds_apart(study: Study) -> Iterator[str]:
    """A sentence for each metric whose cells were trained with every pair of some seeds and order seeds."""
    if "order_seed" not in study.trials or study.trials["order_seed"].isna().all():
        return
    for metric in (NATURAL, SMALLEST, EIGENVALUE):
        if tables := [*_tables(study.trials, metric)]:
            parts = np.mean([variance_components(table) for table in tables], axis=0)
            initialization, order, rest = (_spread(part, metric) for part in np.sqrt(parts))
            yield (
                f"Standard deviation of {metric.name} within a cell: {initialization} by the initialization, {order} by the "
                f"order of the batches, {rest} by what both do together ({counted(len(tables), 'cell')})."
            )


def _tables(trials: pd.DataFrame, metric: Metric) -> Iterator[Array]:
    """Of each cell the values by seed and order seed, where at least two of each cross without a gap."""
    if metric.column not in trials:
        return
    done = trials[trials["status"] == "completed"].assign(
        scaled=metric.scaled(trials[metric.column]),
        order_seed=trials["order_seed"].fillna(trials["seed"]),
    )
    cell = [*(s for s in SETTINGS if s in done), "epochs"]
    for _, of_cell in done.groupby(cell, dropna=False):
        table = of_cell.pivot_table("scaled", "seed", "order_seed").dropna()
        if min(table.shape) > 1:
            yield table.to_numpy()


def _spread(value: float, metric: Metric) -> str:
    return f"× {metric.shown(value):.3f}" if metric.is_log else f"{metric.shown(value):.2f} points"


def provenance_of(study: Study) -> list[str]:
    """Where and with what a study was made, in three lines."""
    origins = [record.provenance for record in study.records]
    commits = sorted({origin.git_commit or "unknown" for origin in origins})
    devices = sorted({f"{o.device}, {counted(o.threads, 'thread')}" for o in origins})
    hours = sum(record.cost for record in study.records) / 3600
    versions = ", ".join(f"{name} {version}" for name, version in origins[0].versions.items())
    attacks = dict.fromkeys(_attack_said(a) for record in study.records for a in record.attacks)
    tops = dict.fromkeys(
        f"λ1 on {top.examples:,} images of the {top.split} split"
        for record in study.records
        if (top := record.top_eigenvalue)
    )
    return [
        f"{study.title}: {', '.join(path.name for path in study.folders)}; {hours:.1f} hours of training and "
        "measuring",
        "; ".join([*attacks, *tops]),
        f"commit {', '.join(commits)}; {'; '.join(devices)}; {versions}",
    ]


def _attack_said(attack: Measurement) -> str:
    steps, size = attack.settings.get("steps"), attack.settings.get("step_size")
    said = "" if steps is None else f": {counted(steps, 'step')}"
    if attack.epsilon and steps and steps > 1 and size:
        said += f" of {size / attack.epsilon:.3g} ε"
    return f"{attack_name(attack.label)}{said}, {attack.examples:,} images"


# What a sweep cannot tell yet


@dataclass(frozen=True)
class Advice:
    """What a sweep cannot tell yet, and the command that would change that; no command: nothing is known that would."""

    lacking: str
    what: str = ""
    command: str = ""
    hours: str = ""


def advice_of(study: Study, judgements: Sequence[Judgement]) -> Advice:
    """The one step that helps most: finish the sweep, reach three seeds, or add two."""
    ours = [j for j in judgements if j.asked.role == "primary"]
    open_claims = sum(j.verdict in ("undecided", "descriptive") for j in ours)
    lacking = f"{open_claims} of {len(ours)} claims are open"
    seeds = {int(seed) for seed in study.trials["seed"]}
    trials, what, options = len(study.missing) + len(study.failures), "the rest of the sweep", []
    if study.profile == "quick":
        return Advice("A quick profile decides nothing: train without --quick")
    if trials:
        lacking += f", and {counted(trials, 'planned trial')} without a record"
    elif not open_claims:
        return Advice("Every claim that these trials can test is decided")
    else:
        count = MIN_SEEDS - len(seeds) if len(seeds) < MIN_SEEDS else MORE_SEEDS
        more = sorted({*range(max(seeds) + count + 1)} - seeds)[:count]
        trials = round((study.planned or len(study.trials)) / len(seeds)) * count
        what = counted(count, "more seed")
        options = ["--set", f"seeds=[{','.join(map(str, sorted([*seeds, *more])))}]"]
    command = shlex.join(["python", "-m", "tfsgd.sweep", *sweep_again(study), *options])
    seconds = trials * fmean(record.cost for record in study.records)
    time = f"{max(1, round(seconds / 60))} min" if seconds < 5400 else f"{seconds / 3600:.0f} h"
    return Advice(lacking, what, command, time)


def sweep_again(study: Study) -> list[str]:
    """The arguments that continue its sweep."""
    folder, here = study.folders[0], Path.cwd()
    folder = folder.relative_to(here) if folder.is_relative_to(here) else folder
    logs = [] if folder.parent == Path("logs") else ["--logs", str(folder.parent)]
    name = [] if study.records[0].name == folder.name else ["--set", f"name={folder.name}"]
    config = str(folder / "experiment.yaml") if study.planned is not None else "CONFIG"
    return [config, *logs, *name]
