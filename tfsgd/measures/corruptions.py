"""Corruptions of images: what happens to them without an attacker, in families and by severity.

The families are those of Hendrycks and Dietterich 2019 (arXiv:1903.12261) and Mu and Gilmer 2019 (arXiv:1906.02337) that are
defined for images of any size and number of channels, and noise in a band of frequencies (Yin et al. 2019,
arXiv:1906.08988). The strengths are tfsgd's own, in even steps. What is drawn for the first images does not depend on how many follow.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from tfsgd.measures.attack import blocks
from tfsgd.measures.victim import Images

Array = NDArray[np.float64]
Family = Callable[[Array, float, np.random.Generator], Array]  # images, strength in (0, 1], draws

SEVEREST = 5
LOW, HIGH = 1 / 8, 1 / 4  # cycles a pixel, between the three bands


def corrupted(images: Images, family: str, severity: int, seed: int) -> Images:
    """Images `(N, height, width, channels)` in [0, 1] under a corruption, in [0, 1].

    Args:
        images: unperturbed.
        family: a key of `FAMILIES`.
        severity: from 1 to 5.
        seed: of whatever is drawn.
    """
    if family == "identity":
        return images
    found = np.empty_like(images)
    for number, block in enumerate(blocks(np.arange(len(images)))):
        rng = np.random.default_rng((seed, [*FAMILIES].index(family), severity, number))
        moved = FAMILIES[family](images[block].astype(np.float64), severity / SEVEREST, rng)
        found[block] = np.clip(moved, 0, 1)
    return found


# Noise


def gaussian_noise(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """x + 0.25 s n, n normal."""
    return images + 0.25 * strength * rng.standard_normal(images.shape)


def shot_noise(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """Poisson of mean kx, over k = 10 / s²: a count of so many photons at white."""
    photons = 10 / strength**2
    return rng.poisson(images * photons) / photons


def impulse_noise(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """A share of 0.25 s of the values is 0 or 1, as often the one as the other."""
    drawn, share = rng.random(images.shape), 0.25 * strength
    return np.where(drawn < share / 2, 0.0, np.where(drawn > 1 - share / 2, 1.0, images))


def speckle_noise(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """x + 0.5 s x n, n normal."""
    return images * (1 + 0.5 * strength * rng.standard_normal(images.shape))


def low_frequency_noise(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """Normal noise of standard deviation 0.25 s, of frequencies below 1/8 cycles a pixel alone, and without a mean."""
    return images + 0.25 * strength * _in_band(rng.standard_normal(images.shape), 0.0, LOW)


def middle_frequency_noise(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """The same of frequencies from 1/8 to 1/4."""
    return images + 0.25 * strength * _in_band(rng.standard_normal(images.shape), LOW, HIGH)


def high_frequency_noise(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """The same of frequencies from 1/4 on."""
    return images + 0.25 * strength * _in_band(rng.standard_normal(images.shape), HIGH, np.inf)


def _in_band(noise: Array, low: float, high: float) -> Array:
    """What is left of white noise of variance 1 in a band of frequencies, scaled to variance 1."""
    rows, columns = (np.fft.fftfreq(size) for size in noise.shape[1:3])
    radius = np.hypot(rows[:, None], columns)
    kept = (radius >= low) & (radius < high) & (radius > 0)
    if not kept.any():
        return np.zeros_like(noise)
    spectrum = np.fft.fft2(noise, axes=(1, 2)) * kept[None, :, :, None]
    return np.asarray(np.fft.ifft2(spectrum, axes=(1, 2)).real / kept.mean() ** 0.5)


# Blur and light


def gaussian_blur(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """A normal kernel of standard deviation 2 s pixels."""
    return np.asarray(ndimage.gaussian_filter(images, (0, 2 * strength, 2 * strength, 0), mode="nearest"))


def motion_blur(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """The mean over 1 + 5 s neighbours in a row."""
    return np.asarray(ndimage.uniform_filter1d(images, 1 + round(5 * strength), axis=2, mode="nearest"))


def pixelate(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """The mean over squares of 1 + 5 s pixels, cut at the right and lower edge."""
    side, found = 1 + round(5 * strength), images
    for axis in (1, 2):
        size = images.shape[axis]
        starts = np.arange(0, size, side)
        counts = np.diff([*starts, size])
        shape = [1, 1, 1, 1]
        shape[axis] = -1
        means = np.add.reduceat(found, starts, axis) / counts.reshape(shape)
        found = np.repeat(means, counts, axis)
    return found


def contrast(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """Towards each channel's mean: m + (1 - 0.85 s)(x - m)."""
    mean = images.mean((1, 2), keepdims=True)
    return mean + (1 - 0.85 * strength) * (images - mean)


