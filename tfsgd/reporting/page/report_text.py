"""What the page says about a study: a summary, notes, claims, and where the numbers come from."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pandas as pd

from tfsgd.data.dataset import SEEN
from tfsgd.measures.spec import Measurement
from tfsgd.reporting.paper import ENOUGH, MIN_SEEDS, PAPER_LENGTH, UNDERTRAINED_MARGIN, attack_name, points
from tfsgd.reporting.statistics import Array, variance_components
from tfsgd.reporting.table.cell import SETTINGS
from tfsgd.reporting.table.metrics import EIGENVALUE, NATURAL, SMALLEST, Metric
from tfsgd.reporting.table.studies import Study
from tfsgd.text import counted

ROLES = {
    "primary": "The paper's claims that decide",
    "secondary": "The paper's other claims",
    "beyond": "Beyond the paper",
    "own": "Your claims",
}


def summary_of(study: Study) -> str:
    """What was run, in a line."""
    t, names = study.trials, [regime.name for regime in study.regimes]
    trained = counted(len(t), "network")
    if study.planned is not None:
        done = study.planned - len(study.missing) - len(study.failures)
        others = f" and {len(t) - done} not planned any more" if len(t) > done else ""
        trained = f"{done} of {counted(study.planned, 'planned network')}{others}"
    spans = [_span(t["batch_size"], "batch size", "batch sizes"), _span(t["momentum"], "momentum", "momenta")]
    regimes = ("; " if any("," in name for name in names) else ", ").join(names)
    seeds = counted(t["seed"].nunique(), "seed")
    return f"{trained}, {study.length} each: {'; '.join([*spans, seeds])}; regimes {regimes}."


def _span(values: pd.Series, one: str, many: str) -> str:
    """`5 batch sizes (16 to 4096)`."""
    found = sorted(values.unique())
    return (
        f"{one} {found[0]:g}" if len(found) == 1 else f"{len(found)} {many} ({found[0]:g} to {found[-1]:g})"
    )


def notes_of(study: Study) -> list[str]:
    """What to know before anything is read from the numbers."""
    return [*_notes_on_settings(study), *_notes_on_gaps(study), *seeds_apart(study)]


def _notes_on_settings(study: Study) -> Iterator[str]:
    for note in sorted({record.data_note for record in study.records if record.data_note}):
        if SEEN in note:
            yield f"Of {study.dataset_title}, {note}: what is measured on those is not of images that SGD has not seen."
        else:
            yield f"The images of {study.dataset_title} are {note}: numbers on them are not those of the published data."
    if study.profile == "quick":
        yield (
            "Quick profile: few images, epochs and settings. It shows that everything runs, and says nothing "
            "about the paper."
        )
    elif study.length != PAPER_LENGTH:
        yield f"The paper trains for {PAPER_LENGTH}; these trials for {study.length}."
    seeds = study.trials["seed"].nunique()
    if seeds < MIN_SEEDS:
        yield f"With {counted(seeds, 'seed')} there are no statistics: verdicts need at least {ENOUGH}."
    for label, count in Counter(regime.label for regime in study.regimes).items():
        if count > 1:
            names = "; ".join(regime.name for regime in study.regimes if regime.label == label)
            yield f"{count} regimes are labelled {label}, each is judged and drawn by itself: {names}."
    for kind, regime in study.paper_regimes.items():
        if kind != regime.name:
            yield f"The regime {regime.name} does what the paper's {kind} does; the claims call it {kind}."


def _notes_on_gaps(study: Study) -> Iterator[str]:
    if study.planned is None:
        yield "There is no experiment.yaml in the folder, so this page cannot say which trials are missing."
    if absent := len(study.missing) + len(study.failures):
        failed = f" {len(study.failures)} of them failed." if study.failures else ""
        yield (
            f"Without a record yet: {counted(absent, 'planned trial')}; all numbers may still change.{failed}"
        )
    if study.repeated:
        yield f"In more than one folder: {counted(study.repeated, 'trial')}; each counts once."
    trials = study.trials
    if loose := int((~trials["converged"] & (trials["status"] == "completed")).sum()):
        yield f"λ1 did not converge in {counted(loose, 'trial')}; the table marks them with ~."
    if under := int(trials["undertrained"].sum()):
        below = f"{points(UNDERTRAINED_MARGIN)} or more below the best cell's"
        yield f"Under-trained: {counted(under, 'trial')} (train accuracy {below})."


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
