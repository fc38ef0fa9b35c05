"""What became of every image under every attack: `outcomes.npz`, a small file beside a trial's record.

Of an attack at an epsilon it is one bit an image, whether it still gets its label; of one that searches the smallest epsilon
it is that, infinite where there is none. Images are counted from the first of the split. The record has the SHA-256 of each
array, so what is gone, cut or changed is known.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.spec import Measurement, digest
from tfsgd.records.archive import Arrays, DamagedError, read_arrays, write_arrays
from tfsgd.records.preflight import is_there
from tfsgd.records.record import Record, Snapshot

FILE = "outcomes.npz"


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
        write_arrays(folder / FILE, known | new)


def outcomes_of(folder: Path, of: Record | Snapshot) -> dict[str, NDArray[np.generic]]:
    """The outcomes of a network's measurements, by their identity: bool, or float32 of smallest epsilons, `(examples,)`.

    A measurement whose outcomes are not there as they were recorded, or that has none, has no entry.
    """
    known = _arrays(folder)
    found = {}
    for m in of.measurements:
        array = known.get(_key(of, m.identity))
        if array is not None and digest(array) == m.values.get("outcomes_sha256"):
            found[m.identity] = array if array.dtype == np.float32 else _unpacked(array, m)
    return found


def lost_outcomes(folder: Path, of: Record | Snapshot) -> list[Measurement]:
    """The measurements whose outcomes were kept, and are gone, cut or changed."""
    there = outcomes_of(folder, of)
    return [m for m in of.measurements if "outcomes_sha256" in m.values and m.identity not in there]


def smallest_epsilons(folder: Path, of: Record | Snapshot, norm: str = "Linf") -> NDArray[np.float64] | None:
    """The least epsilon at which anything broke each image, `(N,)`: a search of it, or any attack in the same norm.

    Infinite where nothing did; 0 where the image is misclassified clean. N is that of the search on the most images;
    `None` where no search has outcomes.
    """
    found = outcomes_of(folder, of)
    attacks = [m for m in of.measurements if m.identity in found and m.settings.get("norm", "Linf") == norm]
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


def spread(least: NDArray[np.float64], draws: int = 1_000) -> dict[str, float]:
    """Quartiles of smallest epsilons, the median's 95 % interval by a bootstrap over images, and the share without one."""
    rng = np.random.default_rng(0)
    drawn = np.sort(rng.choice(least, (draws, len(least))), 1)[:, (len(least) - 1) // 2]
    names = ("lower_quartile", "median", "upper_quartile", "low", "high")
    quartiles = np.quantile(least, [0.25, 0.5, 0.75], method="inverted_cdf")
    interval = np.quantile(drawn, [0.025, 0.975], method="inverted_cdf")
    return dict(zip(names, map(float, (*quartiles, *interval)), strict=True)) | {
        "censored": float(np.isinf(least).mean())
    }


def _arrays(folder: Path) -> Arrays:
    """What the file holds; nothing where it is gone or damaged."""
    if not is_there(folder / FILE):
        return {}
    try:
        return read_arrays(folder / FILE)
    except DamagedError:
        return {}


def _key(of: Record | Snapshot, identity: str) -> str:
    """The name of an array: of a snapshot with its train loss before it."""
    return f"train_loss-{of.train_loss:g}/{identity}" if isinstance(of, Snapshot) else identity


def _unpacked(array: NDArray[np.generic], m: Measurement) -> NDArray[np.bool_]:
    return np.unpackbits(array.view(np.uint8), count=m.examples).astype(bool)