def brightness(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """x + 0.5 s."""
    return images + 0.5 * strength


# Where things are


def translate(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """By a seventh of the side times s, in a direction that is drawn for each image."""
    angle = 2 * np.pi * rng.random(len(images))
    by = strength * images.shape[1] / 7 * np.stack([np.sin(angle), np.cos(angle)], 1)
    return warped(images, np.tile(np.eye(2), (len(images), 1, 1)), by)


def rotate(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """By 30 s degrees, to the side that is drawn for each image."""
    angle = np.deg2rad(30 * strength) * _signs(rng, len(images))
    cos, sin = np.cos(angle), np.sin(angle)
    return warped(images, np.stack([cos, -sin, sin, cos], 1).reshape(-1, 2, 2))


def shear(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """Columns by 0.5 s of the row, to the side that is drawn for each image."""
    found = np.tile(np.eye(2), (len(images), 1, 1))
    found[:, 1, 0] = 0.5 * strength * _signs(rng, len(images))
    return warped(images, found)


def zoom(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """Larger or smaller by a factor of 1 + 0.5 s, as is drawn for each image."""
    factor = (1 + 0.5 * strength) ** _signs(rng, len(images))
    return warped(images, factor[:, None, None] * np.eye(2))


def _signs(rng: np.random.Generator, count: int) -> Array:
    return np.where(rng.random(count) < 0.5, -1.0, 1.0)


def warped(images: Array, matrices: Array, shifts: Array | float = 0.0) -> Array:
    """Each pixel p of an image, counted from its middle as (row, column), from the place A p + t, between its neighbours.

    Args:
        images: `(N, height, width, channels)`; what lies outside is as the nearest pixel of the edge.
        matrices: A of each image, `(N, 2, 2)`.
        shifts: t of each image, `(N, 2)`.
    """
    count, height, width, channels = images.shape
    middle = np.array([height - 1, width - 1]) / 2
    grid = (
        np.stack(np.meshgrid(np.arange(height), np.arange(width), indexing="ij"), -1).reshape(-1, 2) - middle
    )
    places = grid @ matrices.swapaxes(1, 2) + np.broadcast_to(shifts, (count, 2))[:, None] + middle
    places = np.clip(places, 0, [height - 1, width - 1])
    corner = np.minimum(places.astype(int), [max(height - 2, 0), max(width - 2, 0)])
    share = (places - corner)[..., None]
    flat, found = images.reshape(count, -1, channels), 0.0
    for row in (0, 1):
        for column in (0, 1):
            at = np.minimum(corner[..., 0] + row, height - 1) * width + np.minimum(
                corner[..., 1] + column, width - 1
            )
            weight = np.abs(1 - row - share[:, :, 0]) * np.abs(1 - column - share[:, :, 1])
            found = found + weight * np.take_along_axis(flat, at[..., None], 1)
    return np.asarray(found).reshape(images.shape)


def identity(images: Array, strength: float, rng: np.random.Generator) -> Array:
    """The images as they are."""
    return images


FAMILIES: dict[str, Family] = {
    family.__name__: family
    for family in (
        identity, gaussian_noise, shot_noise, impulse_noise, speckle_noise, low_frequency_noise, middle_frequency_noise,
        high_frequency_noise, gaussian_blur, motion_blur, pixelate, contrast, brightness, translate, rotate, shear, zoom,
    )
}  # fmt: skip
