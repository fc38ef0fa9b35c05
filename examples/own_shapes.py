"""A data set of one's own: `dataset: own_shapes:shapes` in the config beside this file.

The same arrays in a file would do: `numpy.savez("shapes.npz", **shapes())` and `dataset: shapes.npz`.
"""

import numpy as np

SIZE = 12
CLASSES = ("square", "cross", "bars", "ring")


def shapes():
    """Six hundred grey images of four shapes, at random places, in noise; always the same ones."""
    rng = np.random.default_rng(0)
    labels = np.arange(600) % len(CLASSES)
    images = rng.integers(0, 60, (600, SIZE, SIZE)).astype(np.uint8)
    for image, label in zip(images, labels, strict=True):
        top, left = rng.integers(0, SIZE - 7, 2)
        image[top : top + 7, left : left + 7] += (_pattern(label) * rng.integers(120, 190)).astype(np.uint8)
    return {
        "train_images": images,  # uint8, (N, height, width); no test split: the last sixth becomes it
        "train_labels": labels,  # 0 to 3
        "classes": CLASSES,
        "title": "Shapes",
    }


def _pattern(label):
    """A shape of 7x7 pixels, 0 or 1."""
    row, column = np.indices((7, 7)) - 3
    if CLASSES[label] == "square":
        return np.maximum(abs(row), abs(column)) <= 2
    if CLASSES[label] == "cross":
        return (row == 0) | (column == 0)
    if CLASSES[label] == "bars":
        return row % 2 == 0
    return np.maximum(abs(row), abs(column)) == 3
