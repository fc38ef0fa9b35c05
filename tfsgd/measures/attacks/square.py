"""Square: random search by squares of noise, without a gradient (Andriushchenko et al. 2020, arXiv:1912.00049)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tfsgd.fields import Fraction
from tfsgd.measures.attack import AttackSpec, Outcome, blocks
from tfsgd.measures.norms import Ball, Norm, length
from tfsgd.measures.victim import Images, Labels, Mask, Victim

HALVINGS = (10, 50, 200, 500, 1_000, 2_000, 4_000, 6_000, 8_000)  # of p, in 10,000 queries (section 5)
WHOLE = 10_000


class Square(AttackSpec):
    """Black box: it sees logits alone, so that masked gradients do not stop it (algorithms 1 to 3).

    The first query has vertical stripes of -epsilon or epsilon, drawn for each column and channel. Each further one
    sets a random square of side round(sqrt(p h w)) to -epsilon or epsilon, drawn for each channel, and is kept where
    it lowers the margin of the true logit over the largest other one. An image is broken if it is misclassified
    clean or at any query; it is then asked no further.

    Of L2 the first query has bumps in tiles of a fifth of the image, with random signs. Each further one takes what
    another square of the same side holds of the perturbation's length, and puts it into the first one, as two bumps of
    opposite signs that are added to what is there; the whole is brought back to length epsilon.

    Its values: `queries`, the mean number spent on an image that is not misclassified clean.

    Cost: a forward pass a query, 0.4 steps of PGD; 1,000 queries cost an image that holds out 10 times PGD-40. With
    StdCNN, of whose images 9 in 10 break within them, it is 3 times PGD-40.

    Attributes:
        queries: at most so many an image; the clean image is not counted.
        p_init: the share of the pixels in the first squares; it is halved after 10, 50, 200, 500, 1,000, 2,000,
            4,000, 6,000 and 8,000 ten-thousandths of the queries.
    """

    revision: ClassVar[int] = 1  # it asks for no cross-entropy
    norms: ClassVar[tuple[Norm, ...]] = ("Linf", "L2")

    queries: Annotated[int, Field(strict=True, ge=1, le=100_000)] = 1_000
    p_init: Fraction = 0.8

    def run(self, victim: Victim, images: Images, labels: Labels, epsilon: float, seed: int) -> Outcome:
        """As `AttackSpec.run`. Each image has a generator of its own, so what is drawn depends on no other.

        The images are the misclassified ones where they were found, else those of the smallest margin.
        """
        found, correct = images.copy(), victim.predict(images) == labels
        attacked = np.flatnonzero(correct)
        spent = np.zeros(len(images), np.int64)
        for block in blocks(attacked):
            draws = [np.random.default_rng((seed, int(i))) for i in block]
            found[block], correct[block], spent[block] = self._search(
                victim, images[block], labels[block], epsilon, draws
            )
        return Outcome(found, correct, {"queries": float(spent[attacked].mean()) if attacked.size else 0.0})

    def side(self, query: int, height: int, width: int) -> int:
        """Of the square of a query, in pixels; the first square has number 0. Of L2 it is odd, and 3 at least."""
        share = self.p_init / 2.0 ** np.searchsorted(HALVINGS, int(query * WHOLE / self.queries))
        side = round((share * height * width) ** 0.5)
        if self.norm == "L2":
            side = max(side, 3) | 1
        return int(np.clip(side, 1, min(height, width)))

    def _search(
        self,
        victim: Victim,
        clean: Images,
        labels: Labels,
        epsilon: float,
        draws: list[np.random.Generator],
    ) -> tuple[Images, Mask, NDArray[np.int64]]:
        """Where each image ended, which of them still get their label, and the queries that each took."""
        way = (_Squares if self.norm == "Linf" else _Bumps)(clean, epsilon)
        best = way.first(draws)
        lowest, correct = margins(victim, best, labels)
        spent = np.ones(len(clean), np.int64)
        for query in range(self.queries - 1):
            left = np.flatnonzero(correct)
            if not left.size:
                break
            drawn = np.array([draws[i].random(way.numbers) for i in left])
            tried = way.moved(left, best[left], self.side(query, *clean.shape[1:3]), drawn)
            margin, right = margins(victim, tried, labels[left])
            spent[left] += 1
            better = (margin < lowest[left]) | ~right
            best[left[better]], lowest[left[better]] = tried[better], margin[better]
            correct[left] = right
        return best, correct, spent


class _Squares:
    """The L-infinity queries (algorithms 1 and 2).

    Attributes:
        numbers: that are drawn for each image and query.
    """

    def __init__(self, clean: Images, epsilon: float) -> None:
        self._low = np.maximum(clean - np.float32(epsilon), 0)
        self._high = np.minimum(clean + np.float32(epsilon), 1)
        self.numbers = 2 + clean.shape[3]

    def first(self, draws: list[np.random.Generator]) -> Images:
        """Vertical stripes."""
        width, channels = self._low.shape[2:]
        up = np.array([rng.random((1, width, channels)) < 0.5 for rng in draws])
        return np.where(up, self._high, self._low)

    def moved(self, left: NDArray[np.int64], best: Images, side: int, drawn: NDArray[Any]) -> Images:
        """The images `left` with a new square each."""
        height, width = best.shape[1:3]
        top, at = _corner(drawn, height - side, width - side)
        rows, columns = np.arange(height), np.arange(width)
        vertical = (rows >= top) & (rows < top + side)
        horizontal = (columns >= at) & (columns < at + side)
        square = vertical[:, :, None, None] & horizontal[:, None, :, None]
        up = (drawn[:, 2:] < 0.5)[:, None, None, :]
        return np.where(square, np.where(up, self._high[left], self._low[left]), best)


class _Bumps:
    """The L2 queries (algorithm 3); attributes as of `_Squares`."""

    def __init__(self, clean: Images, epsilon: float) -> None:
        self._clean, self._epsilon = clean, epsilon
        self.numbers = 5 + clean.shape[3]

    def first(self, draws: list[np.random.Generator]) -> Images:
        """Bumps in tiles."""
        height, width, channels = self._clean.shape[1:]
        side = max(height // 5, 1)
        down, across = height // side, max(width // side, 1)
        signs = np.array([np.where(rng.random((down, across, channels)) < 0.5, -1, 1) for rng in draws])
        tiles = np.kron(signs, np.ones((1, side, min(side, width), 1)))
        bumps = np.tile(bump(side, min(side, width)), (down, across))[None, :, :, None] * tiles
        change = np.zeros(self._clean.shape)
        top, at = (height - bumps.shape[1]) // 2, (width - bumps.shape[2]) // 2
        change[:, top : top + bumps.shape[1], at : at + bumps.shape[2]] = bumps
        return self._scaled(slice(None), change)

    def moved(self, left: NDArray[np.int64], best: Images, side: int, drawn: NDArray[Any]) -> Images:
        """The images `left`, with length moved from one square to another."""
        height, width, channels = best.shape[1:]
        change = (best - self._clean[left]).astype(np.float64)
        to = self._window(drawn[:, :2], height - side, width - side, side)
        emptied = change.copy()
        emptied[self._window(drawn[:, 2:4], height - side, width - side, side)] = 0
        emptied[to] = 0
        taken = _squares(change) - _squares(emptied)
        pair = np.concatenate([bump(side // 2, side), -bump(side - side // 2, side)])
        pair = np.where(drawn[:, 4, None, None] < 0.5, pair, pair.T)[..., None]
        old, signs = change[to], np.where(drawn[:, 5:] < 0.5, -1, 1)[:, None, None, :]
        new = signs * pair / np.sqrt(_squares(pair)) + old / (1e-10 + np.sqrt(_squares(old)))
        free = np.maximum(self._epsilon**2 - _squares(change).sum(-1, keepdims=True), 0) / channels
        emptied[to] = new * np.sqrt((free + taken) / np.maximum(_squares(new), 1e-30))
        return self._scaled(left, emptied)

    def _window(self, drawn: NDArray[Any], down: int, right: int, side: int) -> tuple[NDArray[Any], ...]:
        """The indices of each image's square."""
        top, at = _corner(drawn, down, right)
        span = np.arange(side)
        return np.arange(len(drawn))[:, None, None], (top + span)[:, :, None], (at + span)[:, None, :]

    def _scaled(self, which: Any, change: NDArray[np.float64]) -> Images:
        """The images with this change at length epsilon."""
        clean = self._clean[which]
        long = length(change, "L2").reshape(-1, 1, 1, 1)
        moved = (clean + self._epsilon * change / np.maximum(long, 1e-30)).astype(np.float32)
        return Ball("L2", self._epsilon).into(clean, moved)


