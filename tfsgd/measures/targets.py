"""Classes towards which targeted attacks go."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from tfsgd.errors import RequestError
from tfsgd.measures.victim import Images, Labels, Victim


def _named_or_number(value: Any) -> Any:
    is_class = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if value not in ("least_likely", "all") and not is_class:
        raise ValueError(f"expected 'least_likely', 'all' or a class from 0 on, received {value!r:.60}")
    return value


Target = Annotated[Literal["least_likely", "all"] | int, BeforeValidator(_named_or_number)]
Targets = Annotated[int, Field(strict=True, ge=1, le=1_000)]  # of `all` the likeliest so many


def others_by_logit(logits: NDArray[np.float32], labels: Labels) -> NDArray[np.int64]:
    """Of each image all classes but its own, the likeliest first, `(N, classes - 1)`."""
    ranked = logits.astype(np.float64)
    ranked[np.arange(len(labels)), labels] = -np.inf
    return np.argsort(-ranked, axis=1, kind="stable")[:, :-1]


def rounds(
    target: Target | None, victim: Victim, images: Images, labels: Labels, most: int | None = None
) -> Iterator[Labels | None]:
    """The targets `(N,)` of each run of an attack, by the logits of the clean images; `None`: away from the labels.

    Args:
        target: `least_likely`: the class of the lowest logit; `all`: every other class in turn, the likeliest first; a
            number: this class, and for images that have it as their label the likeliest other one.
        victim: the network.
        images: clean images.
        labels: their true labels.
        most: of `all` so many at most; `None`: all.

    Raises:
        RequestError: the network has no such class.
    """
    if target is None:
        yield None
        return
    ranked = others_by_logit(victim.finite_logits(images), labels)
    if target == "all":
        yield from ranked.T[:most]
    elif target == "least_likely":
        yield ranked[:, -1]
    elif said := unfit_target(target, ranked.shape[1] + 1):
        raise RequestError(said)
    else:
        yield np.where(labels == target, ranked[:, 0], target)


def only_run(
    restarts: int, target: Target | None, victim: Victim, images: Images, labels: Labels
) -> Labels | None:
    """The targets of an attack that is a single run; as `rounds`.

    Raises:
        RequestError: it is more than one run.
    """
    if restarts > 1 or target == "all":
        key, said = ("restarts", restarts) if restarts > 1 else ("target", "all")
        raise RequestError(f"{key}: a path is that of one run, received {said}")
    return next(rounds(target, victim, images, labels))


def unfit_target(target: Target | None, classes: int) -> str:
    """What is wrong with a class that is not there; empty: nothing."""
    if isinstance(target, int) and target >= classes:
        return f"target: expected a class from 0 to {classes - 1}, received {target}"
    return ""


def without_target(settings: dict[str, Any]) -> dict[str, Any]:
    """Settings as they are told: without a target nothing of it."""
    untold = {"target", "most_targets"} if settings["target"] is None else set()
    return {key: value for key, value in settings.items() if key not in untold}
