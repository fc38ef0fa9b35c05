"""Arrays and functions of a user, for the tests of models and data of one's own."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfsgd.errors import RequestError

Write = Callable[[str], str]
Config = Callable[..., Path]


def refusal(do: Callable[[], Any]) -> str:
    with pytest.raises(RequestError) as refused:
        do()
    assert "\n" not in str(refused.value)
    return str(refused.value)


def arrays(count: int = 120, **changes: Any) -> dict[str, Any]:
    """Images whose top left pixels say their number, so that each is known again; `None` leaves a key out."""
    images = np.zeros((count, 8, 8), np.uint8)
    images[:, 0, 0], images[:, 0, 1] = np.arange(count) % 256, np.arange(count) // 256
    made = {"train_images": images, "train_labels": np.arange(count) % 3} | changes
    return {key: value for key, value in made.items() if value is not None}


def numbers(images: np.ndarray) -> list[int]:
    """Which images of `arrays` they are."""
    return [int(image[0, 0, 0]) + 256 * int(image[0, 1, 0]) for image in images]
