"""Relative flatness of the last dense layer, in closed form."""

from typing import ClassVar, cast

import numpy as np

from tfsgd.measures.curvature_spec import Curvature, Matvec
from tfsgd.measures.logit_losses import hessians
from tfsgd.measures.sharpness_spec import Array, LossInWeights, SharpnessSpec, mean_and_error


class RelativeFlatness(SharpnessSpec):
    """κ = Σ_{s,t} <w_s, w_t> tr H_{s,t}, w_s the weights into unit s and H_{s,t} the block of the loss's Hessian: in nats.

    Petzka et al. 2021 (arXiv:2001.00939, definition 3, with the trace), of the last dense layer's kernel: a large κ is a
    sharp network. Rescaled layers leave it as it is. There H_{s,t} of an image is S_st f f', f the features that the layer
    sees and S the loss's Hessian with respect to the logits, so that κ is the mean over images of |f|² tr(S W'W), without
    any estimate. Its error is the standard error over images.

    `penultimate` is that of the dense layer before it, where only a ReLU or nothing, and dropout, lie between (Walter et
    al. 2026 measure there): the same with W diag(f > 0) V for W, V the last kernel, since a ReLU has no second derivative;
    `penultimate_error` likewise. NaN where there is no such layer.

    Cost: two forward passes, which count as a product.
    """

    needs_head: ClassVar[bool] = True

    def run(self, matvec: Matvec, dimension: int, seed: int = 0) -> Curvature:
        """As `CurvatureSpec.run`, with a network that knows its last layers, see `LossInWeights`; nothing is drawn."""
        source = cast(LossInWeights, matvec)
        head = source.head()
        logits, _ = source.logits(np.zeros(dimension))
        curved = hessians(logits, source.labels, self.normalized)
        value, error = mean_and_error(_kappas(curved, head.features, head.kernel.T @ head.kernel))
        more = {"penultimate": np.nan, "penultimate_error": np.nan}
        if head.before is not None:
            features, kernel = head.before
            through = (head.features != 0)[
                :, :, None
            ] * head.kernel  # the logits' derivative by the units, (N, d, classes)
            inner = np.einsum("ndk,de,nel->nkl", through, kernel.T @ kernel, through, optimize=True)
            mean, spread = mean_and_error(_kappas(curved, features, inner))
            more = {"penultimate": mean, "penultimate_error": spread}
        return Curvature(value, error, 1, bool(np.isfinite(error)), more)


def _kappas(curved: Array, features: Array, inner: Array) -> Array:
    """|f|² Σ_{k,l} S_kl G_kl of each image, `(N,)`, G the products of the weights, one table or one for each image."""
    return np.asarray((features**2).sum(1) * (curved * inner).sum((1, 2)))
