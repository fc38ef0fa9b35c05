"""What a sweep cannot tell yet, and the command that helps."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from tfsgd.reporting.claims.verdicts import Judgement
from tfsgd.reporting.paper import MIN_SEEDS
from tfsgd.reporting.table.studies import Study
from tfsgd.text import counted

MORE_SEEDS = 2


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
