"""Barriers of the loss between a sweep's networks: seeds of one setting, and regimes at one batch size, momentum and seed."""

import functools
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from tfsgd.data.dataset import Split, to_unit
from tfsgd.networks.load_network import network_sha256
from tfsgd.networks.slices import between
from tfsgd.plan.config import Experiment
from tfsgd.plan.trials import Trial
from tfsgd.records.folder import LogFolder, stored_network
from tfsgd.records.preflight import is_there
from tfsgd.records.record import Record
from tfsgd.records.resume import Done
from tfsgd.records.stored_barriers import Barrier
from tfsgd.trials.stored_network import load_stored

IN_MEMORY = 64  # networks


@dataclass(frozen=True, eq=False)
class NetworkPair:
    """Two trained networks of a sweep, and in what they differ."""

    between: Literal["seeds", "regimes"]
    one: tuple[Trial, Record]
    other: tuple[Trial, Record]


def with_networks(done: Done, logs: LogFolder) -> Done:
    """The trials whose network is stored and has learnt something."""
    return [
        (trial, record)
        for trial, record in done
        if record.status == "completed" and is_there(logs.trial_path(trial) / "model.keras")
    ]


def pairs_of(done: Done) -> list[NetworkPair]:
    """The pairs that are compared, batch size by batch size."""
    found = []
    for one, other in itertools.combinations(sorted(done, key=lambda pair: pair[0].settings.batch_size), 2):
        if kind := _between(one[0], other[0]):
            found.append(NetworkPair(kind, one, other))
    return found


def _between(one: Trial, other: Trial) -> Literal["seeds", "regimes"] | None:
    a, b = one.settings, other.settings
    if replace(a, order_seed=None) == replace(b, order_seed=None):
        return "seeds"
    alike = (a.batch_size, a.momentum, a.order_seed, one.seed) == (
        b.batch_size,
        b.momentum,
        b.order_seed,
        other.seed,
    )
    return "regimes" if alike and one.regime != other.regime else None


def barriers_of(
    pairs: Sequence[NetworkPair],
    known: Sequence[Barrier],
    experiment: Experiment,
    logs: LogFolder,
    train: Split,
    points: int,
) -> Iterator[Barrier]:
    """Computes those that are not known, and yields all, pair by pair.

    Args:
        pairs: whose.
        known: what was computed before.
        experiment: of the sweep.
        logs: where the networks are.
        train: on which images.
        points: on each line, with its ends.

    Raises:
        RequestError: a network is gone, or is not the one that was trained.
    """
    images, labels = to_unit(train.images), train.labels
    before = {one.key: one for one in known}

    @functools.cache
    def sha256(trial: Trial) -> str:
        return network_sha256(stored_network(logs.trial_path(trial)))

    @functools.lru_cache(IN_MEMORY)
    def network(trial: Trial) -> Any:
        return load_stored(records[trial], experiment, logs.trial_path(trial))

    records = dict(member for pair in pairs for member in (pair.one, pair.other))
    for pair in pairs:
        (one, _), (other, _) = pair.one, pair.other
        trials, hashes = (one.name, other.name), (sha256(one), sha256(other))
        if (old := before.get((trials, hashes, len(labels), points))) is not None:
            yield old
            continue
        line = between(network(one), network(other), images, labels, points)
        yield Barrier(
            between=pair.between, trials=trials, networks=hashes, regimes=(one.regimes, other.regimes),
            batch_size=one.settings.batch_size, momentum=one.settings.momentum, examples=len(labels),
            barrier=line.barrier, losses=tuple(line.losses), accuracies=tuple(line.accuracies),
        )  # fmt: skip
