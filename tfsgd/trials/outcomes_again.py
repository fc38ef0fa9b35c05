"""Attacks once more whose outcome of every image is gone, or was never kept; no network is trained for it."""

from collections.abc import Callable

from tfsgd.data.dataset import Splits
from tfsgd.measures.attack import AttackSpec
from tfsgd.measures.spec import Request
from tfsgd.networks.measured_network import MeasuredNetwork
from tfsgd.networks.surrogate import Sources
from tfsgd.plan.config import Experiment
from tfsgd.plan.requests import requests_of
from tfsgd.records.folder import LogFolder
from tfsgd.records.outcomes import keep_outcomes, outcomes_of
from tfsgd.records.record import Record, Snapshot
from tfsgd.records.resume import Done
from tfsgd.training.provenance import provenance
from tfsgd.trials.stored_network import load_stored


def without_outcomes(
    record: Record, experiment: Experiment, logs: LogFolder
) -> list[tuple[Record | Snapshot, list[Request]]]:
    """The attacks of each network of a trial that are asked for and measured, and whose outcomes are not there."""
    folder, found = logs.path / "trials" / record.folder, []
    for part in record.networks:
        there = outcomes_of(folder, part)
        measured = {m.identity for m in part.measurements} - there.keys()
        asked = [
            request
            for request in requests_of(experiment, record.seed)
            if isinstance(request.spec, AttackSpec)
            and not request.spec.is_recorded
            and request.identity in measured
        ]
        if asked:
            found.append((part, asked))
    return found


def measure_outcomes(
    done: Done, experiment: Experiment, splits: Splits, logs: LogFolder, say: Callable[[str], None]
) -> int:
    """Attacks again; a new measurement takes the place of the one without outcomes.

    Args:
        done: the trials with their records.
        experiment: what is asked for.
        splits: its images, cut to those that are used.
        logs: where networks and records are.
        say: told which network is attacked.

    Returns:
        How many measurements were made.

    Raises:
        RequestError: a network is gone, or is not the one that was trained.
    """
    waiting = [(trial, r, left) for trial, r in done if (left := without_outcomes(r, experiment, logs))]
    sources, here, count = Sources(logs.network), provenance(), 0
    for number, (trial, known, left) in enumerate(waiting, 1):
        folder, record = logs.trial_path(trial), known
        for part, requests in left:
            say(f"[{number} of {len(waiting)}] {trial.name}: {len(requests)} attacks without outcomes")
            file = (part.file,) if isinstance(part, Snapshot) else ()
            network = load_stored(record, experiment, folder, *file)
            subject = MeasuredNetwork(network, splits, trial.settings.batch_size, sources)
            for request in requests:
                found = request.measure_on(subject)
                elsewhere = None if here == record.provenance else here
                keep_outcomes(folder, subject.new_outcomes(), part)
                record = record.renewed(found.model_copy(update={"provenance": elsewhere}), of=part)
                logs.write_record(record)
                count += 1
    return count
