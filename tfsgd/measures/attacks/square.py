"""Square: random search by squares of noise, without a gradient (Andriushchenko et al. 2020, arXiv:1912.00049)."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from tfsgd.fields import Fraction
from tfsgd.measures.attack import AttackSpec, Outcome, blocks
from tfsgd.measures.victim import Images, Labels, Mask, Victim

HALVINGS = (10, 50, 200, 500, 1_000, 2_000, 4_000, 6_000, 8_000)  # of p, in 10,000 queries (section 5)
WHOLE = 10_000


class Square(AttackSpec):
    """Black box: it sees logits alone, so that masked gradients do not stop it (algorithms 1 and 2).

    The first query has vertical stripes of -epsilon or epsilon, drawn for each column and channel. Each further one
    sets a random square of side round(sqrt(p h w)) to -epsilon or epsilon, drawn for each channel, and is kept where
    it lowers the margin of the true logit over the largest other one. An image is broken if it is misclassified
    clean or at any query; it is then asked no further.

    Its values: `queries`, the mean number spent on an image that is not misclassified clean.

    Cost: a forward pass a query, 0.4 steps of PGD; 1,000 queries cost an image that holds out 10 times PGD-40. With
    StdCNN, of whose images 9 in 10 break within them, it is 3 times PGD-40.

    Attributes:
        queries: at most so many an image; the clean image is not counted.
        p_init: the share of the pixels in the first squares; it is halved after 10, 50, 200, 500, 1,000, 2,000,
            4,000, 6,000 and 8,000 ten-thousandths of the queries.
    """

    revision: ClassVar[int] = 1  # it asks for no cross-entropy

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
        """Of the square of a query, in pixels; the first square has number 0."""
        share = self.p_init / 2.0 ** np.searchsorted(HALVINGS, int(query * WHOLE / self.queries))
        return int(np.clip(round((share * height * width) ** 0.5), 1, min(height, width)))

    def _search(
        self,
        victim: Victim,
        clean: Images,
        labels: Labels,
        epsilon: float,
        draws: list[np.random.Generator],
    ) -> tuple[Images, Mask, NDArray[np.int64]]:
        """Where each image ended, which of them still get their label, and the queries that each took."""
        low, high = np.maximum(clean - np.float32(epsilon), 0), np.minimum(clean + np.float32(epsilon), 1)
        width, channels = clean.shape[2:]
        up = np.array([rng.random((1, width, channels)) < 0.5 for rng in draws])
        best = np.where(up, high, low)
        lowest, correct = margins(victim, best, labels)
        spent = np.ones(len(clean), np.int64)
        for query in range(self.queries - 1):
            left = np.flatnonzero(correct)
            if not left.size:
                break
            square, up = self._square(
                query, clean.shape, np.array([draws[i].random(2 + channels) for i in left])
            )
            tried = np.where(square, np.where(up, high[left], low[left]), best[left])
            margin, right = margins(victim, tried, labels[left])
            spent[left] += 1
            better = (margin < lowest[left]) | ~right
            best[left[better]], lowest[left[better]] = tried[better], margin[better]
            correct[left] = right
        return best, correct, spent

    def _square(self, query: int, shape: tuple[int, ...], drawn: NDArray[Any]) -> tuple[Mask, Mask]:
        """Where the squares are, `(N, height, width, 1)`, and which channels go up, `(N, 1, 1, channels)`."""
        height, width = shape[1:3]
        side = self.side(query, height, width)
        top = (drawn[:, :1] * (height - side + 1)).astype(int)
        left = (drawn[:, 1:2] * (width - side + 1)).astype(int)
        rows, columns = np.arange(height), np.arange(width)
        vertical = (rows >= top) & (rows < top + side)
        horizontal = (columns >= left) & (columns < left + side)
        square = vertical[:, :, None, None] & horizontal[:, None, :, None]
        return square, (drawn[:, 2:] < 0.5)[:, None, None, :]


def margins(victim: Victim, images: Images, labels: Labels) -> tuple[NDArray[np.float32], Mask]:
    """True logit minus the largest other one, `(N,)`, and which images get their label."""
    logits = victim.finite_logits(images)
    right, everyone = logits.argmax(1) == labels, np.arange(len(labels))
    true = logits[everyone, labels]
    logits[everyone, labels] = -np.inf
    return true - logits.max(1), right
