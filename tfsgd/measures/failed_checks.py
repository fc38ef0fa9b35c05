"""What makes all numbers of a network doubtful, from its answers to clean images, in the words of every way to ask."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


def of_outputs(logits: NDArray[Any], images: str) -> str:
    """Outputs `(N, classes)` that are all in [0, 1] look like sigmoids, which no logits do; else empty.

    Args:
        logits: the outputs.
        images: of which images, for the line: `the first 60 test images`.
    """
    if not (0 <= logits.min() <= logits.max() <= 1):
        return ""
    return (
        f"all outputs on {images} are in [0, 1]: if they are sigmoids, leave those out; "
        "attacks and the Hessian work on logits"
    )


def of_guessing(accuracy: float, predicted_classes: int, classes: int) -> str:
    """A network at the level of guessing was not asked in the language that it was trained in; else empty."""
    if accuracy >= 1.5 / classes and predicted_classes != 1:
        return ""
    return (
        f"accuracy on clean images is {accuracy:.3f} with {predicted_classes} of {classes} classes predicted, "
        "no better than guessing: nothing measured on it means anything. "
        "Check that the network takes pixels in [0, 1] (not 0 to 255, not normalized: say so by scale, mean and std), "
        "channels last, and the classes in this data set's order"
    )


ENOUGH = 8  # images: of fewer a good network may miss most


def of_answers(logits: NDArray[Any], labels: NDArray[np.integer]) -> list[str]:
    """Both, of finite logits `(N, classes)` on images with these labels; guessing where they are enough to tell it."""
    predicted = logits.argmax(1)
    found = [of_outputs(logits, f"these {len(logits):,} images")]
    if len(labels) >= ENOUGH and len(np.unique(labels)) > 1:
        accuracy = float((predicted == labels).mean())
        found.append(of_guessing(accuracy, len(np.unique(predicted)), logits.shape[1]))
    return [line for line in found if line]
