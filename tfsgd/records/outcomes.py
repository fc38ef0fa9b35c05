"""What became of every image under every attack: `outcomes.npz`, a small file beside a trial's record.

Of an attack at an epsilon it is one bit an image, whether it still gets its label; of one that searches the smallest epsilon
it is that, infinite where there is none. Images are counted from the first of the split. The record has the SHA-256 of each
array, so what is gone, cut or changed is known.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.spec import Measurement, digest
from tfsgd.records.archive import Arrays, DamagedError, read_arrays, write_arrays
from tfsgd.records.preflight import OUTCOMES, is_there
from tfsgd.records.record import Record, Snapshot
from tfsgd.text import counted


def keep_outcomes(folder: Path, found: Mapping[str, NDArray[np.generic]], of: Record | Snapshot) -> None:
    """Adds outcomes, by the identity of their measurements, to a trial's file.

    Args:
        folder: of the trial.
        found: arrays as `tfsgd.measures.attack.Outcome.packed` makes them.
        of: the network that was attacked.
    """
    known = _arrays(folder) if found else {}
    new = {_key(of, identity): array for identity, array in found.items()}
    if any(key not in known or digest(known[key]) != digest(array) for key, array in new.items()):
        write_arrays(folder / OUTCOMES, known | new)


def outcomes_of(folder: Path, of: Record | Snapshot) -> dict[str, NDArray[np.generic]]:
    """The outcomes of a network's measurements, by their identity: bool, or float32 of smallest epsilons, `(examples,)`.

    A measurement whose outcomes are not there as they were recorded, or that has none, has no entry.
    """
    known = _arrays(folder)
    found = {}
    for m in of.measurements:
        array = known.get(_key(of, m.identity))
        if array is not None and digest(array) == m.values.get("outcomes_sha256"):
            found[m.identity] = array
    return unpacked(found, of.measurements)


def lost_outcomes(folder: Path, of: Record | Snapshot) -> list[Measurement]:
    """The measurements whose outcomes were kept, and are gone, cut or changed."""
    there = outcomes_of(folder, of)
    return [m for m in of.measurements if "outcomes_sha256" in m.values and m.identity not in there]


def said_of_lost(logs: Path, records: Iterable[Record]) -> str:
    """Trials of a sweep's folder whose outcomes are gone, cut or changed, and what brings them back; empty: none."""
    lost = [
        r.folder for r in records if any(lost_outcomes(logs / "trials" / r.folder, n) for n in r.networks)
    ]
    if not lost:
        return ""
    return (
        f"{OUTCOMES} is gone, cut or changed in {counted(len(lost), 'trial')} ({lost[0]}{', ...' if len(lost) > 1 else ''}): "
        f"python -m tfsgd.measure {logs} --outcomes attacks these networks again"
    )


def smallest_epsilons(folder: Path, of: Record | Snapshot, norm: str = "Linf") -> NDArray[np.float64] | None:
    """The least epsilon at which anything broke each image, `(N,)`: a search of it, or any attack in the same norm.

    Infinite where nothing did; 0 where the image is misclassified clean. N is that of the search on the most images;
    `None` where no search has outcomes.
    """
    return least_epsilons(of.measurements, outcomes_of(folder, of), norm)


def least_epsilons(
    measurements: Sequence[Measurement], found: Mapping[str, NDArray[np.generic]], norm: str = "Linf"
) -> NDArray[np.float64] | None:
    """As `smallest_epsilons`, of attacks whose outcomes `found` has by their identity."""
    attacks = [m for m in measurements if m.identity in found and m.settings.get("norm", "Linf") == norm]
    searched = [found[m.identity] for m in attacks if found[m.identity].dtype == np.float32]
    if not searched:
        return None
    least = max(searched, key=len).astype(np.float64)
    for m in attacks:
        outcome = found[m.identity][: len(least)]
        broken_at = (
            outcome if outcome.dtype == np.float32 else np.where(outcome, np.inf, float(m.epsilon or 0))
        )
        least[: len(outcome)] = np.minimum(least[: len(outcome)], broken_at)
    return least


def spread(least: NDArray[np.float64], draws: int = 10_000) -> dict[str, float]:
    """Quartiles of smallest epsilons, the median's 95 % interval by a bootstrap over images, and the share without one.

    The rank of the median of n images that are drawn with replacement is ceil(n B), B of the beta distribution of the
    median of n uniform numbers: so one number is drawn in place of n images.
    """
    count, rank = len(least), (len(least) + 1) // 2
    ranks = np.ceil(count * np.random.default_rng(0).beta(rank, count - rank + 1, draws)).astype(int)
    drawn = np.sort(least)[ranks - 1]
    names = ("lower_quartile", "median", "upper_quartile", "low", "high")
    quartiles = np.quantile(least, [0.25, 0.5, 0.75], method="inverted_cdf")
    interval = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    return dict(zip(names, map(float, (*quartiles, *interval)), strict=True)) | {
        "censored": float(np.isinf(least).mean())
    }


def smallest_epsilon(folder: Path, of: Record | Snapshot) -> dict[str, float]:
    """The primary measure of robustness: `median` in L-infinity, and where outcomes are kept the rest of `spread`.

    Without outcomes it is the median that the search on the most images recorded; empty where there is none. What more
    than half of the images hold out is infinite.
    """
    least = smallest_epsilons(folder, of)
    if least is not None:
        return spread(least)
    searched = [
        m for m in of.measurements if "censored" in m.values and m.settings.get("norm", "Linf") == "Linf"
    ]
    if not searched:
        return {}
    median = max(searched, key=lambda m: m.examples).values.get("median")
    return {"median": np.inf if median is None else float(median)}


def unpacked(found: Mapping[str, NDArray[np.generic]], measurements: Sequence[Measurement]) -> Arrays:
    """Outcomes as `Outcome.packed` makes them, a bool or the smallest epsilon for each image, by their identity."""
    return {
        m.identity: array if array.dtype == np.float32 else _unpacked(array, m)
        for m in measurements
        if (array := found.get(m.identity)) is not None
    }


def _arrays(folder: Path) -> Arrays:
    """What the file holds; nothing where it is gone or damaged."""
    if not is_there(folder / OUTCOMES):
        return {}
    try:
        return read_arrays(folder / OUTCOMES)
    except DamagedError:
        return {}


def _key(of: Record | Snapshot, identity: str) -> str:
    """The name of an array: of a snapshot with its train loss before it."""
    return f"train_loss-{of.train_loss:g}/{identity}" if isinstance(of, Snapshot) else identity


def _unpacked(array: NDArray[np.generic], m: Measurement) -> NDArray[np.bool_]:
    return np.unpackbits(array.view(np.uint8), count=m.examples).astype(bool)
