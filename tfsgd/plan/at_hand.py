"""What is to be measured on images that are at hand, without a config."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError

from tfsgd.data.dataset import Dataset
from tfsgd.errors import RequestError
from tfsgd.fields import problems
from tfsgd.plan.config import Measuring
from tfsgd.plan.presets import usual_epsilons
from tfsgd.plan.requests import HESSIAN
from tfsgd.plan.user_model import own_names
from tfsgd.text import known_keys

NAME = "images.npz"  # as a config would call them
Blocks = Mapping[str, Mapping[str, Any]] | Iterable[str]


def plan_for(
    images: NDArray[Any], classes: int, attacks: Blocks, curvature: Blocks, epsilon: Any
) -> Measuring:
    """What is asked of them, checked as a config is.

    Args:
        images: `(N, height, width, channels)`.
        classes: of the network.
        attacks: blocks of settings by label, or labels alone.
        curvature: likewise; the block `hessian` is that of λ1.
        epsilon: of attacks whose block says none; `None`: the usual ones.

    Raises:
        RequestError: a line that names the setting.
    """
    count, (height, width, channels) = len(images), images.shape[1:]
    usual = usual_epsilons(NAME) if epsilon is None else np.atleast_1d(epsilon).tolist()
    curved = _blocks(curvature)
    raw = {
        "dataset": NAME,
        "own_data": Dataset(NAME, "images", (height, width, channels), classes, count, count, count),
        "attacks": {label: {"epsilon": usual, **block} for label, block in _blocks(attacks).items()},
        "hessian": curved.pop(HESSIAN, {}),
        "curvature": curved,
    }
    if named := own_names([raw["attacks"], curved]):
        raw |= {"code_dir": str(Path.cwd()), "own_code": named}
    try:
        return Measuring.model_validate(raw)
    except ValidationError as error:
        keys = ("attacks", "curvature", HESSIAN)
        said = problems(error, lambda where: known_keys(str(where[-1]), keys if len(where) == 1 else ()))
    raise RequestError("; ".join(said))


def _blocks(asked: Blocks) -> dict[str, dict[str, Any]]:
    if isinstance(asked, Mapping):
        return {label: dict(block or {}) for label, block in asked.items()}
    return {label: {} for label in ([asked] if isinstance(asked, str) else asked)}
