"""What is measured on every network: natural accuracy, and the share of images without a gradient."""

from typing import ClassVar

from tfsgd.measures.spec import Kind, Spec


class NaturalAccuracy(Spec):
    """Loss and accuracy on unperturbed images."""

    kind: ClassVar[Kind] = "accuracy"


class Confidence(Spec):
    """How sure the network is of its answers on unperturbed images, right or wrong.

    Its values are `confidence`, the mean of the largest softmax output; `margin`, the mean of the true class's
    logit minus the largest other one; and `calibration_error`, the expected calibration error over 15 bins of
    equal width: the mean, weighted by images, of |accuracy - confidence| in each bin (Guo et al. 2017, equation 3).
    """

    kind: ClassVar[Kind] = "confidence"


class ZeroGradients(Spec):
    """The share of images whose loss has an input gradient of exactly zero: no attack can move them."""

    kind: ClassVar[Kind] = "gradient"
