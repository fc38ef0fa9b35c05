"""First and second derivatives of the cross-entropy with respect to the logits, plain and normalized, in closed form.

A network is sure of most images that it was trained on. Then 1 - p_y is a small difference of large numbers, so here it is
the sum of the other classes' probabilities, and all is in float64.
"""

import numpy as np
from numpy.typing import NDArray

from tfsgd.measures.victim import Labels

Array = NDArray[np.float64]
SHORTEST = 1e-10  # a length of logits below it counts as this


def unit(logits: Array) -> Array:
    """Logits `(N, classes)` less their mean over the classes, of length 1."""
    centred = logits - logits.mean(1, keepdims=True)
    return np.asarray(centred / _lengths(centred)[:, None])


def slopes(logits: Array, labels: Labels, normalized: bool = False) -> Array:
    """The gradient of each image's cross-entropy with respect to its logits, `(N, classes)`.

    Args:
        logits: `(N, classes)`.
        labels: `(N,)`.
        normalized: the cross-entropy is that of `unit(logits)`.
    """
    if not normalized:
        return _residuals(logits, labels)
    directions = unit(logits)
    residuals = _residuals(directions, labels)
    along = (residuals * directions).sum(1, keepdims=True)
    tangent = residuals - residuals.mean(1, keepdims=True) - along * directions
    return np.asarray(tangent / _lengths(logits - logits.mean(1, keepdims=True))[:, None])


def hessians(logits: Array, labels: Labels, normalized: bool = False) -> Array:
    """The Hessian of each image's cross-entropy with respect to its logits, `(N, classes, classes)`; as `slopes`.

    Of logits of length l, u when normalized, it is (P S P - r u' - u r' - <q, u> P) / l^2: q is the residual p - y at u, P
    the projection on what is orthogonal to u and to (1, ..., 1), r = P q, and S the softmax's covariance at u.
    """
    if not normalized:
        return _covariances(logits)
    u = unit(logits)
    classes = u.shape[1]
    residuals = _residuals(u, labels)
    along = (residuals * u).sum(1)[:, None, None]
    r = residuals - residuals.mean(1, keepdims=True) - along[:, 0] * u
    outer = np.einsum("ni,nj->nij", u, u)
    project = np.eye(classes) - 1 / classes - outer
    cross = np.einsum("ni,nj->nij", r, u)
    curved = project @ _covariances(u) @ project - cross - cross.swapaxes(1, 2) - along * project
    squared = _lengths(logits - logits.mean(1, keepdims=True)) ** 2
    return np.asarray(curved / squared[:, None, None])


def probabilities(logits: Array) -> Array:
    """The softmax of logits `(N, classes)`."""
    odds = np.exp(logits - logits.max(1, keepdims=True))
    return np.asarray(odds / odds.sum(1, keepdims=True))


def _lengths(vectors: Array) -> Array:
    return np.maximum(np.linalg.norm(vectors, axis=1), SHORTEST)


def _residuals(logits: Array, labels: Labels) -> Array:
    """p - y."""
    found, everyone = probabilities(logits), np.arange(len(labels))
    found[everyone, labels] = 0
    found[everyone, labels] = -found.sum(1)
    return found


def _covariances(logits: Array) -> Array:
    """diag(p) - pp'; each row adds up to 0."""
    p = probabilities(logits)
    found = -np.einsum("ni,nj->nij", p, p)
    each = np.arange(p.shape[1])
    found[:, each, each] = 0
    found[:, each, each] = -found.sum(2)
    return found