def bump(height: int, width: int) -> NDArray[np.float64]:
    """A pyramid of so many pixels: at a distance d of the middle, in steps of a king, the sum of 1 / (k + 1)^2 over k >= d."""
    rows, columns = (np.abs(np.arange(n) - n // 2) for n in (height, width))
    distance = np.maximum(rows[:, None], columns)
    falling = 1 / np.arange(1, max(height, width) // 2 + 2) ** 2
    return np.asarray(np.cumsum(falling[::-1])[::-1][distance])


def _squares(change: NDArray[np.float64]) -> NDArray[np.float64]:
    """The squared length of each image's channels, `(N, 1, 1, channels)`."""
    return np.square(change).sum((1, 2), keepdims=True)


def _corner(drawn: NDArray[Any], down: int, right: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Top and left of squares, `(N, 1)` each, from two numbers in [0, 1) an image."""
    return (drawn[:, :1] * (down + 1)).astype(int), (drawn[:, 1:2] * (right + 1)).astype(int)


def margins(victim: Victim, images: Images, labels: Labels) -> tuple[NDArray[np.float32], Mask]:
    """True logit minus the largest other one, `(N,)`, and which images get their label."""
    logits = victim.finite_logits(images)
    right, everyone = logits.argmax(1) == labels, np.arange(len(labels))
    true = logits[everyone, labels]
    logits[everyone, labels] = -np.inf
    return true - logits.max(1), right
